"""The difference between the firewall that is and the one that shall be: a golden file for each table met.

`golden/<case>.present` is what iptables-save printed, `golden/<case>.restore` what has to be fed to iptables-restore;
an empty one says that all is right. `python tests/unit/firewall/test_plan.py` writes them anew, to be read before they
are committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from invoker.errors import PlatformFault
from invoker.firewall.plan import Plan, plan
from invoker.firewall.rules import of_container
from invoker.firewall.state import ClusterState, ContainerRule, Guarded
from invoker.firewall.table import parse, target

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.present"))
RIGHT = {"in_place", "counters"}
"""Where nothing has to be done."""

CLUSTER = ClusterState(
    node_addresses=("203.0.113.9", "203.0.113.7", "2001:db8::7", "203.0.113.9"),
    api_endpoints=("198.51.100.1",),
    dns_service="10.245.0.10",
    dns_pods=("10.244.1.5",),
)
GUARDED = Guarded("br-functions", "172.18.0.0/16", ("10.245.0.10", "192.0.2.53"), ("100.64.0.0/10",))


def planned(case: str) -> Plan:
    return plan((GOLDEN / f"{case}.present").read_text(), CLUSTER, GUARDED)


@pytest.mark.contract("17")
@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    assert planned(case).text == (GOLDEN / f"{case}.restore").read_text()
    assert (planned(case).text == "") == (case in RIGHT)
    assert bool(planned(case).reasons) == (case not in RIGHT)


def test_every_golden_file_is_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)
    assert len(CASES) > 10


@pytest.mark.contract("17")
def test_nobody_elses_rule_is_written() -> None:
    """Whatever stands, the text names our chains and our jumps, and flushes no other chain."""
    for case in CASES:
        for line in planned(case).text.splitlines():
            if line.startswith(":"):
                assert line in (":PER-CONTAINER-FIREWALL - [0:0]", ":WHISK-FIREWALL - [0:0]")
            elif line.startswith("-A"):
                assert line.startswith("-A WHISK-FIREWALL ")
            elif line not in ("*filter", "COMMIT"):
                assert line.startswith(("-D INPUT", "-D FORWARD", "-I INPUT", "-I FORWARD"))
                assert target(line) in ("PER-CONTAINER-FIREWALL", "WHISK-FIREWALL")


@pytest.mark.contract("17")
def test_ipv6_among_the_nodes_is_skipped_with_a_word_why() -> None:
    assert planned("empty").skipped == ("node address 2001:db8::7 is IPv6, which containers don't have",)
    skipped = plan("", ClusterState(api_endpoints=("",), dns_pods=("::1", "10.0.0.300")), GUARDED).skipped
    assert len(skipped) == 3
    assert "API server endpoint '' is no IP address" in skipped


def test_a_cluster_that_is_not_known_leaves_what_needs_no_cluster() -> None:
    text = plan("", ClusterState(), Guarded("br0", "172.31.4.9/24")).text
    rejected = [line.split()[3] for line in text.splitlines() if "REJECT" in line]
    assert rejected == ["10.0.0.0/8", "172.31.4.0/24", "169.254.0.0/16"]


def test_the_order_in_which_a_cluster_is_learnt_changes_nothing() -> None:
    other = ClusterState(CLUSTER.node_addresses[::-1], CLUSTER.api_endpoints, CLUSTER.dns_service, CLUSTER.dns_pods)
    assert plan((GOLDEN / "in_place.present").read_text(), other, GUARDED).text == ""


@pytest.mark.contract("17")
def test_rules_of_one_container() -> None:
    own = of_container(
        "172.18.0.9",
        [
            ContainerRule("accept", "10.20.1.1/16", "tcp", (443, 443)),
            ContainerRule("reject", "192.0.2.1", "udp", (1, 1024)),
            ContainerRule("accept", protocol="icmp"),
            ContainerRule("reject"),
        ],
    )
    assert own == (
        "-s 172.18.0.9/32 -d 10.20.0.0/16 -p tcp -m tcp --dport 443 -j ACCEPT",
        "-s 172.18.0.9/32 -d 192.0.2.1/32 -p udp -m udp --dport 1:1024 -j REJECT --reject-with icmp-port-unreachable",
        "-s 172.18.0.9/32 -p icmp -j ACCEPT",
        "-s 172.18.0.9/32 -j REJECT --reject-with icmp-port-unreachable",
    )
    difference = plan((GOLDEN / "in_place.present").read_text(), CLUSTER, GUARDED, own)
    assert difference.reasons == ("PER-CONTAINER-FIREWALL had other rules",)
    assert difference.text.splitlines()[2].endswith("--ctstate RELATED,ESTABLISHED -j RETURN")
    assert [line.partition(" ")[2] for line in difference.text.splitlines()[3:-1]] == [
        f"PER-CONTAINER-FIREWALL {rule}" for rule in own
    ]


@pytest.mark.parametrize(
    "rules",
    [
        [ContainerRule("accept", ports=(80, 80))],
        [ContainerRule("accept", protocol="icmp", ports=(80, 80))],
        [ContainerRule("accept", protocol="tcp", ports=(81, 80))],
        [ContainerRule("accept", protocol="tcp", ports=(0, 80))],
        [ContainerRule("accept", protocol="udp", ports=(1, 65536))],
        [ContainerRule("accept", "2001:db8::/32")],
        [ContainerRule("accept", "10.0.0.0/8 -j ACCEPT\n-F")],
        [ContainerRule("accept")] * 65,
    ],
)
def test_a_rule_that_cannot_be_is_refused(rules: list[ContainerRule]) -> None:
    with pytest.raises(ValueError, match=r"."):
        of_container("172.18.0.9", rules)


def test_a_container_without_an_ipv4_address_gets_no_rule() -> None:
    with pytest.raises(ValueError, match="fake"):
        of_container("fake:1", [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("*filter\n:INPUT ACCEPT [0:0]\n", "cut off"),
        ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACC", "cut off"),
        ("# Table `filter' is incompatible, use 'nft' tool.\n", "only `nft` knows"),
        ("*filter\nwhat is this\nCOMMIT\n", "neither chain nor rule"),
    ],
)
def test_a_table_that_cannot_be_read_is_not_taken_for_an_empty_one(text: str, what: str) -> None:
    with pytest.raises(PlatformFault, match=what):
        plan(text, CLUSTER, GUARDED)


def test_only_the_filter_table_is_looked_at() -> None:
    text = "*nat\n:WHISK-FIREWALL - [0:0]\n-A WHISK-FIREWALL -j ACCEPT\nCOMMIT\n*filter\n:INPUT DROP [1:2]\nCOMMIT\n"
    assert dict(parse(text).chains) == {"INPUT": ()}


def test_the_target_of_a_rule() -> None:
    assert target("-i a -j X") == "X"
    assert target("-i a --goto X -m y") == "X"
    assert target('-m comment --comment "a \\" -j Y" -g X') == "X"
    assert target("-m comment --comment -j") is None
    assert target("-m limit --limit 1/sec") is None


if __name__ == "__main__":
    for each in CASES:
        (GOLDEN / f"{each}.restore").write_text(planned(each).text)

"""What a container reaches and what it doesn't: real packets through real iptables, with either of its backends.

Each test has a node of its own in a network namespace of its own (`tests.support.firewall_lab`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from invoker.errors import PlatformFault
from invoker.firewall.rules import of_container
from invoker.firewall.state import ClusterState, ContainerRule, Guarded
from invoker.io.firewall.iptables import HostPrograms, Iptables
from invoker.io.firewall.reconciler import FirewallReconciler
from invoker.io.firewall.settings import Backend, FirewallSettings, Outcome
from tests.support.firewall_lab import BRIDGE, CONTAINER, DNS_PORT, GATEWAY, NODE, PORT, SUBNET, WORLD, Lab, lab

GUARDED = Guarded(BRIDGE, SUBNET, resolvers=(WORLD["resolver"],), rejected=("100.64.0.0/10",))
CLUSTER = ClusterState(
    node_addresses=(NODE, WORLD["other node"], "2001:db8::1"),
    api_endpoints=(WORLD["API server"],),
    dns_service=WORLD["DNS service"],
    dns_pods=(WORLD["DNS pod"],),
)
REACHED = {"DNS service", "DNS pod", "internet", "sibling"}
"""All else that the lab has is refused. Containers reach each other here, since that is the bridge's own option."""

LIMIT_S = 20
BACKENDS = ("legacy", "nft")


class Firewall:
    """A reconciler over the node's iptables, with what came of each of its turns."""

    def __init__(self, node: Lab, backend: Backend) -> None:
        self.outcomes: list[Outcome] = []
        self.programs = HostPrograms(LIMIT_S, node.inside("node"))
        self.reconciler = FirewallReconciler(
            FirewallSettings(guarded=GUARDED, place="host", backend=backend, interval_s=3600, retry_first_s=0.05),
            CLUSTER,
            count=self.outcomes.append,
            tables=lambda settings: Iptables(self.programs, settings.backend),
        )


@pytest.fixture
def node() -> Iterator[Lab]:
    with lab() as made:
        yield made


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
async def firewall(node: Lab, backend: Backend) -> AsyncIterator[Firewall]:
    made = Firewall(node, backend)
    await made.reconciler.open()
    yield made
    await made.reconciler.close()


@pytest.mark.contract("17")
async def test_who_can_reach_what(node: Lab, backend: Backend) -> None:
    before = node.table()
    assert set(before.values()) == {"open"}, "the lab itself keeps nobody from anything"
    outside = node.table("world")
    made = Firewall(node, backend)
    await made.reconciler.open()
    after = node.table()
    assert after == {name: "open" if name in REACHED else "refused" for name in before}
    assert node.table("world") == outside, "nobody else is concerned"
    await made.reconciler.close()
    assert node.table() == after, "the rules stay when the invoker ends"


@pytest.mark.contract("17")
async def test_containers_ask_their_resolvers_and_nothing_else_of_them(node: Lab, firewall: Firewall) -> None:
    resolver, service = WORLD["resolver"], WORLD["DNS service"]
    asked = [("udp", resolver, DNS_PORT), ("tcp", resolver, DNS_PORT), ("udp", service, DNS_PORT)]
    assert node.reach("container", asked) == ["open"] * 3
    others = [("udp", resolver, PORT), ("udp", WORLD["pod"], DNS_PORT), ("udp", GATEWAY, DNS_PORT)]
    assert node.reach("container", others) == ["refused"] * 3


@pytest.mark.contract("17")
async def test_containers_answer_who_calls_them(node: Lab, firewall: Firewall) -> None:
    call = [("tcp", CONTAINER, PORT), ("udp", CONTAINER, PORT)]
    assert node.reach("node", call) == ["open", "open"], "an invoker of the node's own"
    assert node.reach("world", call) == ["open", "open"], "an invoker in a pod"
    await firewall.reconciler.admit(CONTAINER, of_container(CONTAINER, [ContainerRule("reject")]))
    assert node.reach("node", call) + node.reach("world", call) == ["open"] * 4


@pytest.mark.contract("17")
async def test_a_second_look_finds_nothing_to_do(node: Lab, backend: Backend, firewall: Firewall) -> None:
    await firewall.reconciler.admit(
        CONTAINER,
        of_container(
            CONTAINER,
            [
                ContainerRule("accept", WORLD["pod"], "tcp", (PORT, PORT)),
                ContainerRule("accept", "10.8.0.0/13", "udp", (1, 1024)),
                ContainerRule("reject", protocol="icmp"),
                ContainerRule("reject", "192.0.2.0/24"),
            ],
        ),
    )
    saved = node.saved(backend)
    await firewall.reconciler.reconciled()
    assert firewall.outcomes == ["changed", "changed", "unchanged"]
    assert _rules(node.saved(backend)) == _rules(saved)
    assert (await firewall.reconciler.check()).endswith("rules in place")


@pytest.mark.contract("17")
async def test_what_others_do_is_mended_and_theirs_is_left(node: Lab, backend: Backend, firewall: Firewall) -> None:
    let_out = ("FORWARD", "-i", BRIDGE, "!", "-o", BRIDGE, "-m", "comment", "--comment", "let them out", "-j", "ACCEPT")
    node.iptables(backend, "-I", *let_out)
    node.iptables(backend, "-I", "INPUT", "-j", "ACCEPT")
    node.iptables(backend, "-N", "OPERATOR")
    node.iptables(backend, "-A", "OPERATOR", "-s", "192.0.2.9/32", "-j", "DROP")
    node.iptables(backend, "-F", "WHISK-FIREWALL")
    assert node.table()["metadata"] == "open"
    await firewall.reconciler.reconciled()
    assert firewall.outcomes[-1] == "changed"
    assert {name for name, state in node.table().items() if state == "open"} == REACHED
    rules = _rules(node.saved(backend))
    assert [rule for rule in rules if rule.startswith("-A FORWARD")][2:] == [
        f'-A FORWARD -i {BRIDGE} ! -o {BRIDGE} -m comment --comment "let them out" -j ACCEPT'
    ]
    assert [rule for rule in rules if rule.startswith("-A INPUT")][1:] == ["-A INPUT -j ACCEPT"]
    assert "-A OPERATOR -s 192.0.2.9/32 -j DROP" in rules
    node.iptables(backend, "-F", "FORWARD")
    node.iptables(backend, "-D", "INPUT", "-i", BRIDGE, "-j", "WHISK-FIREWALL")
    node.iptables(backend, "-F", "WHISK-FIREWALL")
    node.iptables(backend, "-X", "WHISK-FIREWALL")
    await firewall.reconciler.reconciled()
    assert {name for name, state in node.table().items() if state == "open"} == REACHED


@pytest.mark.contract("17")
async def test_the_firewall_follows_the_cluster(node: Lab, firewall: Firewall) -> None:
    firewall.reconciler.changed(ClusterState(node_addresses=(WORLD["internet"],), dns_pods=(WORLD["pod"],)))
    await firewall.reconciler.reconciled()
    table = node.table()
    assert {name for name, state in table.items() if state == "open"} == {
        *("other node", "API server", "pod", "this node", "sibling")
    }


@pytest.mark.contract("17")
async def test_one_container_has_rules_of_its_own(node: Lab, firewall: Firewall) -> None:
    own = [
        ContainerRule("accept", WORLD["pod"], "tcp", (PORT, PORT)),
        ContainerRule("reject", WORLD["internet"]),
        ContainerRule("accept", "0.0.0.0/0", "udp", (DNS_PORT, DNS_PORT)),
    ]
    calls = [("tcp", WORLD["pod"], PORT), ("tcp", WORLD["pod"], DNS_PORT), ("tcp", WORLD["internet"], PORT)]
    calls += [("udp", WORLD["metadata"], DNS_PORT), ("tcp", NODE, PORT)]
    plain = ["refused", "refused", "open", "refused", "refused"]
    assert node.reach("container", calls) == plain
    await firewall.reconciler.admit(CONTAINER, of_container(CONTAINER, own))
    assert node.reach("container", calls) == ["open", "refused", "refused", "open", "refused"]
    assert node.reach("sibling", calls) == plain
    await firewall.reconciler.dismiss(CONTAINER)
    assert node.reach("container", calls) == plain


@pytest.mark.contract("17")
async def test_rules_of_a_former_life_are_gone_before_anything_starts(
    node: Lab, backend: Backend, firewall: Firewall
) -> None:
    rules = of_container(CONTAINER, [ContainerRule("accept", "10.0.0.0/8")])
    await firewall.reconciler.admit(CONTAINER, rules)
    await firewall.reconciler.close()
    assert node.table()["pod"] == "open"
    again = Firewall(node, backend)
    await again.reconciler.open()
    assert node.table()["pod"] == "refused"
    await again.reconciler.close()


async def test_the_tables_in_use_are_the_ones_written(node: Lab, backend: Backend) -> None:
    """Docker's own rules tell which."""
    node.iptables(backend, "-N", "DOCKER-USER")
    node.iptables(backend, "-A", "FORWARD", "-j", "DOCKER-USER")
    made = Firewall(node, "auto")
    await made.reconciler.open()
    assert "-A WHISK-FIREWALL" in node.saved(backend)
    assert ("nf_tables" in made.reconciler.describe()) == (backend == "nft")
    await made.reconciler.close()


async def test_a_refused_text_changes_nothing(node: Lab, backend: Backend, firewall: Firewall) -> None:
    tables = Iptables(firewall.programs, backend)
    await tables.open()
    saved = _rules(node.saved(backend))
    broken = "*filter\n:WHISK-FIREWALL - [0:0]\n-A WHISK-FIREWALL -j NOWHERE\nCOMMIT\n"
    with pytest.raises(PlatformFault, match="restore --noflush"):
        await tables.restore(broken)
    with pytest.raises(PlatformFault, match="restore --noflush"):
        await tables.restore("*filter\n:WHISK-FIREWALL - [0:0]\n")
    assert _rules(node.saved(backend)) == saved


async def test_a_node_that_refuses_is_told_at_the_start(backend: Backend) -> None:
    made = FirewallReconciler(
        FirewallSettings(guarded=GUARDED, place="host", backend=backend),
        tables=lambda settings: Iptables(HostPrograms(LIMIT_S, ("setpriv", "--bounding-set=-all")), settings.backend),
    )
    with pytest.raises(PlatformFault, match=r"exit code \d+: .*ermi"):
        await made.open()
    with pytest.raises(PlatformFault, match="not open"):
        await made.reconciled()
    await made.close()


async def test_changes_that_come_together_cost_one_turn(firewall: Firewall) -> None:
    addresses = [f"172.18.1.{number}" for number in range(20)]
    one = [ContainerRule("accept", "10.1.0.0/16")]
    await asyncio.gather(*(firewall.reconciler.admit(each, of_container(each, one)) for each in addresses))
    assert len(firewall.outcomes) <= 3
    await firewall.reconciler.dismiss(*addresses)
    assert firewall.reconciler.own == frozenset()


def _rules(saved: str) -> list[str]:
    """Without comments, and with the counters of chains at 0."""
    return [line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#")]

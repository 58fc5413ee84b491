"""Whatever stands in the table, one restore makes it right, leaves others' rules as they are, and is not needed twice.

What iptables-restore would do is done here by a model of it: a page that knows chains' heads, -A, -D and -I.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.firewall.plan import plan
from invoker.firewall.rules import PER_CONTAINER, WHISK, for_all, jumps, of_container
from invoker.firewall.state import ClusterState, ContainerRule, Guarded
from invoker.firewall.table import parse, target

GUARDED = Guarded("br-functions", "172.18.0.0/16", ("192.0.2.53",))
OURS = (PER_CONTAINER, WHISK)
FIRST = jumps(GUARDED)
Chains = dict[str, list[str]]

foreign = st.sampled_from(
    [
        "-j DOCKER-USER",
        "-i eth0 -p tcp -m tcp --dport 22 -j ACCEPT",
        '-m comment --comment "a -j WHISK-FIREWALL" -j ACCEPT',
        "-g OPERATOR",
        "-d 10.0.0.0/8 -j DROP",
    ]
)
jump = st.sampled_from([*FIRST["FORWARD"], *FIRST["INPUT"], "-j WHISK-FIREWALL", "-i eth9 -g PER-CONTAINER-FIREWALL"])
rules = st.lists(st.one_of(foreign, jump), max_size=6)
host = st.integers(1, 2**32 - 2).map(lambda number: ".".join(str(byte) for byte in number.to_bytes(4, "big")))
hosts = st.lists(host, max_size=4).map(tuple)
clusters = st.builds(ClusterState, hosts, hosts, st.none() | host, hosts)
ports = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda pair: (min(pair), max(pair)))
own = st.lists(st.builds(ContainerRule, st.sampled_from(["accept", "reject"]), host, st.just("tcp"), ports), max_size=3)


@st.composite
def tables(draw: st.DrawFn) -> Chains:
    """Built-in chains, somebody's chain, and ours in some state: absent, empty, right or spoilt."""
    chains: Chains = {name: draw(rules) for name in ("INPUT", "FORWARD", "OUTPUT", "OPERATOR")}
    for chain in OURS:
        if draw(st.booleans()):
            chains[chain] = draw(st.lists(foreign, max_size=3))
    return chains


def text(chains: Chains) -> str:
    """As iptables-save prints it."""
    heads = [f":{name} - [0:0]" for name in chains]
    lines = [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
    return "\n".join(["# a comment", "*filter", *heads, *lines, "COMMIT", ""])


def restore(chains: Chains, given_text: str) -> Chains:
    """What `iptables-restore --noflush` makes of it. Raises where it would refuse."""
    result = {name: list(rules) for name, rules in chains.items()}
    for line in given_text.splitlines():
        if line in ("*filter", "COMMIT"):
            continue
        if line.startswith(":"):
            result[line[1:].split(" ")[0]] = []
            continue
        command, chain, rest = line.split(" ", 2)
        assert target(rest) not in OURS or target(rest) in result
        if command == "-A":
            result[chain].append(rest)
        elif command == "-D":
            result[chain].remove(rest)
        else:
            place, _, rule = rest.partition(" ")
            result[chain].insert(int(place) - 1, rule)
    return result


def others(chains: Chains) -> Chains:
    """All that isn't ours."""
    return {
        name: [rule for rule in rules if name == "OPERATOR" or target(rule) not in OURS]
        for name, rules in chains.items()
        if name not in (*OURS, "OUTPUT")
    } | {"OUTPUT": chains["OUTPUT"]}


@pytest.mark.contract("17")
@given(tables(), clusters, own)
def test_one_restore_makes_it_right(present: Chains, cluster: ClusterState, wishes: list[ContainerRule]) -> None:
    single = of_container("172.18.0.9", wishes)
    after = restore(present, plan(text(present), cluster, GUARDED, single).text)
    assert plan(text(after), cluster, GUARDED, single).text == ""
    assert others(after) == others(present)
    assert after["FORWARD"][:2] == list(FIRST["FORWARD"])
    assert after["INPUT"][:1] == list(FIRST["INPUT"])
    for chain, wanted in (("FORWARD", 2), ("INPUT", 1)):
        assert sum(target(rule) in OURS for rule in after[chain]) == wanted
    assert tuple(after[WHISK]) == for_all(cluster, GUARDED, [])
    assert tuple(after[PER_CONTAINER][1:]) == single


@given(tables())
def test_what_is_printed_is_read(chains: Chains) -> None:
    assert {name: list(rules) for name, rules in parse(text(chains)).chains.items()} == chains

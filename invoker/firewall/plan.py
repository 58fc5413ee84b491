"""◇ The difference between the firewall that is and the one that shall be, as text for `iptables-restore --noflush`.

One text is one transaction: no packet sees a chain half written, and none passes between the removal of a jump and its
return. A chain of ours that differs is written whole. Our jumps are removed by their own words, as they were printed,
and not by their place, which another program may have moved since.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from invoker.firewall.rules import PER_CONTAINER, WHISK, for_all, for_some, jumps
from invoker.firewall.state import ClusterState, Guarded
from invoker.firewall.table import TABLE, Table, parse, target

CHAINS = (PER_CONTAINER, WHISK)


class Plan(msgspec.Struct, frozen=True):
    """`text` for iptables-restore, empty where all is right; `reasons` why it is not.

    `skipped`: what was asked for and can't be a rule, each with its reason.
    """

    text: str
    reasons: tuple[str, ...]
    skipped: tuple[str, ...]


def plan(present: str, cluster: ClusterState, guarded: Guarded, own: Iterable[str] = ()) -> Plan:
    """What to write, given what `iptables-save -t filter` printed. `own`: the rules of single containers, from
    `rules.of_container`, in order. Raises PlatformFault for a text that can't be understood."""
    table = parse(present)
    skipped: list[str] = []
    wanted = {PER_CONTAINER: for_some(own), WHISK: for_all(cluster, guarded, skipped)}
    heads: list[str] = []
    body: list[str] = []
    reasons: list[str] = []
    for chain in CHAINS:
        if chain in table.chains and table.rules(chain) == wanted[chain]:
            continue
        heads.append(f":{chain} - [0:0]")
        body += [f"-A {chain} {rule}" for rule in wanted[chain]]
        reasons.append(f"{chain} {'had other rules' if chain in table.chains else 'was missing'}")
    for chain, first in jumps(guarded).items():
        lines = _jumps_into_place(table, chain, first)
        if lines:
            body += lines
            reasons.append(f"{chain} did not begin with our jumps")
    lines = [TABLE, *heads, *body, "COMMIT"] if reasons else []
    return Plan("".join(f"{line}\n" for line in lines), tuple(reasons), tuple(skipped))


def _jumps_into_place(table: Table, chain: str, first: tuple[str, ...]) -> list[str]:
    """The lines that make `chain` begin with `first`, and jump nowhere else into our chains; none where it does."""
    present = table.rules(chain)
    ours = [rule for rule in present if target(rule) in CHAINS]
    if present[: len(first)] == first and len(ours) == len(first):
        return []
    removals = [f"-D {chain} {rule}" for rule in ours]
    return removals + [f"-I {chain} {place} {rule}" for place, rule in enumerate(first, 1)]

"""The yardstick is one: with containers of one size and runs of no length, none has fewer cold starts than the oracle.

The least number is computed apart by the textbook rule (let go of what is needed last); no other policy may go below.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from invoker.policy import PolicySet
from invoker.policy.keepalive import Cidre, FixedTtl, Frequency, GreedyDual, Landlord, LruTtl, Oracle, Size
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import SECOND_NS
from tests.support.instant import STEM, Instant, key

OTHERS: list[AnyKeepAlive] = [LruTtl(), LruTtl(0), FixedTtl(0), GreedyDual(), Frequency(), Size(), Landlord(), Cidre()]
TRACES = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def cold_starts(trace: list[int], room: int, keep_alive: AnyKeepAlive) -> int:
    """One arrival a second."""
    world = Instant(PolicySet("charged", room * STEM.memory_mb, keep_alive=keep_alive))
    for number, function in enumerate(trace):
        world.arrive((1 + number) * SECOND_NS, function)
    return world.kinds["cold"]


def least(trace: list[int], room: int) -> int:
    """The misses of a cache with so much room that lets go of what is needed last."""
    kept: list[int] = []
    misses = 0
    for number, function in enumerate(trace):
        if function in kept:
            continue
        misses += 1
        if len(kept) == room:
            rest = trace[number:]
            kept.remove(max(kept, key=lambda other: rest.index(other) if other in rest else len(trace)))
        kept.append(function)
    return misses


@settings(max_examples=60, deadline=None)
@given(TRACES, st.integers(1, 4))
def test_the_oracle_has_the_least_number_of_cold_starts(trace: list[int], room: int) -> None:
    future = tuple(
        (key(function), tuple((1 + number) * SECOND_NS for number, other in enumerate(trace) if other == function))
        for function in sorted(set(trace))
    )
    found = cold_starts(trace, room, Oracle(future))
    assert found == least(trace, room)
    for policy in OTHERS:
        assert cold_starts(trace, room, policy) >= found, policy

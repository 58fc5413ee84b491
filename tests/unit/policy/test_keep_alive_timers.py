"""What the hybrid histogram is for: functions called by timers that rest for longer than an affordable lifetime."""

from __future__ import annotations

from invoker.policy import PolicySet
from invoker.policy.keepalive import FixedTtl, HybridHistogram
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import MINUTE_NS, SECOND_NS
from tests.support.instant import Instant

FUNCTIONS = 20
MINUTES = 24 * 60


def a_day_of_timers(keep_alive: AnyKeepAlive) -> Instant:
    """Twenty timers, with periods from 5 to 62 minutes."""
    world = Instant(PolicySet("charged", 100_000, keep_alive=keep_alive))
    arrivals = [
        (at_ns, function)
        for function in range(FUNCTIONS)
        for at_ns in range(SECOND_NS * (1 + function), MINUTES * MINUTE_NS, (5 + 3 * function) * MINUTE_NS)
    ]
    for at_ns, function in sorted(arrivals):
        world.arrive(at_ns, function)
    return world


def test_timers_find_a_container_ready_at_less_memory() -> None:
    fixed = a_day_of_timers(FixedTtl(10 * MINUTE_NS))
    hybrid = a_day_of_timers(HybridHistogram())
    assert fixed.kinds["cold"] > 800
    assert hybrid.kinds["cold"] == FUNCTIONS, "each for its first activation alone"
    assert hybrid.kinds["prewarm"] > 1_000
    assert hybrid.memory_mb_ns < 0.9 * fixed.memory_mb_ns

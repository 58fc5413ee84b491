"""What a step of the heart costs with 10, 1,000 and 10,000 idle containers: `python -m tests.benchmarks.policy_step`.

Every function has one warm container; activations go round all of them, so that the processor's caches don't flatter.
"""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import msgspec

from invoker.policy import PolicySet, Pool, policyset, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.keepalive import GreedyDual
from invoker.policy.types import ActivationId, PrewarmKey, WarmKey

STEM = PrewarmKey("k", 256)
COUNTS = (10, 1000, 10_000)
GROWTH_MAX = 2.0
DISPATCH_US_MAX = 10.0


class Cost(NamedTuple):
    """Median costs in µs: of a warm dispatch, of a run's end, and of a miss that evicts."""

    containers: int
    dispatch_us: float
    finish_us: float
    evict_us: float


def filled(policies: PolicySet, count: int) -> tuple[Pool, list[WarmKey]]:
    """A pool whose memory is used up by `count` idle containers of as many functions."""
    pool = Pool(msgspec.structs.replace(policies, capacity_mb=count * STEM.memory_mb))
    keys = [WarmKey("guest", "guest", f"f{number}", "0.0.1", "1-a", "") for number in range(count)]
    for number, key in enumerate(keys):
        activation = ActivationId(f"start{number}")
        step(pool, number, ev.InvocationArrived(activation, key, STEM))
        _run(pool, activation)
    return pool, keys


def _run(pool: Pool, activation: ActivationId) -> None:
    """The last container asked for starts, initialises, and finishes the activation."""
    number = pool.placed[activation][1].id
    step(pool, pool.now_ns, ev.ContainerStarted(number))
    step(pool, pool.now_ns, ev.ContainerInitialized(number, 5_000_000))
    step(pool, pool.now_ns, ev.RunFinished(number, activation, reusable=True))


def measure(policies: PolicySet, count: int, rounds: int = 20_000) -> Cost:
    """Median costs over `rounds` warm activations and a tenth as many evictions."""
    pool, keys = filled(policies, count)
    clock = time.perf_counter_ns
    dispatches: list[int] = []
    finishes: list[int] = []
    for number in range(rounds):
        arrival = ev.InvocationArrived(ActivationId(f"warm{number}"), keys[number * 7919 % count], STEM)
        began = clock()
        actions = step(pool, pool.now_ns + 1000, arrival)
        dispatches.append(clock() - began)
        dispatch = actions[0]
        assert isinstance(dispatch, act.Dispatch)
        finish = ev.RunFinished(dispatch.container, dispatch.activation, reusable=True)
        began = clock()
        step(pool, pool.now_ns + 500, finish)
        finishes.append(clock() - began)
    evictions: list[int] = []
    for number in range(rounds // 10):
        key = WarmKey("guest", "guest", f"new{number}", "0.0.1", "1-a", "")
        activation = ActivationId(f"miss{number}")
        began = clock()
        actions = step(pool, pool.now_ns + 1000, ev.InvocationArrived(activation, key, STEM))
        evictions.append(clock() - began)
        removal = next(action for action in actions if isinstance(action, act.Remove))
        step(pool, pool.now_ns, ev.Removed(removal.container))
        _run(pool, activation)
    return Cost(count, *(statistics.median(values) / 1000 for values in (dispatches, finishes, evictions)))


def policy_sets() -> dict[str, PolicySet]:
    """The sets that are measured."""
    base = policyset.default(1)
    return {"lru-ttl": base, "greedy-dual": msgspec.structs.replace(base, keep_alive=GreedyDual())}


def measure_all() -> dict[str, list[Cost]]:
    """For each set of policies its costs, small pools first."""
    return {name: [measure(policies, count) for count in COUNTS] for name, policies in policy_sets().items()}


def table(costs: dict[str, list[Cost]]) -> list[str]:
    """Rows of Markdown."""
    rows = [
        "| keep-alive | containers | warm dispatch p50 µs | run finished p50 µs | miss that evicts p50 µs |",
        "|---|---|---|---|---|",
    ]
    for name, of_policy in costs.items():
        for cost in of_policy:
            figures = f"{cost.dispatch_us:.1f} | {cost.finish_us:.1f} | {cost.evict_us:.1f}"
            rows.append(f"| {name} | {cost.containers:,} | {figures} |")
    return rows


def verdicts(costs: dict[str, list[Cost]]) -> tuple[list[str], bool]:
    """Rows of Markdown, and whether a step costs what it may: the same at any size, but for the processor's caches."""
    rows: list[str] = []
    good = True
    for name, of_policy in costs.items():
        small, large = of_policy[0], of_policy[-1]
        growth = (large.dispatch_us + large.finish_us) / (small.dispatch_us + small.finish_us)
        worst_us = max(cost.dispatch_us for cost in of_policy)
        for what, bound, value in (
            (
                f"a step with {large.containers:,} containers over one with {small.containers}, {name}",
                GROWTH_MAX,
                growth,
            ),
            (f"warm dispatch p50, µs, {name}", DISPATCH_US_MAX, worst_us),
        ):
            good &= value <= bound
            rows.append(f"| {what} | at most {bound:g} | {value:.2f} | {'met' if value <= bound else 'missed'} |")
    return rows, good


if __name__ == "__main__":
    print("\n".join(table(measure_all())))

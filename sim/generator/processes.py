"""◇ Workloads by a process: Poisson, and bursts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

from sim.generator.arrivals import Renewal
from sim.rng import sequence
from sim.workload import Block, SimFunction

SECOND_NS = 1_000_000_000
BURST_INVOCATIONS_MAX = 1 << 20


def poisson(
    functions: Sequence[SimFunction],
    per_s: Sequence[float],
    run_s: Sequence[float],
    *,
    duration_s: float,
    seed: int = 0,
) -> Renewal:
    """Independent Poisson arrivals at each function's rate; runs vary about their means by `arrivals.RUN_SIGMA`."""
    return Renewal(
        functions,
        per_s=per_s,
        gap_cv=[1.0] * len(functions),
        run_ns=[mean * SECOND_NS for mean in run_s],
        swings=[False] * len(functions),
        duration_s=duration_s,
        seed=seed,
    )


class Bursts:
    """Every `every_s` on average (a Poisson process), `size` invocations within `width_s`, of random functions.

    Each run lasts its function's `run_s`. Merge it with a steady workload to see what a burst does to it.
    """

    def __init__(
        self,
        functions: Sequence[SimFunction],
        run_s: Sequence[float],
        *,
        every_s: float,
        size: int,
        width_s: float,
        duration_s: float,
        seed: int = 0,
    ) -> None:
        if not functions or len(run_s) != len(functions):
            raise ValueError("bursts need functions, and a run for each")
        if every_s <= 0 or not 1 <= size <= BURST_INVOCATIONS_MAX or width_s < 0:
            raise ValueError(f"bursts come at gaps above 0, of 1 to {BURST_INVOCATIONS_MAX} invocations")
        self.functions = tuple(functions)
        self._run_ns = [round(run * SECOND_NS) for run in run_s]
        self._every_ns = every_s * SECOND_NS
        self._size = size
        self._width_ns = width_s * SECOND_NS
        self._end_ns = round(duration_s * SECOND_NS)
        self._seed = seed

    def blocks(self) -> Iterator[Block]:
        """The invocations, in the order of time: what of earlier bursts lies before the next burst's begin."""
        source = sequence(self._seed, "generator/bursts")
        begin_ns = 0.0
        waiting: list[tuple[int, int]] = []
        while begin_ns < self._end_ns:
            begin_ns += -math.log(1.0 - source.random()) * self._every_ns
            bound_ns = min(math.floor(begin_ns), self._end_ns)
            waiting.sort()
            ready = [pair for pair in waiting if pair[0] < bound_ns]
            waiting = waiting[len(ready) :]
            if ready:
                yield Block(
                    array("q", [at_ns for at_ns, _ in ready]),
                    array("I", [function for _, function in ready]),
                    array("q", [self._run_ns[function] for _, function in ready]),
                )
            for _ in range(self._size):
                at = math.floor(begin_ns + source.random() * self._width_ns)
                waiting.append((at, int(source.random() * len(self.functions))))

"""◇ What memory buys: cold starts against memory held, for keep-alive policies and sizes of the node.

Keeping containers warm is a trade, and a policy is good where no other has fewer cold starts for as much memory: on
the Pareto front. Each point is simulated with several seeds, the same ones everywhere, and drawn with its intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sim.errors import SimulationError
from sim.planning.task import Figures, Settings, Task
from sim.planning.workers import Workers
from sim.report.curves import with_intervals
from sim.report.style import Picture
from sim.statistics import Interval, replications

POLICIES: Final = ("lru-ttl", "greedy-dual", "hybrid-histogram")
"""A fixed lifetime, the default; what a cold start costs weighed against the memory; idle times that are learnt."""


@dataclass(frozen=True)
class Point:
    """A policy at a size. `held_mb`: memory that containers hold, on the average; `cold`: the share of cold starts."""

    policy: str
    capacity_mb: int
    held_mb: Interval
    cold: Interval


@dataclass(frozen=True)
class Front:
    """All points, of `seeds` simulations each. `scope` says what of the workload they saw."""

    points: Sequence[Point]
    seeds: int
    scope: str

    @property
    def level(self) -> float:
        """Of the intervals."""
        return self.points[0].cold.level

    def best(self) -> list[Point]:
        """The Pareto front by the means, from the least memory to the fewest cold starts."""
        found: list[Point] = []
        for point in sorted(self.points, key=lambda point: (point.held_mb.mean, point.cold.mean)):
            if not found or point.cold.mean < found[-1].cold.mean:
                found.append(point)
        return found

    def ranked(self) -> list[tuple[Point, bool]]:
        """All points by policy and size, each with whether it is on the front."""
        best = self.best()
        return [(point, point in best) for point in self.points]

    def told(self) -> str:
        """The front in a sentence."""
        best = self.best()
        least, most = best[0], best[-1]
        names = list(dict.fromkeys(point.policy for point in best))
        return (
            f"From {least.held_mb.mean / 1024:.2g} GB held with {least.cold.mean:.2%} cold starts "
            f"to {most.held_mb.mean / 1024:.2g} GB with {most.cold.mean:.2%}. "
            f"On the front: {', '.join(names)}. {self.scope}"
        )

    def picture(self) -> Picture:
        """Cold starts against memory held: a line a policy, a point a size, the front beneath."""
        best = self.best()
        picture = with_intervals(
            "Cold starts against memory held",
            ("memory held by containers, mean (GB)", "cold starts (%)"),
            {
                policy: [
                    (_scaled(point.held_mb, 1 / 1024), _scaled(point.cold, 100))
                    for point in self.points
                    if point.policy == policy
                ]
                for policy in dict.fromkeys(point.policy for point in self.points)
            },
            under=[(point.held_mb.mean / 1024, point.cold.mean * 100) for point in best],
        )
        picture.alt = f"Cold starts against memory held. {self.told()}"
        return picture


def _scaled(interval: Interval, factor: float) -> Interval:
    low, high = interval.low * factor, interval.high * factor
    return Interval(interval.mean * factor, low, high, interval.level, interval.n)


def _within(interval: Interval, low: float, high: float) -> Interval:
    """A mean of few is uncertain, but a share is none below 0 or above 1."""
    return Interval(interval.mean, max(low, interval.low), min(high, interval.high), interval.level, interval.n)


def measured(
    workers: Workers,
    policies: Mapping[str, Settings],
    capacities_mb: Sequence[int],
    seeds: Sequence[int],
    scope: str,
    told: Callable[[], None] = lambda: None,
) -> Front:
    """Simulate each of `policies` (its label, and the settings that make it) at each capacity with each seed.

    `told` is called after each simulation. Raises SimulationError where one fails.
    """
    choices = [(label, capacity_mb) for label in policies for capacity_mb in capacities_mb]
    tasks = [
        Task(number, (*policies[label], ("policy.memory_mb", capacity_mb)), seed)
        for number, (label, capacity_mb) in enumerate(choices)
        for seed in seeds
    ]
    found: dict[tuple[int, int], Figures] = {}
    for outcome in workers.run(tasks):
        if outcome.figures is None:
            raise SimulationError(f"{outcome.task.name}: {outcome.failure}")
        found[outcome.task.number, outcome.task.seed] = outcome.figures
        told()
    points: list[Point] = []
    for number, (label, capacity_mb) in enumerate(choices):
        held_mb = replications([found[number, seed]["mean_memory_mb"] for seed in seeds])
        cold = _within(replications([found[number, seed]["cold_share"] for seed in seeds]), 0.0, 1.0)
        points.append(Point(label, capacity_mb, held_mb, cold))
    return Front(points, len(seeds), scope)

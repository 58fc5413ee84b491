"""◆ What `sweep`, `capacity` and `compare` have in common: seeds, who computes, and how figures with intervals look."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from typing import Annotated

from cyclopts import Group, Parameter

from sim.commands import present
from sim.planning.scenarios import ScenarioMeasure
from sim.planning.task import Outcome
from sim.planning.workers import Workers, open_workers
from sim.scenario import Scenario

_EFFORT = Group("How it is computed", sort_key=2)


@Parameter(name="*", group=_EFFORT)
@dataclass(frozen=True)
class Effort:
    """Who computes, and how."""

    jobs: Annotated[int | None, Parameter(show_default=False)] = None
    """Processes; as many as there are cores where it isn't given."""
    dask: str | None = None
    """Compute on the Dask cluster whose scheduler has this address, as tcp://10.0.0.1:8786. Results are the same."""
    streaming: bool = False
    """Keep sums instead of a row for each invocation: for runs of many millions. Quantiles are then right to 3 %."""

    def measure(self, scenario: Scenario) -> ScenarioMeasure:
        """The scenario as what is measured."""
        return ScenarioMeasure(scenario, streaming=self.streaming)

    def workers(self, measure: ScenarioMeasure) -> Workers:
        """Who computes it."""
        return open_workers(measure, self.jobs, self.dask)


def seeds_from(first: int, count: int) -> list[int]:
    """So many seeds, from the scenario's own on."""
    return list(range(first, first + max(0, count)))


class Progress:
    """Counts outcomes for a bar, and tells of failures as they come."""

    def __init__(self, advance: present.Advance) -> None:
        self._advance = advance
        self._done = 0

    def __call__(self, outcome: Outcome) -> None:
        self._done += 1
        self._advance(self._done)
        if outcome.figures is None:
            present.tell(f"failed: {outcome.task.name}: {outcome.failure}")


@contextmanager
def counted(runs: int) -> Generator[Progress]:
    """A bar over so many runs."""
    with present.progress("runs", runs, lambda done: f"{done:,.0f}") as advance:
        yield Progress(advance)


def value(figure: str, number: float) -> str:
    """A figure as people read it, in the unit that its name ends in."""
    if isnan(number):
        return "-"
    if number < 0:
        return f"-{value(figure, -number)}"
    for ending, words in (("_share", present.share), ("_ms", present.span), ("_mb", present.memory)):
        if figure.endswith(ending):
            return words(number)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def with_interval(figure: str, mean: float, low: float, high: float) -> str:
    """The mean and half the width of its interval: `1.84 % ±0.09`."""
    if isnan(low):
        return value(figure, mean)
    told, half = value(figure, mean), value(figure, (high - low) / 2)
    if low == high:
        return told
    number, _, unit = half.partition(" ")
    return f"{told} ±{number if told.endswith(unit) else half}"


def chosen(figures: str, default: Sequence[str]) -> list[str]:
    """The figures of an option, `cold_share,p99_ms`."""
    return [name.strip() for name in figures.split(",") if name.strip()] or list(default)

"""◇ Capacity: the smallest memory, or number of nodes, or whatever, that is enough for what is wanted.

The search assumes that more of it never makes a target worse, and looks whether that holds. It narrows the range down
with one seed, which is enough far from the edge, and decides at the edge with many: a value is enough where the whole
confidence interval of each target's figure is. All values see the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from math import inf, log2
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from sim.errors import SimulationError
from sim.planning.targets import Target, Verdict, check_known
from sim.planning.task import Figures, Outcome, Setting, Task, shown
from sim.planning.workers import Workers
from sim.scenario import values
from sim.statistics import LEVEL, Interval, replications

if TYPE_CHECKING:
    import pandas as pd

SOME_SEEDS: Final = 5
"""As many runs as a value near the edge gets; where these don't tell, it gets all seeds. One that is far gets one."""
STEPS: Final = 128
"""A range of sizes has about so many steps where none is given."""
VALUES_MAX: Final = 1_000_000

Told: TypeAlias = "Callable[[Probe], None]"


class Range(msgspec.Struct, frozen=True):
    """The values that may be the answer: `low`, `low + step`, ... up to `high`, of the dotted path `parameter`.

    `largest`: the largest value that will do is wanted, of a parameter of which less is better (a load, say). `unit` is
    what the numbers are of (MB, ms), and is written with them; "" is a plain number.
    """

    parameter: str
    low: float
    high: float
    step: float = 1
    largest: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.step > 0):
            raise SimulationError(f"{self.parameter}: a range goes up, from {self.low:g} on, in steps above 0")
        if self.last >= VALUES_MAX:
            raise SimulationError(f"{self.parameter}: the range has {self.last + 1:,} values; take a larger step")

    @property
    def last(self) -> int:
        """The place of the most generous value; that of the least generous is 0."""
        return int((self.high - self.low) / self.step + 1e-9)

    def at(self, place: int) -> int | float:
        """The value of a place: more generous, the higher it is."""
        value = self.low + self.step * (self.last - place if self.largest else place)
        return int(value) if value == int(value) else round(value, 12)

    def setting(self, value: int | float) -> Setting:
        """The value as the scenario takes it."""
        return f"{value} {self.unit}" if self.unit else value

    def named(self, value: int | float) -> str:
        """The value as people read it: `4.75 GB`."""
        gigabytes = self.unit == "MB" and value >= 1024
        return f"{value / 1024:g} GB" if gigabytes else shown(self.setting(value))


def parse_range(parameter: str, between: str, step: str = "", *, largest: bool = False) -> Range:
    """A range as people write it: `1 GB..64 GB`, `10 ms..2 s`, `1..32` or `0.5..4`.

    Without a step there are some 128 of them: whole powers of two in MB for sizes. Raises SimulationError.
    """
    low, _, high = between.partition("..")
    told = f"{between!r}{f' by {step!r}' if step else ''} is no range: write it as 1GB..64GB, 10ms..2s or 1..32"
    try:
        (first, unit), (final, other) = _measured(low), _measured(high)
        pace, third = _measured(step) if step else (0.0, unit)
    except ValueError as problem:
        raise SimulationError(told) from problem
    if not unit == other == third:
        raise SimulationError(f"{told}, with one kind of unit")
    if not step:
        pace = (final - first) / STEPS
        if unit == "MB":
            pace = float(2 ** max(0, round(log2(max(1.0, pace)))))
        elif first == int(first) and final == int(final):
            pace = float(max(1, round(pace)))
    return Range(parameter, first, final, pace, largest, unit)


def _measured(text: str) -> tuple[float, str]:
    """A number and its unit: MB for sizes, ms for spans."""
    plain = values.number(text.strip())
    if plain is not None:
        return float(plain), ""
    try:
        return float(values.size_mb(text)), "MB"
    except ValueError:
        return values.span_ns(text) / 1e6, "ms"


class Probe(msgspec.Struct, frozen=True):
    """One value that was tried: the figures of each seed, and each target's interval and verdict. The interval of a
    single seed has no ends."""

    value: int | float
    figures: tuple[Figures, ...]
    intervals: tuple[Interval, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def seeds(self) -> int:
        """How many runs it is made of."""
        return len(self.figures)

    @property
    def verdict(self) -> Verdict:
        """Of all targets together."""
        return "missed" if "missed" in self.verdicts else "unclear" if "unclear" in self.verdicts else "met"

    def holds(self, targets: Sequence[Target]) -> bool:
        """Whether the means meet the targets, whatever the intervals say."""
        return all(target.holds(each.mean) for target, each in zip(targets, self.intervals, strict=True))


class Capacity(msgspec.Struct, frozen=True):
    """What the search found. `answer`: the probe of the value; None where none in the range will do, or `interrupted`.

    `probes`: all that were tried, by value. `notes`: what a person has to know to trust the answer, or not to.
    """

    range: Range
    targets: tuple[Target, ...]
    answer: Probe | None
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]
    interrupted: bool = False

    @property
    def runs(self) -> int:
        """How many simulations it took."""
        return sum(probe.seeds for probe in self.probes)

    def frame(self) -> pd.DataFrame:
        """A row for each probe: `value`, `seeds`, `verdict`, and for each target's figure FIGURE (its mean),
        FIGURE_low and FIGURE_high (the ends of its 99 % interval)."""
        import pandas as pd

        rows: list[dict[str, object]] = []
        for probe in self.probes:
            row: dict[str, object] = {"value": probe.value, "seeds": probe.seeds, "verdict": probe.verdict}
            for target, interval in zip(self.targets, probe.intervals, strict=True):
                row[target.figure] = interval.mean
                row[f"{target.figure}_low"], row[f"{target.figure}_high"] = interval.low, interval.high
            rows.append(row)
        return pd.DataFrame(rows)


def capacity(
    workers: Workers,
    of: Range,
    targets: Sequence[Target],
    seeds: Sequence[int],
    *,
    told: Told = lambda _probe: None,
) -> Capacity:
    """Search for the least generous value of the range that meets all targets. `workers` are open.

    `seeds` are those that a value at the edge gets at most, 3 or more. `told` hears of each value that was tried, again
    when it got more seeds. A KeyboardInterrupt ends the search with the probes that there are. Raises SimulationError
    where a run fails, or a target names a figure that isn't measured.
    """
    if len(set(seeds)) < 3:
        raise SimulationError("a search wants 3 seeds at least, or there is no interval to judge by")
    search = _Search(workers, of, targets, seeds, told)
    answer: int | None = None
    try:
        answer = search.answer()
        search.look_around(answer)
    except KeyboardInterrupt:
        return search.result(None, interrupted=True)
    return search.result(answer)


class _Search:
    def __init__(
        self, workers: Workers, of: Range, targets: Sequence[Target], seeds: Sequence[int], told: Told
    ) -> None:
        self._workers = workers
        self._of = of
        self._targets = tuple(targets)
        self._seeds = tuple(seeds)
        self._told = told
        self._figures: dict[int, dict[int, Figures]] = {}
        self._notes: list[str] = []

    # --- the search -------------------------------------------------------------------------------------------------

    def answer(self) -> int | None:
        """The place of the answer."""
        of = self._of
        if not self._roughly(of.last) and self._surely(of.last) != "met":
            return None
        missed, met = -1, of.last
        while met - missed > 1:  # two values at a time, as most machines have two cores at least
            width = met - missed
            inner = sorted({missed + max(1, width // 3), missed + max(1, 2 * width // 3)})
            self._run(inner, 1)
            met = next((place for place in inner if self._roughly(place)), met)
            missed = max((place for place in inner if place < met), default=missed)
        return self._edge(met)

    def _roughly(self, place: int) -> bool:
        return self._probe(place, 1).holds(self._targets)

    def _surely(self, place: int) -> Verdict:
        probe = self._probe(place, SOME_SEEDS)
        rare = probe.verdict == "met" and not all(each.half_width for each in probe.intervals)  # or just not seen yet
        return self._probe(place, len(self._seeds)).verdict if rare or probe.verdict == "unclear" else probe.verdict

    def _edge(self, guess: int) -> int | None:
        """From where the means cross the bounds to the first place that is surely enough, with its neighbour below."""
        last = self._of.last
        if self._surely(guess) == "met":
            stride, met = 1, guess
            while met > 0 and self._surely(below := max(0, met - stride)) == "met":
                met, stride = below, stride * 2
            missed = max(-1, met - stride) if met > 0 else -1
        else:
            stride, missed = 1, guess
            while self._surely(above := min(last, missed + stride)) != "met":
                if above == last:
                    return None
                missed, stride = above, stride * 2
            met = above
        while met - missed > 1:
            middle = (missed + met) // 2
            missed, met = (missed, middle) if self._surely(middle) == "met" else (middle, met)
        return met

    def look_around(self, answer: int | None) -> None:
        """Try one more value on either side of the answer, in the middle of the widest gap; what contradicts the answer
        gets more seeds, as one may have been bad luck."""
        places = [-1, *sorted(self._figures)]
        split = self._of.last if answer is None else answer
        gaps = [(right - left, left, right <= split) for left, right in pairwise(places) if right - left > 1]
        for below in (True, False):
            if of := [(width, left) for width, left, is_below in gaps if is_below is below]:
                width, left = max(of)
                if self._roughly(left + width // 2) and below:
                    self._surely(left + width // 2)
        for place in sorted(self._figures):
            if place > split and not self._roughly(place):
                self._surely(place)
        self._notes += self._against_order(answer)

    def _against_order(self, answer: int | None) -> list[str]:
        """What contradicts the assumption that more is better."""
        notes: list[str] = []
        for place in sorted(self._figures):
            probe = self._built(place)
            if answer is None or place == answer or probe.seeds < SOME_SEEDS:
                continue
            if place < answer and probe.verdict == "met":
                notes.append(f"{self._name(place)} is enough, too, but not all values between: not monotone")
            if place > answer and probe.verdict == "missed":
                notes.append(f"{self._name(place)} is not enough, though it is more generous: not monotone")
        return notes

    # --- runs -------------------------------------------------------------------------------------------------------

    def _probe(self, place: int, seeds: int) -> Probe:
        """The place under the first so many seeds; those it had already are not run again."""
        self._run([place], seeds)
        return self._built(place)

    def _run(self, places: Sequence[int], seeds: int) -> None:
        wanted = [
            Task(place, ((self._of.parameter, self._of.setting(self._of.at(place))),), seed)
            for place in places
            for seed in self._seeds[:seeds]
            if seed not in self._figures.get(place, {})
        ]
        if not wanted:
            return
        with closing(self._workers.run(wanted)) as outcomes:
            for outcome in outcomes:
                self._figures.setdefault(outcome.task.number, {})[outcome.task.seed] = self._checked(outcome)
        for place in dict.fromkeys(task.number for task in wanted):
            self._told(self._built(place))

    def _checked(self, outcome: Outcome) -> Figures:
        if outcome.figures is None:
            raise SimulationError(f"{outcome.task.name}: {outcome.failure}")
        check_known([target.figure for target in self._targets], outcome.figures)
        return outcome.figures

    def _built(self, place: int) -> Probe:
        of = self._figures[place]
        figures = tuple(of[seed] for seed in self._seeds if seed in of)
        intervals = tuple(_interval([float(each[target.figure]) for each in figures]) for target in self._targets)
        verdicts: tuple[Verdict, ...] = tuple(
            target.verdict(each.low, each.high) for target, each in zip(self._targets, intervals, strict=True)
        )
        return Probe(self._of.at(place), figures, intervals, verdicts)

    # --- the answer -------------------------------------------------------------------------------------------------

    def result(self, answer: int | None, *, interrupted: bool = False) -> Capacity:
        """All that was found."""
        notes = list(self._notes)
        probes = {place: self._built(place) for place in sorted(self._figures)}
        if answer == 0:
            notes.append("the first value of the range is enough: a range that begins before it may have a better one")
        elif answer is not None and answer - 1 in probes and probes[answer - 1].verdict == "unclear":
            notes.append(
                f"{self._name(answer - 1)} may be enough, too: {probes[answer - 1].seeds} seeds can't tell; more may"
            )
        if answer is not None:
            notes += [
                f"{target.figure} was {each.mean:g} under all {each.n} seeds: what is rarer than that has not shown"
                for target, each in zip(self._targets, probes[answer].intervals, strict=True)
                if not each.half_width
            ]
        if answer is None and not interrupted:
            notes.append(f"not even {self._name(self._of.last)} is surely enough: a wider range may hold the answer")
        by_value = tuple(sorted(probes.values(), key=lambda probe: probe.value))
        found = None if answer is None else probes[answer]
        return Capacity(self._of, self._targets, found, by_value, tuple(notes), interrupted)

    def _name(self, place: int) -> str:
        return f"{self._of.parameter} {self._of.named(self._of.at(place))}"


def _interval(values: Sequence[float]) -> Interval:
    return replications(values) if len(values) > 1 else Interval(values[0], -inf, inf, LEVEL, 1)

"""◇ An oracle: what mathematics says of a model, beside what the simulator shows of it.

Each is data and two functions: `predict` gives quantities by name, `measure` the same names from one seeded simulation.
A quantity holds where the prediction lies in the 99 % interval over the seeds and the mean is within 1 % of it; an
`exact` oracle's quantities have to be equal in each run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from sim.statistics import Interval, replications

TOLERANCE = 0.01
SEED = 1


class Oracle(NamedTuple):
    """One formula. `source`: where it is from; `setting`: the model in which it is asked; `runs`: simulations of
    independent seeds."""

    name: str
    formula: str
    source: str
    setting: str
    predict: Callable[[], dict[str, float]]
    measure: Callable[[int], dict[str, float]]
    runs: int = 20
    exact: bool = False
    tolerance: float = TOLERANCE


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity: as predicted, as simulated with its interval, and whether they agree. `tries`: how often it was
    simulated; the last time is shown."""

    oracle: str
    quantity: str
    predicted: float
    simulated: Interval
    exact: bool
    tolerance: float
    tries: int = 1

    @property
    def error(self) -> float:
        """The mean's deviation over the prediction; over 1 where that is 0."""
        return (self.simulated.mean - self.predicted) / (self.predicted or 1.0)

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        if self.exact:
            return self.simulated.low == self.predicted == self.simulated.high
        return self.simulated.covers(self.predicted) and abs(self.error) <= self.tolerance

    @property
    def told(self) -> str:
        """In words."""
        return ("holds" if self.tries == 1 else "holds, at the second try") if self.holds else "OFF"


def judge(oracle: Oracle, seed: int = SEED) -> list[Verdict]:
    """Simulate, and compare each quantity. Of quantities that are right, one in a hundred misses its interval by
    chance: where one is off, all is simulated once more, and what is off then as well is off."""
    verdicts = _judge_once(oracle, seed * 1000, tries=1)
    if oracle.exact or all(verdict.holds for verdict in verdicts):
        return verdicts
    again = _judge_once(oracle, seed * 1000 + oracle.runs, tries=2)
    return [first if first.holds else second for first, second in zip(verdicts, again, strict=True)]


def _judge_once(oracle: Oracle, seed: int, tries: int) -> list[Verdict]:
    """From `oracle.runs` simulations with this seed and those that follow."""
    predicted = oracle.predict()
    measured = [oracle.measure(seed + run) for run in range(oracle.runs)]
    return [
        Verdict(
            oracle=oracle.name,
            quantity=quantity,
            predicted=value,
            simulated=_interval([one[quantity] for one in measured], exact=oracle.exact),
            exact=oracle.exact,
            tolerance=oracle.tolerance,
            tries=tries,
        )
        for quantity, value in predicted.items()
    ]


def _interval(values: list[float], *, exact: bool) -> Interval:
    if exact:  # no chance about it: all of them have to be the one value
        return Interval(sum(values) / len(values), min(values), max(values), 1.0, len(values))
    return replications(values)


def markdown(oracles: Sequence[Oracle], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The table, and below it what each oracle is."""
    yield "| oracle | quantity | predicted | simulated | 99 % interval | error | |"
    yield "|---|---|---|---|---|---|---|"
    for verdict in verdicts:
        found = verdict.simulated
        between = "exact" if verdict.exact else f"{found.low:.5g} - {found.high:.5g}"
        yield (
            f"| {verdict.oracle} | {verdict.quantity} | {verdict.predicted:.5g} | {found.mean:.5g} | {between} "
            f"| {verdict.error:+.2%} | {verdict.told} |"
        )
    yield ""
    for oracle in oracles:
        yield f"**{oracle.name}**: {oracle.formula} ({oracle.source}). {oracle.setting}"
        yield ""

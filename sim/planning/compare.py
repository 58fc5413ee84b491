"""◆ Policies side by side, on the same luck: paired differences with intervals, and how much of what is possible.

Each seed is the same arrivals, durations and latencies for all variants, so that their differences vary far less than
they do. What is possible, the oracle tells: the policy that knows the future.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from sim.errors import SimulationError
from sim.planning.sweep import Sweep, write_tables
from sim.planning.targets import check_known
from sim.planning.task import Settings
from sim.statistics import Interval, paired, replications

if TYPE_CHECKING:
    import pandas as pd

FIGURES: Final = ("cold_share", "refused_share", "mean_ms", "p99_ms", "mean_memory_mb")
"""What is compared where nothing else is asked for."""
ORACLE: Final = "oracle"
LESS_IS_BETTER: Final = frozenset({"cold", "failed", "refused", "lost", "memory_gb_s"})
"""Besides shares (all are of what is unwelcome), spans and memory. Of most other figures neither is better."""
MORE_IS_BETTER: Final = frozenset({"ran", "throughput_per_s"})

Outlook: TypeAlias = Literal["better", "worse", "less", "more", "no difference seen"]


class Difference(msgspec.Struct, frozen=True):
    """A variant against the first in one figure: means of both, and the interval of the paired difference (the variant
    less the first). With one seed the interval is None, and nothing is sure."""

    variant: str
    figure: str
    first: float
    mean: float
    interval: Interval | None

    @property
    def outlook(self) -> Outlook:
        """What can be said, so sure as the interval is."""
        if self.interval is None or self.interval.low <= 0.0 <= self.interval.high:
            return "no difference seen"
        less = self.interval.high < 0.0
        if self.figure in LESS_IS_BETTER or self.figure.endswith(("_share", "_ms", "_mb")):
            return "better" if less else "worse"
        if self.figure in MORE_IS_BETTER:
            return "worse" if less else "better"
        return "less" if less else "more"


class Comparison(msgspec.Struct, frozen=True):
    """All variants against the first. `oracle_share` says for each variant which share of the oracle's gain over the
    first (in `oracle_figure`) it has, as an interval: 0 is the first, 1 the oracle. It is empty where the oracle wasn't
    run, or gains nothing that could be seen."""

    variants: tuple[str, ...]
    seeds: int
    differences: tuple[Difference, ...]
    oracle_figure: str
    oracle_share: Mapping[str, Interval]

    def frame(self) -> pd.DataFrame:
        """A row for each variant (but the first) and figure: `variant`, `figure`, `first` and `mean` (the means of the
        first and of the variant), `difference`, `difference_low`, `difference_high` (99 % interval), `outlook`."""
        import pandas as pd

        nothing = float("nan")
        return pd.DataFrame(
            [
                {
                    "variant": each.variant,
                    "figure": each.figure,
                    "first": each.first,
                    "mean": each.mean,
                    "difference": each.mean - each.first,
                    "difference_low": each.interval.low if each.interval else nothing,
                    "difference_high": each.interval.high if each.interval else nothing,
                    "outlook": each.outlook,
                }
                for each in self.differences
            ]
        )

    def write(self, directory: pathlib.Path) -> list[pathlib.Path]:
        """Write the frame as `differences`, as parquet and as CSV; the files. Raises SimulationError."""
        return write_tables(directory, {"differences": self.frame()})


def compare(
    of: Sweep,
    names: Sequence[str],
    figures: Sequence[str] = FIGURES,
    oracle_figure: str = "cold_share",
) -> Comparison:
    """Compare the configurations of a sweep, which are called `names`; the first is what the others are held against,
    and one called `oracle` is the yardstick. Only seeds count under which all ran. Raises SimulationError where there
    is no such seed, or no such figure."""
    by_seed: dict[int, dict[int, Mapping[str, int | float]]] = {}
    for outcome in of.outcomes:
        if outcome.figures is not None:
            by_seed.setdefault(outcome.task.seed, {})[outcome.task.number] = outcome.figures
    whole = [by_seed[seed] for seed in of.whole_seeds]
    if not whole:
        raise SimulationError("there is no seed under which all variants ran, so there is nothing to compare")
    check_known([*figures, oracle_figure], whole[0][0])
    columns = {
        (name, figure): [float(run[number][figure]) for run in whole]
        for number, name in enumerate(names)
        for figure in dict.fromkeys([*figures, oracle_figure])
    }

    def difference(name: str, figure: str) -> Difference:
        firsts, own = columns[names[0], figure], columns[name, figure]
        interval = paired(own, firsts) if len(own) > 1 else None
        return Difference(name, figure, _mean(firsts), _mean(own), interval)

    differences = tuple(difference(name, figure) for name in names[1:] for figure in figures)
    shares: dict[str, Interval] = {}
    if ORACLE in names[1:] and difference(ORACLE, oracle_figure).outlook == "better":
        first, best = columns[names[0], oracle_figure], columns[ORACLE, oracle_figure]
        shares = {name: _share(first, columns[name, oracle_figure], best) for name in names}
    return Comparison(tuple(names), len(whole), differences, oracle_figure, shares)


def keep_alive_variants(names: Sequence[str], own: str) -> list[tuple[str, Settings]]:
    """Variants by the names of keep-alive policies, for `compare`. That which is the scenario's `own` is left as it is
    there, parameters and all."""
    if len(set(names)) < len(names):
        raise SimulationError("a policy is named twice")
    return [(name, () if name == own else (("policy.keep_alive", name),)) for name in names]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _share(first: Sequence[float], own: Sequence[float], best: Sequence[float]) -> Interval:
    """(first - own) / (first - best) of the means, with the interval of a ratio of paired means (the delta method)."""
    gain = _mean(first) - _mean(best)
    share = (_mean(first) - _mean(own)) / gain
    parts = zip(first, own, best, strict=True)
    return replications([share + ((a - b) - share * (a - c)) / gain for a, b, c in parts])

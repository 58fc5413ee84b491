"""◆ A sweep: every configuration of a grid under every seed, kept as it goes, and told as tables.

`sweep` computes, `Sweep.write` makes files: `runs` with a row for each run and `means` with a row for each
configuration. What is in them depends on the scenario, the grid and the seeds alone: not on who computed it, in which
order, or in how many goes.
"""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from math import nan
from typing import TYPE_CHECKING, Final, cast

from sim.errors import SimulationError
from sim.planning.grid import Grid, configurations, tasks
from sim.planning.journal import Journal
from sim.planning.task import Outcome, Settings, shown
from sim.planning.workers import Workers
from sim.statistics import replications

if TYPE_CHECKING:
    import pandas as pd

RUN_COLUMNS: Final = {
    "configuration": "int64: its number, in the order of the grid, the last setting changing fastest",
    "(a column for each setting of the grid)": "its value, called by the setting's dotted path",
    "seed": "int64: of the workload's arrivals and of everything that is drawn; the same for all configurations",
    "(a column for each figure)": "see `sim.frames.SUMMARY_FIGURES`",
}
"""The columns of `runs`, which has a row for each run that was computed."""
MEAN_COLUMNS: Final = {
    "configuration": "as in `runs`",
    "(a column for each setting of the grid)": "as in `runs`",
    "seeds": "int64: how many runs the row is made of",
    "FIGURE": "float64: its mean over the seeds",
    "FIGURE_low, FIGURE_high": "float64: the ends of the mean's 99 % interval (Student's t); NaN with a single seed",
}
"""The columns of `means`, which has a row for each configuration with a run."""


class Sweep:
    """What a sweep found. `outcomes` are those that there are, by configuration and then seed; `reused` of them were in
    the journal; `strangers` lines of that are of another scenario; `interrupted`: somebody stopped it."""

    def __init__(self, of: Sequence[Settings], seeds: Sequence[int]) -> None:
        self.configurations = list(of)
        self.paths = list(dict.fromkeys(path for settings in of for path, _ in settings))
        self.seeds = list(seeds)
        self.outcomes: list[Outcome] = []
        self.reused = self.strangers = 0
        self.interrupted = False

    @property
    def size(self) -> int:
        """How many runs the whole sweep has."""
        return len(self.configurations) * len(self.seeds)

    @property
    def failures(self) -> list[Outcome]:
        """The runs that failed."""
        return [outcome for outcome in self.outcomes if outcome.figures is None]

    @property
    def whole_seeds(self) -> list[int]:
        """The seeds under which all configurations have figures."""
        counts = Counter(outcome.task.seed for outcome in self.outcomes if outcome.figures is not None)
        return [seed for seed in self.seeds if counts[seed] == len(self.configurations)]

    def runs(self) -> pd.DataFrame:
        """A row for each run with figures, with the columns RUN_COLUMNS."""
        import pandas as pd

        rows = [
            {"configuration": outcome.task.number, "seed": outcome.task.seed, **outcome.figures}
            for outcome in self.outcomes
            if outcome.figures is not None
        ]
        frame = pd.DataFrame(rows, columns=None if rows else ["configuration", "seed"])
        self._insert_settings(frame)
        return frame

    def means(self) -> pd.DataFrame:
        """A row for each configuration, with the columns MEAN_COLUMNS."""
        import pandas as pd

        runs = self.runs()
        names = [name for name in runs.columns if name not in ("configuration", "seed", *self.paths)]
        rows: list[dict[str, float]] = []
        for number, of in runs.groupby("configuration", sort=True):
            row: dict[str, float] = {"configuration": cast(int, number), "seeds": len(of)}
            for name in names:
                values = [float(value) for value in of[name]]
                interval = replications(values) if len(values) > 1 else None
                row[name] = sum(values) / len(values)
                row[f"{name}_low"] = interval.low if interval else nan
                row[f"{name}_high"] = interval.high if interval else nan
            rows.append(row)
        frame = pd.DataFrame(rows, columns=None if rows else ["configuration", "seeds"])
        self._insert_settings(frame)
        return frame

    def _insert_settings(self, frame: pd.DataFrame) -> None:
        """A column for each setting, after that of the configuration's number. One whose values are of several kinds
        (8192 and `16 GB`), or that isn't set everywhere, is text, since a file's column has one type."""
        numbers = [int(number) for number in frame["configuration"]]
        for place, path in enumerate(self.paths, 1):
            values = [dict(self.configurations[number]).get(path) for number in numbers]
            kinds = {float if type(value) is int else type(value) for value in values}
            alike = len(kinds) == 1 and kinds != {type(None)}
            frame.insert(place, path, values if alike else ["" if value is None else shown(value) for value in values])

    def write(self, directory: pathlib.Path) -> list[pathlib.Path]:
        """Write both tables, each as parquet and as CSV; the files. Raises SimulationError where that can't be."""
        return write_tables(directory, {"runs": self.runs(), "means": self.means()})


def write_tables(directory: pathlib.Path, tables: Mapping[str, pd.DataFrame]) -> list[pathlib.Path]:
    """Write tables by name, each as parquet and as CSV; the files. Raises SimulationError where that can't be."""
    written: list[pathlib.Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, frame in tables.items():
            parquet, csv = directory / f"{name}.parquet", directory / f"{name}.csv"
            frame.to_parquet(parquet, index=False)
            frame.to_csv(csv, index=False, lineterminator="\n")
            written += [parquet, csv]
    except OSError as problem:
        raise SimulationError(f"{directory}: can't be written to: {problem.strerror}") from problem
    return written


def sweep(
    workers: Workers,
    of: Grid | Sequence[Settings],
    seeds: Sequence[int],
    *,
    journal: Journal | None = None,
    told: Callable[[Outcome], None] = lambda _outcome: None,
) -> Sweep:
    """Run every configuration, of a grid or a list, under every seed. `workers` and `journal` are open, and of one
    measure.

    What is in the journal isn't run again; what is run is kept there at once. `told` hears of each outcome. A
    KeyboardInterrupt ends the sweep with what there is. Raises SimulationError where the grid or the seeds are none.
    """
    found = Sweep(configurations(of) if isinstance(of, Mapping) else of, seeds)
    wanted = tasks(found.configurations, seeds)
    if journal is not None:
        found.outcomes = [outcome for task in wanted if (outcome := journal.find(task)) is not None]
        found.reused, found.strangers = len(found.outcomes), journal.strangers
    done = {(outcome.task.number, outcome.task.seed) for outcome in found.outcomes}
    try:
        for outcome in found.outcomes:
            told(outcome)
        missing = [task for task in wanted if (task.number, task.seed) not in done]
        with closing(workers.run(missing)) as outcomes:
            for outcome in outcomes:
                found.outcomes.append(outcome)
                if journal is not None:
                    journal.note(outcome)
                told(outcome)
    except KeyboardInterrupt:
        found.interrupted = True
    places = {seed: place for place, seed in enumerate(seeds)}
    found.outcomes.sort(key=lambda outcome: (outcome.task.number, places[outcome.task.seed]))
    return found

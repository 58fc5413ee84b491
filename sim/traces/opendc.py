"""◆ OpenDC's table for each function: a row for each interval, with the count, the mean run (ms) and the memory.

`Timestamp [ms],Invocations,Avg Exec time per Invocation,Provisioned CPU,Provisioned Memory,...`; a file a function,
named by it. Intervals are as long as the shortest step between two rows of the first file that has two, and an hour at
most.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from sim.traces.chance import Whole
from sim.traces.report import CleaningReport
from sim.traces.rows import batches, files_of, number, whole_ns
from sim.traces.spool import Spool
from sim.traces.trace import COUNT_MAX, Choices, Trace, TraceFunction

COLUMNS = ("Timestamp [ms]", "Invocations", "Avg Exec", "Provisioned Memory")
OWNER = "opendc"
ONE_ROW_NS = 60 * 1_000_000_000
"""The interval of a trace whose files have one row each."""
WIDTH_NS_MAX = 60 * ONE_ROW_NS


def read(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices | None = None) -> Trace:
    """The functions in the directory's `*.csv`. A function's memory is the most that was provisioned for it.

    Dropped: rows of which a number is none. Mended: memory that is missing; a count above COUNT_MAX.
    """
    choices = choices or Choices()
    report = CleaningReport()
    spool = Spool()
    functions: list[TraceFunction] = []
    width_ns = 0
    try:
        for path in files_of(where, "*.csv"):
            name = path.name.removesuffix(".gz").removesuffix(".csv")
            most_mb = 0
            for first, rows, places in batches(path, COLUMNS):
                report.rows += len(rows)
                columns, batch_mb = _columns(rows, places, report, path.name, first)
                most_mb = max(most_mb, batch_mb)
                if not width_ns and len(columns) > 1:
                    steps = np.diff(np.unique(columns[:, 0]))
                    width_ns = min(int(steps.min()), WIDTH_NS_MAX) if len(steps) else 0
                columns = columns[columns[:, 1] > 0]
                at_ns, count, run_ns = columns.T
                spool.add(at_ns, np.full(len(columns), len(functions), np.int64), count, run_ns)
            if not most_mb:
                report.mend("no memory provisioned", path.name)
            functions.append(TraceFunction(name=f"{OWNER}/{name}", memory_mb=most_mb or choices.memory_mb))
    except BaseException:
        spool.close()
        raise
    return Trace(tuple(functions), spool, report, choices, width_ns=width_ns or ONE_ROW_NS)


def _columns(
    rows: list[list[str]], places: list[int], report: CleaningReport, name: str, first: int
) -> tuple[Whole, int]:
    """(begin_ns, count, run_ns) of each sound row, and the most memory of them in MB."""
    sound: list[tuple[int, int, int]] = []
    most_mb = 0
    for at, row in enumerate(rows, first):
        place = f"{name}:{at}"
        if len(row) <= max(places):
            report.drop("too few columns", place)
            continue
        begin, count, run = (number(row[column], 1e12) for column in places[:3])
        memory = number(row[places[3]], 1 << 20)
        if begin is None or count is None or run is None:
            report.drop("a number that is none", place)
            continue
        if count > COUNT_MAX:
            report.mend("a count above the most that an interval may have", place)
        sound.append((whole_ns(begin / 1000), min(round(count), COUNT_MAX), whole_ns(run / 1000)))
        most_mb = max(most_mb, round(memory or 0))
    return np.array(sound, np.int64).reshape(len(sound), 3), most_mb

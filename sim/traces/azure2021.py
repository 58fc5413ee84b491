"""◆ Azure Functions 2021: a row for each invocation, `app,func,end_timestamp,duration` (s), stamped at its end."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from sim.traces.chance import Whole
from sim.traces.report import CleaningReport
from sim.traces.rows import INSTANT_S_MAX, SECOND_NS, batches, files_of, number
from sim.traces.spool import Spool
from sim.traces.trace import Choices, Trace, TraceFunction

COLUMNS = ("app", "func", "end_timestamp", "duration")


class _Ids(dict[tuple[str, str], int]):
    """Counts the functions as they occur."""

    def __missing__(self, key: tuple[str, str]) -> int:
        self[key] = len(self)
        return self[key]


def read(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices | None = None) -> Trace:
    """The trace in the file, the files, or the directory's `*.csv` and `*.txt`. An invocation begins at end - duration.

    Mended: a begin before the trace's (set to 0). Dropped: a row of other length, a number that is none.
    """
    choices = choices or Choices()
    report = CleaningReport()
    ids = _Ids()
    spool = Spool()
    try:
        for path in files_of(where, "*.[ct][sx][vt]"):
            for first, rows, places in batches(path, COLUMNS):
                report.rows += len(rows)
                columns = _fast(rows, places, ids)
                if columns is None:
                    columns = _careful(rows, places, ids, report, path.name, first)
                end_s, duration_s, function = columns
                run_ns = np.rint(duration_s * SECOND_NS).astype(np.int64)
                at_ns = np.rint(end_s * SECOND_NS).astype(np.int64) - run_ns
                for early in np.flatnonzero(at_ns < 0):
                    report.mend("began before the trace", f"{path.name}, end {end_s[early]:.3f}")
                spool.add(np.maximum(at_ns, 0), function, np.ones_like(function), run_ns)
    except BaseException:
        spool.close()
        raise
    functions = tuple(TraceFunction(name=f"{app}/{func}", memory_mb=choices.memory_mb) for app, func in ids)
    return Trace(functions, spool, report, choices)


Columns = tuple["np.ndarray[tuple[int], np.dtype[np.float64]]", "np.ndarray[tuple[int], np.dtype[np.float64]]", Whole]


def _fast(rows: list[list[str]], places: list[int], ids: _Ids) -> Columns | None:
    """The columns of a batch in which nothing is wrong; else None, and no id was given."""
    if set(map(len, rows)) != {4}:
        return None
    columns = list(zip(*rows, strict=True))
    app, func, end, duration = (columns[place] for place in places)
    try:
        end_s = np.array(list(map(float, end)))
        duration_s = np.array(list(map(float, duration)))
    except ValueError:
        return None
    for values in (end_s, duration_s):
        if not np.all((values >= 0.0) & (values <= INSTANT_S_MAX)):
            return None
    if not (all(app) and all(func)):
        return None
    return end_s, duration_s, np.array([ids[key] for key in zip(app, func, strict=True)], np.int64)


def _careful(
    rows: list[list[str]], places: list[int], ids: _Ids, report: CleaningReport, name: str, first: int
) -> Columns:
    """The same, row by row, with a note on each row that can't be used."""
    end_s: list[float] = []
    duration_s: list[float] = []
    function: list[int] = []
    for at, row in enumerate(rows, first):
        place = f"{name}:{at}"
        if len(row) != 4:
            report.drop("not 4 columns", place)
            continue
        app, func, end_text, duration_text = (row[place] for place in places)
        end, duration = number(end_text), number(duration_text)
        if not app or not func:
            report.drop("no app or function", place)
        elif end is None:
            report.drop("no instant", place)
        elif duration is None:
            report.drop("no duration", place)
        else:
            end_s.append(end)
            duration_s.append(duration)
            function.append(ids[app, func])
    return np.array(end_s), np.array(duration_s), np.array(function, np.int64)

"""◆ Huawei 2023, private and public: wide tables `day,time,0,1,..` with a row a minute (time in seconds), a file a day.

`requests_minute/day_NNN.csv` has the counts; the private set also `function_delay_minute/day_NNN.csv`, the mean run of
each minute. An empty cell or NaN means none. The public set has no durations: there every run is the node's own.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.traces.report import CleaningReport
from sim.traces.rows import TraceError, files_of, header_of, number, whole_ns, wide
from sim.traces.spool import Spool
from sim.traces.trace import COUNT_MAX, Choices, Trace, TraceFunction
from sim.workload import DRAWN

MINUTE_NS = 60 * 1_000_000_000
OWNER = "huawei2023"
DELAY_UNIT_S = 0.001
"""Delays are told in milliseconds (by users of the set; its own page names no unit)."""
Row = tuple[int, str, float, NDArray[np.float64]]


def read(
    directory: pathlib.Path, choices: Choices | None = None, *, delay_unit_s: float = DELAY_UNIT_S, days: int = 400
) -> Trace:
    """The set in the directory that holds `requests_minute`; its first `days` files.

    Instants count from the first row's time. Mended: a request without a delay in a set that has delays (drawn), a
    count above COUNT_MAX, a count that is not whole (rounded). Dropped: rows of other length, or without a time.
    """
    choices = choices or Choices()
    report = CleaningReport()
    spool = Spool()
    names: list[str] = []
    try:
        for path in files_of(directory / "requests_minute", "day_*.csv")[:days]:
            names = _day(path, names, spool, report, delay_unit_s)
    except BaseException:
        spool.close()
        raise
    functions = tuple(TraceFunction(name=f"{OWNER}/{name}", memory_mb=choices.memory_mb) for name in names)
    return Trace(functions, spool, report, choices, width_ns=MINUTE_NS)


def _day(path: pathlib.Path, names: list[str], spool: Spool, report: CleaningReport, unit_s: float) -> list[str]:
    """Read a day into the spool; the names of its functions."""
    rows = wide(path)
    header = header_of(rows)
    if header[:2] != ["day", "time"] or (names and header[2:] != names):
        raise TraceError(f"{path} is no table of the set: its header begins {','.join(header[:4])}")
    beside = path.parent.parent / "function_delay_minute" / path.name
    delays = _Lockstep(_values(beside, len(header), report)) if beside.exists() else None
    for _, place, time_s, counts in _values(path, len(header), report):
        asked = np.flatnonzero(counts > 0)
        whole = np.rint(np.minimum(counts[asked], COUNT_MAX)).astype(np.int64)
        if np.any(counts[asked] > COUNT_MAX):
            report.mend("a count above the most that a minute may have", place)
        if np.any(np.rint(counts[asked]) != counts[asked]):
            report.mend("a count that is not whole", place)
        run_ns = np.full(len(asked), DRAWN, np.int64)
        if delays:
            run_s = delays.at(time_s, len(counts))[asked] * unit_s
            told = (run_s >= 0) & (run_s < 1e9)
            if not np.all(told):
                report.mend("requests without a delay", place)
            run_ns[told] = np.rint(run_s[told] * 1e9).astype(np.int64)
        begin = np.full(len(asked), whole_ns(time_s), np.int64)
        keep = whole > 0
        spool.add(begin[keep], asked[keep], whole[keep], run_ns[keep])
    return header[2:]


def _values(path: pathlib.Path, columns: int, report: CleaningReport) -> Iterator[Row]:
    """(row, place, time_s, values with NaN for none) of each sound row after the header."""
    rows = wide(path)
    next(rows, None)
    for at, cells in rows:
        report.rows += 1
        place = f"{path.name}:{at}"
        time_s = number(cells[1]) if len(cells) == columns else None
        if time_s is None:
            report.drop("other columns than the header's, or no time", place)
            continue
        try:
            values = np.array(list(map(float, cells[2:])))
        except ValueError:
            values = np.array([_value(cell) for cell in cells[2:]])
        yield at, place, time_s, values


def _value(cell: str) -> float:
    known = number(cell, 1e15)
    return float("nan") if known is None else known


class _Lockstep:
    """The rows of a second table at the times of the first; both rise."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._ahead: Row | None = next(rows, None)

    def at(self, time_s: float, columns: int) -> NDArray[np.float64]:
        """The values at that time; NaN where there is no such row."""
        while self._ahead and self._ahead[2] < time_s:
            self._ahead = next(self._rows, None)
        if self._ahead and self._ahead[2] == time_s:
            return self._ahead[3]
        return np.full(columns, np.nan)

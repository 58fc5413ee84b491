"""◆ Workloads written in the formats of published traces, so that other simulators can run what ours made.

What a format can't hold is lost: minute formats lose the instant inside the minute, and all but Ilúvatar's the
latencies of a function. An invocation whose run is drawn can't be written where a format tells each run: that raises
TraceError.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sim.latency import Constant
from sim.traces import azure2019, azure2021, huawei2025, iluvatar
from sim.traces.chance import Whole
from sim.traces.rows import TraceError
from sim.traces.spread import QUANTILES
from sim.workload import DRAWN, Workload

MINUTE_NS = 60 * 1_000_000_000
SAMPLES_MAX = 512
"""Runs kept of each function and day for its percentiles, the first ones."""
Columns = tuple[Whole, Whole, Whole]


def write_azure2021(workload: Workload, path: pathlib.Path) -> int:
    """A row for each invocation, in the order of arrival; returns their number. Instants and runs keep their ns."""
    ids: list[tuple[str, ...]] = [_split(one.name, 2) for one in workload.functions]
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(azure2021.COLUMNS)
        for at_ns, function, run_ns in _timed(workload):
            ends = map(_seconds, _listed(at_ns + run_ns))
            runs = map(_seconds, _listed(run_ns))
            table.writerows(
                (*ids[which], end, run) for which, end, run in zip(_listed(function), ends, runs, strict=True)
            )
            rows += len(at_ns)
    return rows


def write_huawei2025(workload: Workload, path: pathlib.Path) -> int:
    """The request table, with the columns that are read; the rest of them are 0. Returns the number of rows."""
    ids: list[tuple[str, str, str]] = []
    for at, one in enumerate(workload.functions):
        user, _, name = _split(one.name, 3)
        ids.append((name, user, f"pool{at}-300-{one.memory_mb}-0000000000"))
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(huawei2025.REQUESTS)
        for at_ns, function, run_ns in _timed(workload):
            for at, which, run in zip(_listed(at_ns), _listed(function), _listed(run_ns), strict=True):
                table.writerow((_seconds(at + run), *ids[which], _seconds(run), _seconds(run)))
            rows += len(at_ns)
    return rows


def write_iluvatar(workload: Workload, trace: pathlib.Path, metadata: pathlib.Path) -> int:
    """Trace and metadata; a function's warm duration is the mean of its runs. Returns the number of invocations."""
    count: NDArray[np.int64] = np.zeros(len(workload.functions), np.int64)
    total_ns: NDArray[np.float64] = np.zeros(len(workload.functions), np.float64)
    names = [one.name.removeprefix(f"{iluvatar.OWNER}/") for one in workload.functions]
    with trace.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(iluvatar.TRACE_COLUMNS)
        for at_ns, function, run_ns in _timed(workload):
            count += np.bincount(function, minlength=len(count))
            total_ns += np.bincount(function, run_ns, minlength=len(count))
            pairs = zip(_listed(function), _listed(at_ns), strict=True)
            table.writerows((names[which], _milliseconds(at)) for which, at in pairs)
    warm_ns = np.rint(total_ns / np.maximum(count, 1)).astype(np.int64).tolist()
    with metadata.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(iluvatar.METADATA_COLUMNS)
        for name, one, warm in zip(names, workload.functions, warm_ns, strict=True):
            init_ns = one.init.ns if isinstance(one.init, Constant) else 0
            table.writerow((name, _milliseconds(warm + init_ns), _milliseconds(warm), one.memory_mb))
    return int(count.sum())


def write_opendc(workload: Workload, directory: pathlib.Path) -> int:
    """A file for each function, a row for each minute in which it was called. Returns the number of rows."""
    directory.mkdir(parents=True, exist_ok=True)
    header = "Timestamp [ms],Invocations,Avg Exec time per Invocation,Provisioned CPU,Provisioned Memory\n"
    paths = [directory / f"{one.name.removeprefix('opendc/').replace('/', '_')}.csv" for one in workload.functions]
    if len(dict.fromkeys(paths)) < len(paths):
        raise TraceError("two functions would be written to the same file")
    for path in paths:
        path.write_text(header, "utf-8")
    rows = 0
    for minute, count, total_ns in _minutes(workload):
        for which in np.flatnonzero(count):
            mean_ms = total_ns[which] / count[which] / 1e6
            with paths[which].open("a", encoding="utf-8") as file:
                memory_mb = workload.functions[which].memory_mb
                file.write(f"{minute * 60_000},{count[which]},{mean_ms:.6f},0,{memory_mb}\n")
            rows += 1
    return rows


def write_huawei2023(workload: Workload, directory: pathlib.Path) -> int:
    """Counts and mean runs (ms) of each minute, a file a day, minutes without requests too. Returns the rows."""
    folders = [directory / "requests_minute", directory / "function_delay_minute"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    header = ["day", "time", *(one.name.removeprefix("huawei2023/") for one in workload.functions)]
    rows = next_minute = 0
    for minute, count, total_ns in _minutes(workload):
        for row in range(next_minute, minute + 1):
            day, asked = row // azure2019.MINUTES, count if row == minute else np.zeros_like(count)
            cells = [str(value) if value else "" for value in asked.tolist()]
            delays = [
                f"{total / times / 1e6:.6f}" if times else "nan"
                for times, total in zip(asked.tolist(), total_ns.tolist(), strict=True)
            ]
            for folder, values in zip(folders, (cells, delays), strict=True):
                with (folder / f"day_{day:03d}.csv").open("a", encoding="utf-8", newline="") as file:
                    table = csv.writer(file, lineterminator="\n")
                    if row % azure2019.MINUTES == 0:
                        table.writerow(header)
                    table.writerow((day, row * 60, *values))
            rows += 1
        next_minute = minute + 1
    return rows


def write_azure2019(workload: Workload, directory: pathlib.Path) -> int:
    """The three files of each day. Returns the invocations.

    Percentiles are of the first SAMPLES_MAX runs of the function and day. Holds 6 kB a function.
    """
    directory.mkdir(parents=True, exist_ok=True)
    day = _Day(workload, directory)
    invocations = 0
    for at_ns, function, run_ns in _timed(workload, drawn=True):
        minute = at_ns // MINUTE_NS
        days = minute // azure2019.MINUTES
        cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for begin, end in pairwise(cuts):
            part = slice(begin, end)
            day.add(int(days[begin]), minute[part] % azure2019.MINUTES, function[part], run_ns[part])
        invocations += len(at_ns)
    day.flush()
    return invocations


class _Day:
    """A day's counts and runs, until the next begins."""

    def __init__(self, workload: Workload, directory: pathlib.Path) -> None:
        self._functions = workload.functions
        self._ids = [_split(one.name, 3) for one in workload.functions]
        self._directory = directory
        self._number = 0
        self._clear()

    def _clear(self) -> None:
        self._counts = np.zeros((len(self._functions), azure2019.MINUTES), np.int32)
        self._runs: list[list[int]] = [[] for _ in self._functions]

    def add(self, number: int, minute: Whole, function: Whole, run_ns: Whole) -> None:
        """Invocations of one day; a later day ends the one before."""
        if number > self._number:
            self.flush()
            self._number = number
        np.add.at(self._counts, (function, minute), 1)
        for which, run in zip(_listed(function), _listed(run_ns), strict=True):
            runs = self._runs[which]
            if run != DRAWN and len(runs) < SAMPLES_MAX:
                runs.append(run)

    def flush(self) -> None:
        """Write the day, its silent functions left out."""
        called = np.flatnonzero(self._counts.any(axis=1)).tolist()
        name = f"d{self._number + 1:02d}.csv"
        with (self._directory / azure2019.INVOCATIONS.replace("d*.csv", name)).open("w", encoding="utf-8") as file:
            file.write(",".join([*azure2019.HEADER, *map(str, range(1, azure2019.MINUTES + 1))]) + "\n")
            for which in called:
                trigger = getattr(self._functions[which], "trigger", "") or "others"
                file.write(",".join([*self._ids[which], trigger, *map(str, self._counts[which].tolist())]) + "\n")
        self._write_durations(self._directory / azure2019.DURATIONS.format(day=name[1:-4]), called)
        self._write_memory(self._directory / azure2019.MEMORY.format(day=name[1:-4]), called)
        self._clear()

    def _write_durations(self, path: pathlib.Path, called: list[int]) -> None:
        quantiles = [f"percentile_Average_{percent}" for percent in QUANTILES]
        with path.open("w", encoding="utf-8") as file:
            file.write(",".join([*azure2019.HEADER[:3], "Average", "Count", "Minimum", "Maximum", *quantiles]) + "\n")
            for which in called:
                if not (runs := self._runs[which]):
                    continue
                points = np.percentile(np.array(runs), QUANTILES).tolist()
                figures = [sum(runs) / len(runs), min(runs), max(runs), *points]
                average, least, most, *points = (f"{value / 1e6:.6f}" for value in figures)
                count = str(int(self._counts[which].sum()))
                file.write(",".join([*self._ids[which], average, count, least, most, *points]) + "\n")

    def _write_memory(self, path: pathlib.Path, called: list[int]) -> None:
        percents = [f"AverageAllocatedMb_pct{percent}" for percent in (1, 5, 25, 50, 75, 95, 99, 100)]
        apps: dict[tuple[str, str], int] = {}
        for which in called:
            owner, app, _ = self._ids[which]
            apps[owner, app] = max(apps.get((owner, app), 0), self._functions[which].memory_mb)
        with path.open("w", encoding="utf-8") as file:
            file.write(",".join([*azure2019.MEMORY_COLUMNS, *percents]) + "\n")
            for (owner, app), memory_mb in apps.items():
                file.write(",".join([owner, app, "1", *[str(memory_mb)] * 9]) + "\n")


def _timed(workload: Workload, *, drawn: bool = False) -> Iterator[Columns]:
    """The workload's columns; raises TraceError at a drawn run, unless those may be."""
    for block in workload.blocks():
        run_ns = np.frombuffer(block.run_ns, np.int64)
        if not drawn and np.any(run_ns == DRAWN):
            raise TraceError("this format tells how long each run is, and the workload has runs that are drawn")
        yield np.frombuffer(block.at_ns, np.int64), np.frombuffer(block.function, np.uint32).astype(np.int64), run_ns


def _minutes(workload: Workload) -> Iterator[tuple[int, Whole, NDArray[np.float64]]]:
    """(minute, invocations of each function, the sum of their runs in ns), for each minute with any."""
    functions = len(workload.functions)
    count, total_ns = np.zeros(functions, np.int64), np.zeros(functions)
    present = -1
    for at_ns, function, run_ns in _timed(workload):
        minute = at_ns // MINUTE_NS
        cuts = [0, *(np.flatnonzero(np.diff(minute)) + 1).tolist(), len(minute)]
        for begin, end in pairwise(cuts):
            if minute[begin] != present:
                if present >= 0:
                    yield present, count, total_ns
                count, total_ns = np.zeros(functions, np.int64), np.zeros(functions)
                present = int(minute[begin])
            count += np.bincount(function[begin:end], minlength=functions)
            total_ns += np.bincount(function[begin:end], run_ns[begin:end], minlength=functions)
    if present >= 0:
        yield present, count, total_ns


def _split(name: str, parts: int) -> tuple[str, ...]:
    """The name's last `parts` ids; what lies before them is part of the first, and missing ones are called `_`."""
    ids = name.rsplit("/", parts - 1)
    return (*["_"] * (parts - len(ids)), *ids)


def _listed(column: Whole) -> list[int]:
    numbers: list[int] = column.tolist()
    return numbers


def _seconds(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09d}"


def _milliseconds(ns: int) -> str:
    return f"{ns // 1_000_000}.{ns % 1_000_000:06d}"

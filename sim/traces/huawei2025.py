"""◆ Huawei 2025: a row for each request, or for each cold start; seconds since day 0.

Requests are stamped when they are logged, which is at their end: of one request the frontend's stamp is the later one.
So an invocation arrives at `time_worker - totalCost_worker`. Memory is in the pool's name, `pool22-300-128-<pod>`:
number, millicores, MB. A function is funcName of userID in a pool.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from sim.latency import Constant
from sim.traces.chance import Whole
from sim.traces.report import CleaningReport
from sim.traces.rows import batches, files_of, number, whole_ns
from sim.traces.spool import Spool
from sim.traces.trace import Choices, Trace, TraceFunction
from sim.workload import DRAWN, SimFunction

REQUESTS = ("time_worker", "funcName", "userID", "podID", "totalCost_worker", "runtimeCost")
COLD_STARTS = (
    "time",
    "funcName",
    "userID",
    "podID",
    "podAllocationCost",
    "schedulingCost",
    "deployCodeCost",
    "deployDependencyCost",
)
_POOL = re.compile(r"(pool\d+-\d+-(\d+))(?:-.*)?")


class _Functions:
    """The functions met, with the sums that their latencies are made of."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._ids: dict[tuple[str, str, str], int] = {}
        self._functions: list[TraceFunction] = []
        self._sums: list[list[float]] = []

    def id_of(self, name: str, user: str, pod: str, report: CleaningReport, place: str) -> int:
        """Its index; new ones are added."""
        pool = _POOL.fullmatch(pod)
        if not pool:
            report.mend("no pool in the pod's name", place)
        key = (user, name, pool[1] if pool else "no-pool")
        if key not in self._ids:
            self._ids[key] = len(self._ids)
            memory_mb = max(1, int(pool[2])) if pool else self._choices.memory_mb
            self._functions.append(TraceFunction(name="/".join((user, key[2], name)), memory_mb=memory_mb))
            self._sums.append([0.0, 0.0, 0.0])
        return self._ids[key]

    def measured(self, function: int, cold_s: float, init_s: float) -> None:
        """A cold start of the function: until it answers, and what it loads."""
        sums = self._sums[function]
        sums[0] += 1
        sums[1] += cold_s
        sums[2] += init_s

    def all(self) -> tuple[SimFunction, ...]:
        """The functions, with the mean latencies of those that were measured."""
        return tuple(
            TraceFunction(
                name=function.name,
                memory_mb=function.memory_mb,
                cold=Constant(whole_ns(cold_s / times)) if times else None,
                init=Constant(whole_ns(init_s / times)) if times else None,
            )
            for function, (times, cold_s, init_s) in zip(self._functions, self._sums, strict=True)
        )


def read_requests(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices | None = None) -> Trace:
    """The request table: every invocation, its run lasting `runtimeCost`.

    Dropped: rows with a number that is none. Mended: a pod without a pool in its name, a begin before day 0.
    """
    return _read(where, choices or Choices(), REQUESTS)


def read_cold_starts(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices | None = None) -> Trace:
    """The cold-start table: only the invocations that met none warm, their runs drawn; what it is good for are the
    functions' `cold` (allocation and scheduling) and `init` (code and dependencies), each the mean of its rows."""
    return _read(where, choices or Choices(), COLD_STARTS)


def _read(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices, wanted: Sequence[str]) -> Trace:
    report = CleaningReport()
    functions = _Functions(choices)
    spool = Spool()
    try:
        for path in files_of(where, "*.csv"):
            for first, rows, places in batches(path, wanted):
                report.rows += len(rows)
                at_ns, function, run_ns = _columns(rows, places, functions, report, path.name, first)
                spool.add(at_ns, function, np.ones_like(function), run_ns)
    except BaseException:
        spool.close()
        raise
    return Trace(functions.all(), spool, report, choices)


def _columns(
    rows: list[list[str]], places: list[int], functions: _Functions, report: CleaningReport, name: str, first: int
) -> Whole:
    """Columns (at_ns, function, run_ns) of the sound rows."""
    sound: list[tuple[int, int, int]] = []
    last = max(places)
    for at, row in enumerate(rows, first):
        place = f"{name}:{at}"
        if len(row) <= last:
            report.drop("too few columns", place)
            continue
        time, func, user, pod, *costs = (row[column] for column in places)
        time_s = number(time)
        costs_s = [cost for text in costs if (cost := number(text)) is not None]
        if time_s is None or len(costs_s) < len(costs) or not func:
            report.drop("a number that is none, or no function", place)
            continue
        function = functions.id_of(func, user, pod, report, place)
        if len(costs_s) == 4:
            allocation_s, scheduling_s, code_s, dependency_s = costs_s
            functions.measured(function, allocation_s + scheduling_s, code_s + dependency_s)
            sound.append((whole_ns(time_s), function, DRAWN))
            continue
        total_s, runtime_s = costs_s
        at_ns = whole_ns(time_s) - whole_ns(total_s)
        if at_ns < 0:
            report.mend("began before day 0", place)
        sound.append((max(0, at_ns), function, whole_ns(runtime_s)))
    return np.array(sound, np.int64).reshape(len(sound), 3).T

"""◆ Ilúvatar: a trace `func_name,invoke_time_ms`, and its metadata `func_name,cold_dur_ms,warm_dur_ms,mem_mb`.

Every run of a function lasts its warm duration; the cold duration's surplus is its /init.
"""

from __future__ import annotations

import pathlib

import numpy as np

from sim.latency import Constant
from sim.traces.report import CleaningReport
from sim.traces.rows import batches, number, whole_ns
from sim.traces.spool import Spool
from sim.traces.trace import Choices, Trace, TraceFunction

TRACE_COLUMNS = ("func_name", "invoke_time_ms")
METADATA_COLUMNS = ("func_name", "cold_dur_ms", "warm_dur_ms", "mem_mb")
OWNER = "iluvatar"
MEMORY_MB_MAX = 1 << 20


class _Known:
    """The functions of the metadata."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.functions: list[TraceFunction] = []
        self.run_ns: list[int] = []


def read(trace: pathlib.Path, metadata: pathlib.Path, choices: Choices | None = None) -> Trace:
    """The trace with its metadata. Dropped: invocations of functions without metadata, numbers that are none.

    Mended: a cold duration below the warm one (no /init then); a function told twice (the first counts).
    """
    report = CleaningReport()
    known = _functions(metadata, report)
    spool = Spool()
    try:
        for first, rows, places in batches(trace, TRACE_COLUMNS):
            report.rows += len(rows)
            at_ns: list[int] = []
            function: list[int] = []
            for at, row in enumerate(rows, first):
                place = f"{trace.name}:{at}"
                if len(row) <= max(places):
                    report.drop("too few columns", place)
                    continue
                name, instant = known.ids.get(row[places[0]]), number(row[places[1]], 1e12)
                if name is None:
                    report.drop("function without metadata", place)
                elif instant is None:
                    report.drop("no instant", place)
                else:
                    function.append(name)
                    at_ns.append(whole_ns(instant / 1000))
            which = np.array(function, np.int64)
            run_ns = np.array(known.run_ns, np.int64)[which]
            spool.add(np.array(at_ns, np.int64), which, np.ones_like(which), run_ns)
    except BaseException:
        spool.close()
        raise
    return Trace(tuple(known.functions), spool, report, choices or Choices())


def _functions(path: pathlib.Path, report: CleaningReport) -> _Known:
    known = _Known()
    for first, rows, places in batches(path, METADATA_COLUMNS):
        report.rows += len(rows)
        for at, row in enumerate(rows, first):
            place = f"{path.name}:{at}"
            if len(row) <= max(places):
                report.drop("too few columns", place)
                continue
            name = row[places[0]]
            cold, warm = number(row[places[1]], 1e9), number(row[places[2]], 1e9)
            memory = number(row[places[3]], MEMORY_MB_MAX)
            if not name or cold is None or warm is None or not memory:
                report.drop("metadata without a name, durations or memory", place)
                continue
            if name in known.ids:
                report.drop("metadata told twice", place)
                continue
            if cold < warm:
                report.mend("cold duration below the warm one", place)
            known.ids[name] = len(known.functions)
            init_ns = max(0, whole_ns(cold / 1000) - whole_ns(warm / 1000))
            known.functions.append(
                TraceFunction(name=f"{OWNER}/{name}", memory_mb=max(1, round(memory)), init=Constant(init_ns))
            )
            known.run_ns.append(whole_ns(warm / 1000))
    return known

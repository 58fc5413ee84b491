"""◆ From decision logs to a profile: how long each thing takes on a node of yours.

A simulation is as good as its latencies. Those of a live invoker lie in its decision log, charged where the ports'
contract charges them (`invoker.ports`), which is where a simulated node draws them:

| stage | measured between | in the simulation |
| --- | --- | --- |
| `cold` | Start and ContainerStarted, as if no other start was under way (`sim.fit.slowdown`) | a start alone |
| `init` | Dispatch and ContainerInitialized: the call of /init, and the little before it | /init |
| `run` | ContainerInitialized (or a warm Dispatch) and RunFinished: the run, and its log's collection | /run |
| `pause`, `thaw`, `remove` | Pause, Unpause, Remove and their events | the same |
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sim.errors import SimulationError
from sim.fit.choose import How, choose
from sim.fit.slowdown import Begun, Slowdown, slowdown_of
from sim.node import Failures
from sim.profile import STAGES, Fitted, FunctionProfile, Profile, Source
from sim.recorder import COLD, PREWARM
from sim.traces.decisions import runs
from sim.traces.following import NOT_REACHED, Functions
from sim.traces.recorded import FAILABLE, STOCK, Recorded, recorded
from sim.traces.report import CleaningReport
from sim.workload import DRAWN

if TYPE_CHECKING:
    from sim.fit.choose import Spans

__all__ = ["Fit", "Fitted", "How", "fit", "fit_recorded"]

SAMPLES_MIN: Final = 30
"""A function has its own latency of a stage from so many spans on, if not told otherwise."""
THIN: Final = 100
"""Of fewer spans than this, a 99th percentile is little more than the longest."""
SPELLS: Final = 0.3
"""Starts that correlate with the one before by more than this are worth a warning."""


class Fit(NamedTuple):
    """A profile, what is to be known before it is trusted, and what is of interest but no part of it: `before_init`,
    from a dispatch to the call of /init (in `init`), and how many starts ended while 1, 2, ... were under way."""

    profile: Profile
    warnings: tuple[str, ...]
    before_init: Fitted | None
    starts_ended: tuple[int, ...]


def fit(where: Sequence[pathlib.Path], how: How = "best", samples_min: int = SAMPLES_MIN, logs_ns: int = 0) -> Fit:
    """The profile of the decision logs in files or directories, of any number of runs, of nodes that are alike.

    `how` chooses between samples and distributions (`sim.fit.choose`); `samples_min` is the least for a latency of a
    function's own; `logs_ns` is what the collection of a log takes, if it is known from the metrics: it is taken off
    the runs. Raises TraceError where the files are no decision logs, SimulationError where nothing ran in them.
    """
    functions = Functions()
    named: list[tuple[str, Recorded]] = []
    warnings: list[str] = []
    for files in runs(where):
        report = CleaningReport()
        named.append((files[0].name, recorded(files, functions, report)))
        warnings += [f"{reason}: {', '.join(report.examples[reason])}" for reason in report.dropped]
    made = fit_recorded(named, how, samples_min, logs_ns)
    return made._replace(warnings=(*warnings, *made.warnings))


def fit_recorded(
    named: Sequence[tuple[str, Recorded]], how: How = "best", samples_min: int = SAMPLES_MIN, logs_ns: int = 0
) -> Fit:
    """The profile of runs that were read with the same `Functions`, each with its name; see `fit`."""
    logs = [run for _, run in named]
    if not any(run.tries["run"] for run in logs):
        raise SimulationError("nothing ran in these decision logs: there is nothing to measure")
    starts = _starts(logs)
    slow = slowdown_of([begun for _, begun in starts])
    spans = _spans(logs, [function for function, begun in starts if begun.good], slow, logs_ns)
    stages = {name: choose(found[1], how) for name, found in spans.items() if len(found[1])}
    profile = Profile(
        sources=tuple(Source(name, run.arrivals, round(run.now_ns / 1e9, 3)) for name, run in named),
        stages=stages,
        slowdown=slow.thousandths,
        logs_ns=logs_ns,
        failures=Failures(**{name: _share(logs, name) for name in FAILABLE}, deaths_per_hour=_deaths_per_hour(logs)),
        functions=_functions(logs, spans, how, samples_min),
    )
    before = _joined([run.before_init_ns for run in logs])
    inside = choose(before, "samples") if len(before) else None
    return Fit(profile, tuple(_warnings(profile, slow, logs, samples_min)), inside, slow.ends)


def _joined(columns: Sequence[Any]) -> Spans:
    import numpy as np

    return np.concatenate([np.asarray(column, np.int64) for column in columns])


def _starts(logs: Sequence[Recorded]) -> list[tuple[int, Begun]]:
    """All starts, with the functions that they were for; the runs one after another, so that none meets another's."""
    found: list[tuple[int, Begun]] = []
    offset_ns = 0
    for run in logs:
        for start in run.starts:
            end_ns = run.now_ns if start.ended_ns == NOT_REACHED else start.ended_ns
            begun = Begun(offset_ns + start.asked_ns, offset_ns + end_ns, start.kind, start.good)
            found.append((start.function, begun))
        offset_ns += run.now_ns + 1
    return found


def _spans(
    logs: Sequence[Recorded], started: Sequence[int], slow: Slowdown, logs_ns: int
) -> dict[str, tuple[Spans, Spans]]:
    """For each stage the function's index (STOCK where there is none) and the span (ns) of each time."""
    import numpy as np

    function = _joined([run.columns.function for run in logs])
    dispatched = _joined([run.columns.dispatched_ns for run in logs])
    began = _joined([run.columns.began_ns for run in logs])
    kind = _joined([run.columns.kind for run in logs])
    ran_ns = _joined([run.run_ns for run in logs])
    ran = ran_ns != DRAWN
    inits = ran & ((kind == COLD) | (kind == PREWARM))
    spans = {
        "cold": (np.array(started, np.int64), np.array(slow.works_ns, np.int64)),
        "init": (function[inits], (began - dispatched)[inits]),
        "run": (function[ran], np.maximum(0, ran_ns[ran] - logs_ns)),
    }
    for stage in ("pause", "thaw", "remove"):
        of_stage = _joined([run.spans_ns[stage] for run in logs])
        if stage == "remove" and not len(of_stage):  # better those of a drain than none
            of_stage = _joined([run.drained_ns for run in logs])
        spans[stage] = (np.full(len(of_stage), STOCK), of_stage)
    return spans


def _share(logs: Sequence[Recorded], name: str) -> float:
    tries = sum(run.tries[name] for run in logs)
    return round(sum(run.failed[name] for run in logs) / tries, 6) if tries else 0.0


def _deaths_per_hour(logs: Sequence[Recorded]) -> float:
    """Of containers that nobody used: one that dies in use is a run that failed already."""
    unused_hours = sum(run.unused_ns for run in logs) / 3.6e12
    return float(f"{sum(run.deaths for run in logs) / unused_hours:.6g}") if unused_hours else 0.0


def _functions(
    logs: Sequence[Recorded], spans: dict[str, tuple[Spans, Spans]], how: How, samples_min: int
) -> dict[str, FunctionProfile]:
    """Each function with the latencies for which it has enough spans of its own."""
    import numpy as np

    known = logs[0].functions.known
    invocations = np.bincount(_joined([run.columns.function for run in logs]), minlength=len(known))
    made: dict[str, FunctionProfile] = {}
    for index, function in enumerate(known):
        own: dict[str, Fitted] = {}
        for stage in ("cold", "init", "run"):
            functions, spans_ns = spans[stage]
            mine = spans_ns[functions == index]
            if len(mine) >= samples_min:
                own[stage] = choose(mine, how)
        made[function.name] = FunctionProfile(
            invocations=int(invocations[index]),
            memory_mb=function.memory_mb,
            kind=function.kind,
            concurrency=function.concurrency,
            cold=own.get("cold"),
            init=own.get("init"),
            run=own.get("run"),
        )
    return made


def _correlation(spans_ns: Sequence[int]) -> float:
    """Of each span's logarithm with that of the one before; 0 where there are too few, or they don't vary."""
    import numpy as np

    logs = np.log(np.maximum(np.array(spans_ns, np.float64), 1.0))
    if len(logs) <= SAMPLES_MIN or not logs[1:].std() or not logs[:-1].std():
        return 0.0
    return float(np.corrcoef(logs[1:], logs[:-1])[0, 1])


def _warnings(profile: Profile, slow: Slowdown, logs: Sequence[Recorded], samples_min: int) -> Iterator[str]:
    for name in STAGES:
        fitted = profile.stages.get(name)
        if fitted is None:
            yield f"{name}: the log has none; a node keeps what it has there"
        elif fitted.n < THIN:
            yield f"{name}: {fitted.n} in the log; its 99th percentile is little more than the longest of them"
    if "remove" in profile.stages and not any(run.spans_ns["remove"] for run in logs):
        yield "remove: all of them are of a drain, when everything is removed at once"
    if slow.thousandths is None:
        yield "starts did not overlap enough to tell how they slow each other down; a node keeps its slowdown"
    elif not slow.alone:
        yield "starts were hardly ever alone: `cold` is what one takes in company, and the slowdown counts from there"
    if (spells := _correlation(slow.works_ns)) > SPELLS:
        yield f"starts are slow in spells (one correlates with the last by {spells:.2f}); a node draws each by itself"
    few = sum(each.run is None for each in profile.functions.values())
    if few:
        of_all = f"{few} of {len(profile.functions)} functions"
        yield f"{of_all} ran fewer than {samples_min} times: for them the node's run holds"

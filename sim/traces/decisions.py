"""◆ The invoker's own decision logs as a workload: who came when, and how long each run lasted on the real node.

Instants count from the first arrival. A run is what lies between its dispatch and its end, less the container's
initialisation, so that the simulated node can charge its own cold starts.
"""

from __future__ import annotations

import itertools
import pathlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from invoker.policy.actions import AnyAction, Dispatch, Refuse
from invoker.policy.events import AnyEvent, ContainerInitialized, InvocationArrived, RunFinished
from invoker.policy.types import ActivationId, ContainerId
from sim.traces.report import CleaningReport
from sim.traces.rows import TraceError, lines, opened
from sim.traces.spool import Spool
from sim.traces.trace import Choices, Trace, TraceFunction
from sim.workload import DRAWN

FORMAT = 1
UNFINISHED_MAX = 1 << 20
"""Arrivals held for an earlier one that has not ended; past this the earliest counts as unfinished."""
_ADD_ROWS = 4096


class _Header(msgspec.Struct, frozen=True):
    """What matters of a file's first line."""

    decisions: int
    run: str
    part: int


class _Line(msgspec.Struct, frozen=True, array_like=True):
    now_ns: int
    event: AnyEvent
    actions: list[AnyAction]


class _Arrival(msgspec.Struct, gc=False):
    """An activation on its way: when it came, who it is, and what is known of its run."""

    at_ns: int
    function: int
    container: int = 0
    dispatched_ns: int = DRAWN
    run_ns: int = DRAWN
    settled: bool = False


class _Reading:
    """Follows a log; an arrival is written to the spool once its end and those of all before it are known."""

    def __init__(self, spool: Spool, report: CleaningReport) -> None:
        self.functions: dict[tuple[object, ...], TraceFunction] = {}
        self._ids: dict[tuple[object, ...], int] = {}
        self._names: dict[str, int] = {}
        self._spool = spool
        self._report = report
        self._waiting: OrderedDict[ActivationId, _Arrival] = OrderedDict()
        self._init_ns: dict[ContainerId, int] = {}
        self._ready: list[tuple[int, int, int]] = []
        self._start_ns: int | None = None

    def take(self, line: _Line) -> None:
        """One step of the log."""
        match line.event:
            case InvocationArrived() as event:
                self._arrived(line.now_ns, event)
            case ContainerInitialized() as event:
                self._init_ns[event.container] = event.init_ns
            case RunFinished() as event:
                self._finished(line.now_ns, event)
            case _:
                pass
        for action in line.actions:
            if isinstance(action, Dispatch) and (arrival := self._waiting.get(action.activation)):
                arrival.dispatched_ns = line.now_ns
                arrival.container = action.container if action.kind != "warm" else 0
            elif isinstance(action, Refuse) and (arrival := self._waiting.get(action.activation)):
                arrival.settled = True
                self._report.mend("refused: its run is drawn", action.activation)
        self._release(everything=False)

    def end(self) -> None:
        """The log has ended: what still runs has no known duration."""
        self._release(everything=True)
        self._flush()

    def _arrived(self, now_ns: int, event: InvocationArrived) -> None:
        if self._start_ns is None:
            self._start_ns = now_ns
        key = (event.key, event.stem, event.concurrency)
        if key not in self._ids:
            self._ids[key] = len(self._ids)
            base = f"{event.key.namespace}/{event.key.path}/{event.key.name}@{event.key.version}"
            same = self._names[base] = self._names.get(base, 0) + 1
            self.functions[key] = TraceFunction(
                name=base if same == 1 else f"{base}~{same}",
                memory_mb=event.stem.memory_mb,
                kind=event.stem.kind,
                concurrency=event.concurrency,
            )
        self._waiting[event.activation] = _Arrival(now_ns - self._start_ns, self._ids[key])

    def _finished(self, now_ns: int, event: RunFinished) -> None:
        arrival = self._waiting.get(event.activation)
        if arrival is None or arrival.dispatched_ns < 0:
            return
        init_ns = self._init_ns.pop(ContainerId(arrival.container), 0) if arrival.container else 0
        arrival.run_ns = max(0, now_ns - arrival.dispatched_ns - init_ns)
        arrival.settled = True

    def _release(self, *, everything: bool) -> None:
        while self._waiting:
            activation, first = next(iter(self._waiting.items()))
            if not first.settled:
                if not everything and len(self._waiting) <= UNFINISHED_MAX:
                    break
                self._report.mend("no end in the log: its run is drawn", activation)
            del self._waiting[activation]
            self._ready.append((first.at_ns, first.function, first.run_ns))
        if len(self._ready) >= _ADD_ROWS:
            self._flush()

    def _flush(self) -> None:
        at_ns, function, run_ns = np.array(self._ready, np.int64).reshape(len(self._ready), 3).T
        self._spool.add(at_ns, function, np.ones_like(function), run_ns)
        self._ready.clear()


def read(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices | None = None) -> Trace:
    """The run whose files are named, or whose first file is (its later parts are found beside it).

    Mended: arrivals refused or unfinished (their runs are drawn), and a last line that is incomplete. Raises TraceError
    where a part is missing between two others, or a line is no decision.
    """
    report = CleaningReport()
    spool = Spool()
    reading = _Reading(spool, report)
    try:
        for path in _parts(where):
            for line in _lines(path, report):
                reading.take(line)
        reading.end()
    except BaseException:
        spool.close()
        raise
    return Trace(tuple(reading.functions.values()), spool, report, choices or Choices())


def _parts(where: pathlib.Path | Sequence[pathlib.Path]) -> list[pathlib.Path]:
    paths = [where] if isinstance(where, pathlib.Path) else list(where)
    if len(paths) == 1:
        paths = sorted(paths[0].parent.glob(f"decisions-{_header(paths[0]).run}-*.jsonl")) or paths
    numbered = sorted(((_header(path), path) for path in paths), key=lambda pair: pair[0].part)
    if len({header.run for header, _ in numbered}) != 1:
        raise TraceError("these decision logs are of different runs")
    for (before, _), (after, path) in itertools.pairwise(numbered):
        if after.part != before.part + 1:
            raise TraceError(f"before {path.name}, part {before.part + 1} of the run is missing")
    return [path for _, path in numbered]


def _header(path: pathlib.Path) -> _Header:
    with opened(path) as text:
        try:
            header = msgspec.json.decode(next(lines(text, path), ""), type=_Header)
        except msgspec.DecodeError as error:
            raise TraceError(f"{path} is no decision log: {error}") from error
    if header.decisions != FORMAT:
        raise TraceError(f"{path} has format {header.decisions}; format {FORMAT} is read here")
    return header


def _lines(path: pathlib.Path, report: CleaningReport) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    with opened(path) as text:
        for at, line in enumerate(lines(text, path), 1):
            if at == 1:
                continue
            report.rows += 1
            if not line.endswith("\n"):
                report.drop("an incomplete last line", f"{path.name}:{at}")
                return
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise TraceError(f"{path}, line {at} is no decision: {error}") from error

"""◆ The invoker's own decision logs as a workload: who came when, and how long each run lasted on the real node.

Instants count from the first arrival. A run lasts from the instant at which its container has the code until the
activation left it, so that the simulated node can charge its own cold starts.
"""

from __future__ import annotations

import itertools
import pathlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from invoker.policy import PolicySet
from invoker.policy.decision import FORMAT, Decision, Header
from sim.recorder import REFUSED
from sim.traces.following import NOT_REACHED, Activation, Follower
from sim.traces.report import CleaningReport
from sim.traces.rows import TraceError, lines, opened
from sim.traces.spool import Spool
from sim.traces.trace import Choices, Trace
from sim.workload import DRAWN

UNFINISHED_MAX = 1 << 20
"""Arrivals held for an earlier one that has not ended; past this the earliest counts as unfinished."""
_ADD_ROWS = 4096


class _Header(msgspec.Struct, frozen=True):
    """What matters of a file's first line."""

    decisions: int
    run: str
    part: int


_AnyHeader = TypeVar("_AnyHeader", _Header, Header)


class _Reading(Follower):
    """An arrival is written to the spool once its end and those of all before it are known."""

    def __init__(self, spool: Spool, report: CleaningReport) -> None:
        super().__init__()
        self._spool = spool
        self._report = report
        self._held: deque[Activation] = deque()
        self._ready: list[tuple[int, int, int]] = []
        self._start_ns: int | None = None

    def arrived(self, one: Activation) -> None:
        if self._start_ns is None:
            self._start_ns = one.arrived_ns
        self._held.append(one)
        if len(self._held) > UNFINISHED_MAX:
            self._release()

    def settled(self, one: Activation) -> None:
        while self._held and self._held[0].outcome:
            self._release()

    def end(self) -> None:
        """The log has ended: what still runs has no known duration."""
        while self._held:
            self._release()
        self._flush()

    def _release(self) -> None:
        one = self._held.popleft()
        if not one.outcome:
            self._report.mend("no end in the log: its run is drawn", one.name)
        elif one.outcome >= REFUSED:
            self._report.mend("refused: its run is drawn", one.name)
        elif one.run_ns == NOT_REACHED:
            self._report.mend("its initialisation failed: its run is drawn", one.name)
        assert self._start_ns is not None
        run_ns = DRAWN if one.run_ns == NOT_REACHED else one.run_ns
        self._ready.append((one.arrived_ns - self._start_ns, one.function, run_ns))
        if len(self._ready) >= _ADD_ROWS:
            self._flush()

    def _flush(self) -> None:
        at_ns, function, run_ns = np.array(self._ready, np.int64).reshape(len(self._ready), 3).T
        self._spool.add(at_ns, function, np.ones_like(function), run_ns)
        self._ready.clear()


def read(where: pathlib.Path | Sequence[pathlib.Path], choices: Choices | None = None) -> Trace:
    """The run whose files are named, or whose first file is (its later parts are found beside it).

    Mended: arrivals refused or unfinished, and those whose container could not be initialised (their runs are drawn).
    Dropped: a last line that is incomplete. Raises TraceError where a part is missing between two others, or a line is
    no decision.
    """
    report = CleaningReport()
    spool = Spool()
    reading = _Reading(spool, report)
    try:
        for step in steps(parts(where), report):
            reading.take(step.now_ns, step.event, step.actions)
        reading.end()
    except BaseException:
        spool.close()
        raise
    return Trace(tuple(reading.functions.known), spool, report, choices or Choices())


def parts(where: pathlib.Path | Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The files of one run in order: those named, or, where one is named, all of its run that lie beside it.

    Raises TraceError where they are of different runs, or one between two others is missing.
    """
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


def runs(where: Sequence[pathlib.Path]) -> list[list[pathlib.Path]]:
    """The files of each run, in order. `where` names files of any number of runs, or directories of them."""
    files: list[pathlib.Path] = []
    for path in where:
        found = sorted(path.glob("decisions-*.jsonl")) if path.is_dir() else [path]
        if not found:
            raise TraceError(f"there is no decision log in {path}: its files are called decisions-RUN-PART.jsonl")
        files += found
    by_run: dict[tuple[pathlib.Path, str], list[pathlib.Path]] = {}
    for path in dict.fromkeys(files):
        by_run.setdefault((path.parent, _header(path).run), []).append(path)
    return [parts(of_run) for of_run in by_run.values()]


def one_run(where: pathlib.Path | Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The files of the one run that is meant, from its beginning on. Raises TraceError where there are several, or the
    beginning is missing."""
    found = runs([where] if isinstance(where, pathlib.Path) else where)
    if len(found) > 1:
        names = ", ".join(str(files[0]) for files in found)
        raise TraceError(f"these are decision logs of {len(found)} runs; name the first file of one: {names}")
    files = found[0]
    if (part := _header(files[0]).part) != 1:
        raise TraceError(f"{files[0]} is part {part} of its run, and what was before it is missing: name a whole run")
    return files


def steps(paths: Sequence[pathlib.Path], report: CleaningReport) -> Iterator[Decision]:
    """The steps of the files, in order. An incomplete last line is dropped and reported."""
    decoder = msgspec.json.Decoder(Decision)
    for path in paths:
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


def policies(path: pathlib.Path) -> PolicySet:
    """The policies that a run was decided by. Raises TraceError where the file is none, or knows other policies."""
    return _decoded(path, Header).policies


def _header(path: pathlib.Path) -> _Header:
    return _decoded(path, _Header)


def _decoded(path: pathlib.Path, kind: type[_AnyHeader]) -> _AnyHeader:
    with opened(path) as text:
        try:
            header = msgspec.json.decode(next(lines(text, path), ""), type=kind)
        except msgspec.DecodeError as error:
            raise TraceError(f"{path} is no decision log: {error}") from error
    if header.decisions != FORMAT:
        raise TraceError(f"{path} has format {header.decisions}; format {FORMAT} is read here")
    return header

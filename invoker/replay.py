"""◆ Replay: feed a decision log to the heart again, and compare what it decides with what was written.

A log that does not come out the same tells of a heart that changed since, or of one that isn't deterministic.
Only the reading of files is I/O here.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from invoker.errors import InvokerError
from invoker.policy import PolicyError, Pool, step
from invoker.policy.actions import AnyAction
from invoker.policy.decision import FORMAT, Decision, Header
from invoker.policy.events import AnyEvent, InvocationArrived


class ReplayError(InvokerError):
    """The log can't be replayed; the text says where it ends to make sense."""


class Difference(msgspec.Struct, frozen=True):
    """The first step that came out otherwise. `decided` is what the heart says today, or its refusal."""

    file: str
    line: int
    now_ns: int
    event: AnyEvent
    recorded: list[AnyAction]
    decided: list[AnyAction] | str

    def text(self) -> str:
        """Both sides, a line for each action."""
        decided = self.decided if isinstance(self.decided, str) else _lines(self.decided)
        return (
            f"{self.file}, line {self.line}, at {self.now_ns / 1e9:.6f} s: {self.event}\n"
            f"recorded:\n{_lines(self.recorded)}\n"
            f"decided now:\n{decided}"
        )


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay found. `cut_short`: the last line was incomplete, as a killed invoker leaves it."""

    steps: int
    invocations: int
    decisions: int
    files: int
    cut_short: bool
    difference: Difference | None = None

    @property
    def identical(self) -> bool:
        """Whether every decision came out the same."""
        return self.difference is None

    def verdict(self) -> str:
        """What was found, in a line."""
        of = f"{self.steps:,} events, {self.invocations:,} invocations, {self.decisions:,} decisions"
        where = "1 file" if self.files == 1 else f"{self.files} files"
        cut = "; the last line was cut short, as a killed invoker leaves it" if self.cut_short else ""
        return f"{'identical' if self.identical else 'different'}: {of} in {where}{cut}"


def _lines(actions: Sequence[AnyAction]) -> str:
    return "\n".join(f"  {action}" for action in actions) or "  nothing"


def replay(paths: list[pathlib.Path]) -> ReplayReport:
    """Replay a run: its files in order, or its first file, whose successors beside it are found.

    Raises ReplayError where the files are no decision log, not all of one run, or their beginning is missing.
    """
    files = _in_order(paths)
    pool = Pool(_header(files[0]).policies)
    steps = invocations = decisions = 0
    cut_short = False
    for file in files:
        for number, decision in _decisions(file):
            if decision is None:
                cut_short = True
                break
            decided = _decide(pool, decision)
            steps += 1
            decisions += len(decision.actions)
            invocations += isinstance(decision.event, InvocationArrived)
            if decided != decision.actions:
                found = Difference(file.name, number, decision.now_ns, decision.event, decision.actions, decided)
                return ReplayReport(steps, invocations, decisions, len(files), cut_short, found)
    return ReplayReport(steps, invocations, decisions, len(files), cut_short)


def read(path: pathlib.Path) -> Iterator[Decision]:
    """The decisions of a run, from its first file on; for those who tell or plot them."""
    for file in _in_order([path]):
        for _, decision in _decisions(file):
            if decision is not None:
                yield decision


def _decide(pool: Pool, decision: Decision) -> list[AnyAction] | str:
    try:
        return step(pool, decision.now_ns, decision.event)
    except PolicyError as error:
        return f"refused: {error}"


def _in_order(paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """The files of the run, checked: one run, from its first part on, none missing."""
    if not paths:
        raise ReplayError("name the decision log to replay")
    if len(paths) == 1:
        run = _header(paths[0]).run
        paths = sorted(paths[0].parent.glob(f"decisions-{run}-*.jsonl")) or paths
    headers = [(_header(path), path) for path in paths]
    headers.sort(key=lambda pair: pair[0].part)
    if len({header.run for header, _ in headers}) != 1:
        raise ReplayError("these files are of different runs: name the files of one")
    for expected, (header, path) in enumerate(headers, start=1):
        if header.part != expected:
            raise ReplayError(
                f"{path.name} is part {header.part} of its run, but part {expected} is missing: a replay must begin at "
                "the beginning (keep more files with DECISION_LOG_FILES)"
            )
    return [path for _, path in headers]


def _header(path: pathlib.Path) -> Header:
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=Header)
    except OSError as error:
        raise ReplayError(f"{path} can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ReplayError(f"{path} is no decision log: its first line is no header ({error})") from error
    if header.decisions != FORMAT:
        raise ReplayError(f"{path} has format {header.decisions}, this invoker reads format {FORMAT}")
    return header


def _decisions(path: pathlib.Path) -> Iterator[tuple[int, Decision | None]]:
    """Line number and decision of each line after the header; None for an incomplete last line."""
    decode: Any = msgspec.json.Decoder(Decision).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                continue
            if not line.endswith(b"\n"):
                yield number, None
                return
            try:
                yield number, decode(line)
            except msgspec.DecodeError as error:
                raise ReplayError(f"{path}, line {number} is no decision: {error}") from error

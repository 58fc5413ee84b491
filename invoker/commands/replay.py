"""◆ `invoker replay`: feed a decision log to the heart again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from invoker.commands import present
from invoker.commands.exit_codes import ExitCode
from invoker.commands.target import JsonFlag
from invoker.errors import CallerFault

if TYPE_CHECKING:
    from invoker.replay import ReplayReport


def replay(file: Path, /, *files: Path, tell: bool = False, json: JsonFlag = False) -> int:
    """Feed decision logs to the pool again and compare what it decides.

    Parameters
    ----------
    file
        A log's first file; those that follow it in its directory are found.
    files
        More of its files, or those of other runs.
    tell
        First tell what happened and what was decided, in words.
    json
        Print the reports as JSON, a list of one for each run.
    """
    from invoker import replay as heart

    reports: list[tuple[Path, ReplayReport]] = []
    for run in _runs([file, *files]):
        try:
            if tell:
                _tell(run[0])
            reports.append((run[0], heart.replay(run)))
        except heart.ReplayError as problem:
            raise CallerFault(str(problem)) from problem
        if not json:
            _show(*reports[-1], named=len(files) > 0)
    if json:
        listed = [{"log": str(path), **msgspec.structs.asdict(report)} for path, report in reports]
        present.say(present.pretty(msgspec.json.encode(listed)))
    return ExitCode.OK if all(report.identical for _, report in reports) else ExitCode.DIFFERENT


def _runs(paths: Sequence[Path]) -> list[list[Path]]:
    """The files by run: a run's files have the same name up to the last `-` (`invoker.io.decision_log`)."""
    runs: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(paths):
        runs.setdefault((path.parent, path.name.rpartition("-")[0]), []).append(path)
    return list(runs.values())


def _show(path: Path, report: ReplayReport, *, named: bool) -> None:
    present.say(f"{path}: {report.verdict()}" if named else report.verdict())
    if report.difference is not None:
        present.say(report.difference.text())


def _tell(path: Path) -> None:
    from invoker import replay as heart
    from invoker.narration import Narrator

    narrator = Narrator()
    for decision in heart.read(path):
        clauses = narrator.tell(decision.now_ns, decision.event, decision.actions).clauses
        if clauses:
            present.say(f"{decision.now_ns / 1e9:9.3f} s  {'; '.join(clauses)}")

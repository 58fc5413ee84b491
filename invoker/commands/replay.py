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
    from invoker.policy.actions import AnyAction
    from invoker.replay import Difference, ReplayReport


def replay(file: Path, /, *files: Path, tell: bool = False, json: JsonFlag = False) -> int:
    """Feed a decision log to the pool again and compare what it decides.

    Parameters
    ----------
    file
        The log's first file; those that follow it in its directory are found.
    files
        Or all files of one run.
    tell
        First tell what happened and what was decided, in words.
    json
        Print the report as JSON.
    """
    from invoker import replay as heart

    paths = [file, *files]
    try:
        if tell:
            _tell(paths[0])
        report = heart.replay(paths)
    except heart.ReplayError as problem:
        raise CallerFault(str(problem)) from problem
    if json:
        present.say(present.pretty(msgspec.json.encode(report)))
    else:
        present.say(verdict(report))
        if report.difference is not None:
            present.say(difference(report.difference))
    return ExitCode.OK if report.identical else ExitCode.DIFFERENT


def _tell(path: Path) -> None:
    from invoker import replay as heart
    from invoker.narration import Narrator

    narrator = Narrator()
    for decision in heart.read(path):
        clauses = narrator.tell(decision.now_ns, decision.event, decision.actions).clauses
        if clauses:
            present.say(f"{decision.now_ns / 1e9:9.3f} s  {'; '.join(clauses)}")


def verdict(report: ReplayReport) -> str:
    """What the replay found, in a line."""
    of = f"{report.steps:,} events, {report.invocations:,} invocations, {report.decisions:,} decisions"
    where = "1 file" if report.files == 1 else f"{report.files} files"
    cut = "; the last line was cut short, as a killed invoker leaves it" if report.cut_short else ""
    return f"{'identical' if report.identical else 'different'}: {of} in {where}{cut}"


def difference(found: Difference) -> str:
    """Both sides of the first difference."""
    decided = found.decided if isinstance(found.decided, str) else _lines(found.decided)
    return (
        f"{found.file}, line {found.line}, at {found.now_ns / 1e9:.6f} s: {found.event}\n"
        f"recorded:\n{_lines(found.recorded)}\n"
        f"decided now:\n{decided}"
    )


def _lines(actions: Sequence[AnyAction]) -> str:
    return "\n".join(f"  {action}" for action in actions) or "  nothing"

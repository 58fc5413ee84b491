"""◆ `sim headlines`: what papers claim, tried."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from invoker.errors import CallerFault
from sim.commands import present
from sim.commands.present import JsonFlag

if TYPE_CHECKING:
    from sim.headlines import Finding, Row

INTRODUCTION: Final = """# Headlines

What papers claim of scheduling in serverless systems, tried on the generator's workloads with the policies that ship.
A claim is reproduced where the whole 99 % interval over the seeds reaches its figure, in doubt where the interval
covers it, and not reproduced where all of it stays below. Ratios are averaged geometrically.

Made by `sim headlines --markdown > docs/headlines.md`; `sim headlines NAME` tries one.
"""


def headlines(
    *names: str, seeds: int = 8, jobs: int | None = None, markdown: bool = False, json: JsonFlag = False
) -> None:
    """Try what papers claim on the generator's workloads, and tell what came of it.

    Parameters
    ----------
    names
        Which; all where none is named.
    seeds
        How many populations and their arrivals are drawn for each.
    jobs
        Processes at a time; as many as there are CPUs if not given.
    markdown
        Print docs/headlines.md.
    json
        Print the findings as JSON.
    """
    from sim.headlines import HEADLINES

    for name in names:
        if name not in HEADLINES:
            raise CallerFault(f"there is no headline {name!r}; there are {', '.join(HEADLINES)}")
    if seeds < 2:
        raise CallerFault(f"an interval takes two seeds at least, not {seeds}")
    found = list(_found(names or tuple(HEADLINES), seeds, jobs or os.cpu_count() or 1))
    if json:
        present.say_json(found)
        return
    if markdown:
        present.say(INTRODUCTION)
    for finding in found:
        for line in _page(finding) if markdown else _words(finding):
            present.say(line)


def _found(names: Sequence[str], seeds: int, jobs: int) -> Iterator[Finding]:
    from sim.headlines import HEADLINES, find

    for name in names:
        with present.progress(name, seeds, lambda done: f"{done:.0f} seeds") as advance:
            yield find(name, HEADLINES[name], range(1, seeds + 1), jobs=jobs, done=advance)


def _numbers(row: Row) -> list[str]:
    found = row.interval
    bound = "" if row.at_least is None else f"{row.at_least:g}"
    return [f"{found.mean:.3g}", f"{found.low:.3g} - {found.high:.3g}", bound, row.verdict or ""]


COLUMNS: Final = ("figure", "mean", "99 % interval", "claimed", "")


def _words(finding: Finding) -> Iterator[str]:
    yield f"{finding.name}: {finding.claim}."
    yield f"Here: {finding.setting}."
    yield from present.table(COLUMNS, [[row.figure, *_numbers(row)] for row in finding.rows])
    yield finding.remark
    yield ""


def _page(finding: Finding) -> Iterator[str]:
    yield f"## {finding.name}"
    yield ""
    yield f"**Claim.** {finding.claim}."
    yield ""
    yield f"**Here.** {finding.setting}. {len(finding.seeds)} seeds."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for row in finding.rows:
        yield f"| {row.figure} | {' | '.join(_numbers(row))} |"
    yield ""
    yield finding.remark
    yield ""

"""◆ `sim report`: what a simulation found, as a page for people."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from invoker.commands.exit_codes import ExitCode
from sim.commands import present
from sim.commands.given import Given
from sim.errors import SimulationError

_DEFAULT = Given()


def report(
    what: Path | None = None,
    /,
    *,
    compare: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, show_default=False)] = (),
    out: Path = Path("report.html"),
    no_front: Annotated[bool, Parameter(show_default=False)] = False,
    jobs: Annotated[int | None, Parameter(show_default=False)] = None,
    given: Given = _DEFAULT,
) -> int:
    """Write a report: one HTML page with figures, findings in words, and the scenario that made it.

    It has the latency, the cold starts, the queue and the memory over time, the functions that suffer most, and what
    memory buys under several keep-alive policies. The page needs nothing but itself.

    Parameters
    ----------
    what
        A scenario's file, or the directory of a result that `sim run --out` kept; else 200 functions of an Azure-like
        cloud call for an hour.
    compare
        Others to stand beside it, files or directories.
    out
        The page.
    no_front
        Leave out what memory buys, which takes many simulations.
    jobs
        Processes for those; as many as there are cores where it isn't given.
    given
        Settings of the scenario that are to be otherwise; they don't hold for a result that was kept, nor for others.
    """
    from sim.report import make

    began_s = time.perf_counter()
    if what is not None and what.is_dir():
        if given != _DEFAULT:
            raise SimulationError(f"{what} is a result that was kept: its settings can't be otherwise any more")
        of = make.source(what)
    else:
        of = make.Source(what.stem if what is not None else "an Azure-like hour", given.scenario(what))
    others = [make.source(path) for path in compare]
    with present.progress("report", 1.0, lambda share: f"{share:.0%}") as advance:
        page = make.report(of, others, with_front=not no_front, jobs=jobs, told=lambda _what, share: advance(share))
    try:
        out.write_text(page, "utf-8")
    except OSError as error:
        raise SimulationError(f"{out} can't be written: {error.strerror}") from error
    present.say(f"{out}: {len(page) / 1e3:,.0f} kB, made in {present.span((time.perf_counter() - began_s) * 1e3)}")
    return ExitCode.OK

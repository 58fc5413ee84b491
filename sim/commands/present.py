"""◆ How commands talk: results on stdout, as tables or as JSON; words and progress on stderr, for people alone.

A progress bar is drawn only on a terminal. Ctrl-C asks a command to stop where it can keep what it has; once more
stops it at once.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from types import FrameType
from typing import Annotated, Any, TypeAlias

import msgspec
from cyclopts import Parameter

JsonFlag: TypeAlias = Annotated[bool, Parameter(show_default=False)]
"""Whether a command prints JSON for programs rather than words for people."""


def say(text: str = "") -> None:
    """A line of the result, on stdout."""
    sys.stdout.write(f"{text}\n")


def tell(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """A result for programs, on stdout; a struct, or plain values."""
    say(msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lines of a table without rules: the first `left` columns to the left, the others, which are numbers, to the
    right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (columns, *rows)
    ]


def span(ms: float) -> str:
    """A span of time in three digits, as a person says it: `0.04 ms`, `12.3 ms`, `1.5 s`, `24 min`, `24 h`."""
    if ms != ms:  # NaN: there is none
        return "-"
    for limit, scale, unit in ((999.5, 1.0, "ms"), (119_500.0, 1e3, "s"), (7_170_000.0, 6e4, "min")):
        if abs(ms) < limit:
            return f"{_digits(ms / scale)} {unit}"
    return f"{_digits(ms / 3.6e6)} h" if ms < 72 * 3.6e6 else f"{_digits(ms / 8.64e7)} days"


def memory(mb: float) -> str:
    """Memory as a person says it: `512 MB`, `3.25 GB`."""
    return f"{_digits(mb)} MB" if abs(mb) < 1024 else f"{_digits(mb / 1024)} GB"


def share(part: float) -> str:
    """A share from 0 to 1 in percent; what is not 0 never looks like it."""
    percent = 100 * part
    if 0 < percent < 0.001:
        return "<0.001 %"
    places = 0 if percent in (0, 100) else 3 if percent < 0.1 else 2 if percent < 1 else 1
    return f"{percent:.{places}f} %"


def _digits(number: float) -> str:
    """Three digits that count, without zeros that don't."""
    if number and abs(number) < 0.001:
        return f"{number:.1g}"
    places = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2 if abs(number) >= 0.0995 else 3
    text = f"{number:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


Advance: TypeAlias = Callable[[float], None]
"""Told how much is done by now, in the units of the total."""


@contextlib.contextmanager
def progress(what: str, total: float | None, told: Callable[[float], str]) -> Generator[Advance]:
    """A bar on stderr while the context lasts, where that is a terminal. `told` puts what is done, and the total, into
    words; without a total the bar only shows that something goes on."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}")]
    if total is not None:
        columns += [TaskProgressColumn(), TimeRemainingColumn(compact=True)]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, told="")
        end = f" of {told(total)}" if total is not None else ""
        shown = 0.0

        def advance(done: float) -> None:
            nonlocal shown
            if (now := time.monotonic()) - shown > 0.05:
                shown = now
                bar.update(task, completed=done, told=f"{told(done)}{end}")

        yield advance


class Interrupt:
    """Whether Ctrl-C asked to stop."""

    asked = False


@contextlib.contextmanager
def interruptible() -> Generator[Interrupt]:
    """While the context lasts, a first Ctrl-C sets `asked`, and a second one is a KeyboardInterrupt as ever."""
    interrupt = Interrupt()

    def handle(_number: int, _frame: FrameType | None) -> None:
        interrupt.asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


class Watch:
    """How far a workload was read: `passed` is to be told each instant, as `sim.scenario.views.Watched` does, and says
    whether to go on. `cut_short_ns` is the instant at which Ctrl-C ended it, None where it did not."""

    def __init__(self, advance: Advance, interrupt: Interrupt) -> None:
        self._advance = advance
        self._interrupt = interrupt
        self.cut_short_ns: int | None = None

    def passed(self, at_ns: int) -> bool:
        """The workload came to this instant."""
        self._advance(at_ns / 1e9)
        if self._interrupt.asked and self.cut_short_ns is None:
            self.cut_short_ns = at_ns
        return not self._interrupt.asked


@contextlib.contextmanager
def watch(what: str, length_s: float | None) -> Generator[Watch]:
    """While a workload of this length is read, a bar shows how far; a first Ctrl-C ends it there."""
    with progress(what, length_s, lambda done_s: span(done_s * 1e3)) as advance, interruptible() as interrupt:
        yield Watch(advance, interrupt)

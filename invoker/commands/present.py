"""◆ How results are shown to a person: plain words, one look, no colour that carries meaning alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from invoker.commands.exit_codes import ExitCode
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked, unmask

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH_MAX = 100
RESULT_LINE_MAX = 90

STATUS_WORDS = ("success", "application error", "developer error", "internal error")
STATUS_COLOURS = ("green", "yellow", "red", "magenta")
STATUS_MARKS = ("✓", "!", "✗", "✗")
STATUS_EXIT_CODES = (
    ExitCode.OK,
    ExitCode.APPLICATION_ERROR,
    ExitCode.DEVELOPER_ERROR,
    ExitCode.SYSTEM_ERROR,
)

START_WORDS = {
    "cold": "cold: a new container",
    "prewarm": "prewarmed: a container that waited without code",
    "warm": "warm: the container was ready",
    "paused": "paused: the container was thawed",
    None: "no container",
}
TIMING_WORDS = {
    "dockerRunTime": "start",
    "pollTime": "ready",
    "unpauseTime": "thaw",
    "initTime": "init",
    "runTime": "run",
    "logTime": "logs",
}


def say(text: str) -> None:
    """One line, or several, on stdout."""
    sys.stdout.write(f"{text}\n")


def pretty(answer: bytes) -> str:
    """JSON, indented; numbers and escapes as they were written. What is nested too deeply for that stays as it came."""
    return _formatted(answer, 2)


_RAW = msgspec.json.Decoder(msgspec.Raw)


def _formatted(data: bytes, indent: int) -> str:
    try:
        return unmask(msgspec.json.format(bytes(decode_masked(_RAW, data)), indent=indent)).decode()
    except DECODE_ERRORS:
        return data.decode("utf-8", "replace")


def console() -> Console:
    """Where a person reads; plain where stdout is no terminal."""
    from rich.console import Console

    made = Console(highlight=False, soft_wrap=False)
    if made.width > WIDTH_MAX or not made.is_terminal:
        made.width = WIDTH_MAX
    return made


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without lines. A terminal's width is kept to; elsewhere no cell is cut, so that it can be searched."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    console().print(made)


def milliseconds(value: float) -> str:
    """A time as a person says it: `0.4 ms`, `12 ms`, `1.5 s`, `2 min`; a whole number was cut to milliseconds."""
    if value < 0.05:
        return "<1 ms" if isinstance(value, int) else "<0.1 ms"
    if value < 10:
        return f"{value:.1f} ms" if value % 1 else f"{value:.0f} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 120_000:
        return f"{value / 1000:.3g} s"
    return f"{value / 60_000:.3g} min"


def clock(unix_ms: int) -> str:
    """The time of day here."""
    return datetime.fromtimestamp(unix_ms / 1000).astimezone().strftime("%H:%M:%S")


def start_kind(facts: Mapping[str, Any]) -> str | None:
    """`cold`, `prewarm`, `warm`, or `paused` for a warm one that had to be thawed; None where no container was got."""
    kind = facts.get("containerType")
    return "paused" if kind == "warm" and "unpauseTime" in facts else kind


def timings(facts: Mapping[str, Any]) -> str:
    """Where the time went, in the order in which it went."""
    parts = [f"{word} {milliseconds(float(facts[key]))}" for key, word in TIMING_WORDS.items() if key in facts]
    return " · ".join(parts)


class _Response(msgspec.Struct):
    status: int = msgspec.field(name="statusCode")
    result: msgspec.Raw


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RESPONSE = msgspec.json.Decoder(_Response)


def record(answer: bytes) -> dict[str, Any]:
    """A record's members, the function's own result as raw JSON: no decoder of ours takes every form of it."""
    members = decode_masked(_MEMBERS, answer)
    response = decode_masked(_RESPONSE, unmask(members.pop("response")))
    known: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in members.items()}
    return known | {"response": {"statusCode": response.status, "result": msgspec.Raw(unmask(response.result))}}


def activation(record: Mapping[str, Any], facts: Mapping[str, Any]) -> Sequence[RenderableType]:
    """An activation, for a console to print: how it ended, how it came about, its result (raw or not), its log."""
    from rich.text import Text

    response = record["response"]
    status: int = response["statusCode"]
    path = annotation(record, "path") or f"{record['namespace']}/{record['name']}"
    head = Text.assemble(
        (f"{STATUS_MARKS[status]} {STATUS_WORDS[status]}", f"bold {STATUS_COLOURS[status]}"),
        ("  ", ""),
        (path, "bold"),
        (f"  {milliseconds(record['duration'])}", ""),
    )
    told: list[RenderableType] = [head, Text(f"  {START_WORDS[start_kind(facts)]}", "dim")]
    if spent := timings(facts):
        told.append(Text(f"  {spent}", "dim"))
    told.append(Text(f"  activation {record['activationId']}", "dim"))
    told.append(_result(response["result"]))
    told.extend(log_line(line) for line in record["logs"])
    return told


def _result(result: object) -> RenderableType:
    """JSON in a line where it fits, else indented."""
    from rich.highlighter import JSONHighlighter
    from rich.padding import Padding
    from rich.text import Text

    raw = msgspec.json.encode(result)
    line = _formatted(raw, 0)
    text = Text(line if len(line) <= RESULT_LINE_MAX else _formatted(raw, 2))
    JSONHighlighter().highlight(text)
    return Padding(text, (0, 0, 0, 2), expand=False)


ACTIVATION_COLUMNS = ("began", "action", "status", "start", "duration", "activation")


def activation_row(listed: Mapping[str, Any]) -> tuple[str, ...]:
    """An activation of a list, by ACTIVATION_COLUMNS."""
    return (
        clock(listed["start"]),
        str(annotation(listed, "path") or listed["name"]),
        STATUS_WORDS[int(listed["statusCode"])],
        str(listed["containerType"] or "none"),
        milliseconds(listed["duration"]),
        str(listed["activationId"]),
    )


def log_line(line: str) -> RenderableType:
    """A line of a log: `<time> <stream>: <text>` (contract, section 10), the time of day being enough here.

    Colours that the function printed are kept; what else would steer the terminal is not.
    """
    from rich.padding import Padding
    from rich.text import Text

    moment, _, rest = line.partition(" ")
    stream, _, text = rest.strip().partition(": ")
    colour = "red" if stream == "stderr" else "cyan"
    told = Text.assemble((_time_of_day(moment), "dim"), " ", (stream, colour), " ", Text.from_ansi(text))
    return Padding(told, (0, 0, 0, 2), expand=False)


def _time_of_day(moment: str) -> str:
    """Of an RFC 3339 time stamp in UTC, as the clock here shows it, to the millisecond; unchanged where it is none."""
    try:
        here = datetime.fromisoformat(f"{moment[:19]}+00:00").astimezone()
    except ValueError:
        return moment
    return f"{here:%H:%M:%S}{moment[19:23].rstrip('Z')}"


def annotation(record: Mapping[str, Any], key: str) -> Any:
    """The value of a record's annotation; None where there is none."""
    return next((each["value"] for each in record["annotations"] if each["key"] == key), None)

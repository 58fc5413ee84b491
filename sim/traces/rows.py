"""◆ Rows of CSV files, plain or gzipped, a batch at a time, so that a trace of any length is read in bounded memory."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import math
import pathlib
import zlib
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import TextIO

from invoker.errors import InvokerError

LINE_CHARS_MAX = 1 << 20
"""A line longer than this is no row of any format read here (the widest, of 5,095 columns, has some 60,000)."""
BATCH_ROWS = 16_384
"""Rows handed on at once."""
SECOND_NS = 1_000_000_000
INSTANT_S_MAX = 10 * 366 * 86_400.0
"""Instants and durations beyond ten years are errors of the file; up to there, floats tell microseconds apart."""

_NO_CELLS: list[str] = []


class TraceError(InvokerError):
    """The files are no trace of the named format, or can't be read; the text names the file and what is wrong."""


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Generator[TextIO]:
    """The text of the file, unpacked where its name ends in .gz. Bytes that are no UTF-8 become U+FFFD."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as packed, io.TextIOWrapper(packed, "utf-8-sig", "replace", newline="") as text:
                yield text
        else:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
                yield text
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path} can't be read: {error}") from error


def lines(text: TextIO, path: pathlib.Path) -> Iterator[str]:
    """The file's lines, each of LINE_CHARS_MAX at most; raises TraceError at a longer one."""
    for line in iter(partial(text.readline, LINE_CHARS_MAX), ""):
        if len(line) == LINE_CHARS_MAX:
            raise TraceError(f"{path} has a line of more than {LINE_CHARS_MAX} characters")
        yield line


def batches(path: pathlib.Path, columns: Sequence[str]) -> Iterator[tuple[int, list[list[str]], list[int]]]:
    """(number of the first row, rows, where each of `columns` stands) for each BATCH_ROWS rows after the header.

    A column is found by its exact name, else by a name that begins with it, whatever the case. Row 1 is the header.
    """
    with opened(path) as text:
        reader = csv.reader(lines(text, path))
        try:
            places = _places(next(reader, _NO_CELLS), columns, path)
            first = 2
            while rows := list(itertools.islice(reader, BATCH_ROWS)):
                yield first, rows, places
                first += len(rows)
        except csv.Error as error:
            raise TraceError(f"{path}, near line {reader.line_num}, is no CSV: {error}") from error


def _places(header: list[str], columns: Sequence[str], path: pathlib.Path) -> list[int]:
    names = [name.strip().lower() for name in header]
    places: list[int] = []
    for column in columns:
        wanted = column.lower()
        found = [at for at, name in enumerate(names) if name == wanted] or [
            at for at, name in enumerate(names) if name.startswith(wanted)
        ]
        if not found:
            raise TraceError(f"{path} has no column {column!r}; its header has {', '.join(names[:12])}")
        places.append(found[0])
    return places


def files_of(where: pathlib.Path | Sequence[pathlib.Path], pattern: str) -> list[pathlib.Path]:
    """The named files, or those of the directory that match `pattern` (`.gz` may follow), in the order of their names.

    Raises TraceError where there is none.
    """
    if not isinstance(where, pathlib.Path):
        found = list(where)
    elif where.is_dir():
        found = sorted({*where.glob(pattern), *where.glob(f"{pattern}.gz")}, key=lambda path: path.name)
    else:
        found = [where]
    if not found:
        raise TraceError(f"{where} has no file {pattern}, nor {pattern}.gz")
    return found


def number(text: str, most: float = INSTANT_S_MAX) -> float | None:
    """The number written, where it is finite and within 0 and `most`; else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0.0 <= value <= most else None


def whole_ns(seconds: float) -> int:
    """Nanoseconds of seconds, to the nearest: one multiplication and one rounding, alike on every machine."""
    return round(seconds * SECOND_NS)


def header_of(rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The first row of a table just opened; empty where there is none."""
    return next(rows, (1, _NO_CELLS))[1]


def text_rows(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """(row number, line without its end) of each line, the header first as row 1."""
    with opened(path) as text:
        for at, line in enumerate(lines(text, path), 1):
            yield at, line.rstrip("\r\n")


def cells_of(line: str, most: int = -1) -> list[str]:
    """The cells of a line; after the first `most` of them, the rest as one. A quoted line is always split whole; one
    that is no CSV has none."""
    if '"' not in line:
        return line.split(",", most)
    try:
        return next(csv.reader([line]))
    except csv.Error:
        return []


def wide(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells) of each row, the header first as row 1: for tables of a thousand columns, a row at a time."""
    for at, line in text_rows(path):
        yield at, cells_of(line)

"""◆ Rows put in order of time without holding them all: sorted runs on disk, merged as they are read.

Traces come sorted by end, by function, or not at all; a simulation wants the order of arrival. Rows with equal keys
keep the order in which they were added. The file has no name: it is gone when the spool is closed, or the process ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import numpy as np

from sim.traces.chance import Whole

HELD_ROWS_MAX = 1 << 20
"""Rows in memory before a run is written (32 MB, twice that while sorting)."""
COLUMNS = 4
_ROW_BYTES = COLUMNS * 8


class Spool:
    """Rows of four whole numbers: key, and three that belong to it. Add, then read as often as wanted."""

    def __init__(self, held_rows_max: int = HELD_ROWS_MAX) -> None:
        self._held_rows_max = held_rows_max
        self._held: list[Whole] = []
        self._held_rows = 0
        self._file: int | None = None
        self._runs: list[tuple[int, int]] = []  # (first row, rows) of each
        self.rows = 0

    def add(self, key: Whole, *others: Whole) -> None:
        """Append rows, given as columns."""
        if not len(key):
            return
        self._held.append(np.stack((key, *others), axis=1))
        self._held_rows += len(key)
        self.rows += len(key)
        if self._held_rows >= self._held_rows_max:
            self._write(self._sorted())

    def chunks(self) -> Iterator[Whole]:
        """The rows in the order of their keys, some at a time, as arrays of shape (rows, 4)."""
        last = self._sorted()
        if not self._runs:
            if len(last):
                yield last
            return
        self._held, self._held_rows = ([last], len(last)) if len(last) else ([], 0)
        yield from self._merged(last)

    def close(self) -> None:
        """Give the disk back; nothing can be read after. Twice is once."""
        file, self._file = self._file, None
        self._held, self._runs = [], []
        if file is not None:
            os.close(file)

    def _sorted(self) -> Whole:
        if not self._held:
            return np.empty((0, COLUMNS), np.int64)
        rows = np.concatenate(self._held)
        if np.any(rows[1:, 0] < rows[:-1, 0]):
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
        self._held = [rows]
        return rows

    def _write(self, rows: Whole) -> None:
        if self._file is None:
            with tempfile.TemporaryFile(prefix="sim-spool-") as file:
                self._file = os.dup(file.fileno())
        first = sum(count for _, count in self._runs)
        view = memoryview(rows.tobytes())
        done = 0
        while done < len(view):
            done += os.pwrite(self._file, view[done:], first * _ROW_BYTES + done)
        self._runs.append((first, len(rows)))
        self._held, self._held_rows = [], 0

    def _read(self, first: int, rows: int) -> Whole:
        assert self._file is not None
        data = bytearray()
        while len(data) < rows * _ROW_BYTES:
            piece = os.pread(self._file, rows * _ROW_BYTES - len(data), first * _ROW_BYTES + len(data))
            if not piece:
                raise OSError("the spool's file is shorter than what was written to it")
            data += piece
        return np.frombuffer(data, np.int64).reshape(rows, COLUMNS)

    def _merged(self, last: Whole) -> Iterator[Whole]:
        """Merge: what lies before the earliest end of what is loaded of each run can't be preceded any more."""
        piece_rows = max(256, self._held_rows_max // (len(self._runs) + 1))
        loaded = [np.empty((0, COLUMNS), np.int64) for _ in self._runs] + [last]
        ahead = [*self._runs, (0, 0)]
        bound = -1
        while True:
            for at, (first, rows) in enumerate(ahead):
                # A run whose loaded part ends at the bound says nothing about what follows: load more of it.
                if rows and (not len(loaded[at]) or loaded[at][-1, 0] <= bound):
                    count = min(rows, piece_rows)
                    loaded[at] = np.concatenate((loaded[at], self._read(first, count)))
                    ahead[at] = (first + count, rows - count)
            ends = [int(part[-1, 0]) for part, (_, rows) in zip(loaded, ahead, strict=True) if rows]
            if not ends:
                break
            bound = min(ends)
            cuts = [int(np.searchsorted(part[:, 0], bound, "left")) for part in loaded]
            ready = np.concatenate([part[:cut] for part, cut in zip(loaded, cuts, strict=True)])
            loaded = [part[cut:] for part, cut in zip(loaded, cuts, strict=True)]
            if len(ready):
                yield ready[np.argsort(ready[:, 0], kind="stable")]
        rest = np.concatenate(loaded)
        if len(rest):
            yield rest[np.argsort(rest[:, 0], kind="stable")]

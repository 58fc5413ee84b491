"""◆ A trace as a workload: rows in a spool, unfolded into invocations a stretch of time after another."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

import msgspec
import numpy as np

from sim.traces import chance, spread
from sim.traces.chance import Whole
from sim.traces.report import CleaningReport
from sim.traces.spool import Spool
from sim.workload import DRAWN, Block, SimFunction

BLOCK_INVOCATIONS = 1 << 16
COUNT_MAX = 1 << 21
"""Invocations of one function in one bucket; a cell that says more is cut to it and reported."""
_RUN_STREAM, _SPREAD_STREAM = 1, 2


class TraceFunction(SimFunction, frozen=True, kw_only=True):
    """A function as a trace knows it. `trigger`: what invokes it, in the trace's own word; "" where it isn't told.

    `name` is the trace's ids joined by slashes: owner/app/function, app/function, or a word for the trace/function.
    """

    trigger: str = ""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader must choose since the trace does not tell. `seed` and `spread`: where in its bucket an invocation
    lies, and which duration it has where only quantiles are known. `memory_mb`: of functions without one."""

    seed: int = 0
    spread: spread.Spread = "uniform"
    memory_mb: int = 256


class Timed(Protocol):
    """What `Trace` needs to know of its rows."""

    def chunks(self) -> Iterator[Whole]:
        """Rows (instant or begin of the bucket, function, count, run_ns) in the order of the first."""
        ...

    def close(self) -> None:
        """Give back what they lie in."""
        ...


class Trace:
    """A workload read from files. Close it (or leave its `with`) to give the disk back.

    `width_ns`: of the buckets; 0 where rows are single invocations. `quantiles_ns`: for each function its durations at
    the percentiles `spread.QUANTILES`, from which a run of DRAWN is drawn; a row that begins with -1 has none.
    """

    def __init__(
        self,
        functions: tuple[SimFunction, ...],
        rows: Spool,
        report: CleaningReport,
        choices: Choices,
        *,
        width_ns: int = 0,
        quantiles_ns: Whole | None = None,
    ) -> None:
        self.functions = functions
        self.report = report
        self._rows: Timed = rows
        self._choices = choices
        self._width_ns = width_ns
        self._quantiles_ns = quantiles_ns
        self._spread_keys = chance.keys(choices.seed, _SPREAD_STREAM, len(functions))
        self._run_keys = chance.keys(choices.seed, _RUN_STREAM, len(functions))
        self._close = weakref.finalize(self, rows.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the disk back. Twice is once."""
        self._close()

    def blocks(self) -> Iterator[Block]:
        """The invocations, in the order of time; of one instant, in the order of the trace."""
        for rows in self._whole_buckets():
            if self._width_ns:
                yield from cut(*self._unfolded(rows))
            else:
                yield from cut(rows[:, 0], rows[:, 1], rows[:, 3])

    def _whole_buckets(self) -> Iterator[Whole]:
        """Rows in pieces that end where a bucket ends and stand for few invocations (or are one bucket)."""
        if not self._width_ns:
            yield from self._rows.chunks()
            return
        held = np.empty((0, 4), np.int64)
        for chunk in self._rows.chunks():
            held = np.concatenate((held, chunk))
            held[:, 0] -= held[:, 0] % self._width_ns  # buckets that overlapped would break the order of time
            ends = np.flatnonzero(held[1:, 0] != held[:-1, 0]) + 1
            if not len(ends):
                continue
            before = np.concatenate(([0], np.cumsum(held[:, 2])))
            begin = 0
            for at, end in enumerate(ends):
                following = ends[at + 1] if at + 1 < len(ends) else None
                if following is None or before[following] - before[begin] > BLOCK_INVOCATIONS:
                    yield held[begin:end]
                    begin = int(end)
            held = held[begin:]
        if len(held):
            yield held

    def _unfolded(self, rows: Whole) -> tuple[Whole, Whole, Whole]:
        """Rows of buckets to single invocations, as columns in the order of time."""
        start_ns, function, count, run_ns = rows.T
        row = np.repeat(np.arange(len(rows)), count)
        position = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        bucket = start_ns // self._width_ns
        key = chance.draws(self._spread_keys[function], bucket)[row]
        at_ns = spread.instants(self._choices.spread, start_ns[row], self._width_ns, position, count[row], key)
        run = run_ns[row]
        if self._quantiles_ns is not None:
            drawn = (run == DRAWN) & (self._quantiles_ns[function[row], 0] >= 0)
            keys = chance.draws(self._run_keys[function], bucket)[row][drawn]
            words = chance.draws(keys, position[drawn])
            run[drawn] = spread.durations(self._quantiles_ns, function[row][drawn], words)
        order = np.argsort(at_ns, kind="stable")
        return at_ns[order], function[row][order], run[order]


def cut(at_ns: Whole, function: Whole, run_ns: Whole) -> Iterator[Block]:
    """Columns to blocks of BLOCK_INVOCATIONS at most."""
    for begin in range(0, len(at_ns), BLOCK_INVOCATIONS):
        part = slice(begin, begin + BLOCK_INVOCATIONS)
        yield Block(
            array("q", at_ns[part].tobytes()),
            array("I", function[part].astype(np.uint32).tobytes()),
            array("q", run_ns[part].tobytes()),
        )

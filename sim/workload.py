"""◇ What a simulation is fed with: functions, and their invocations in the order of time.

A workload is read once from front to back, in blocks of columns, so that a trace of any length streams through in
bounded memory. Readers of traces, generators and hand-written scenarios all make one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import log
from typing import Protocol

import msgspec

from sim.errors import SimulationError
from sim.latency import Latency
from sim.rng import sequence

DRAWN = -1
"""In `Block.run_ns`: the run's duration is drawn from the function's `run`."""


class SimFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function. `cold` is its create-and-start until it answers, `init` its /init, `run` its /run; None: the
    node's own. Memory in MB; `name` is `namespace/action` and unique in the workload."""

    name: str
    memory_mb: int = 256
    kind: str = "python:3"
    concurrency: int = 1
    cold: Latency | None = None
    init: Latency | None = None
    run: Latency | None = None


class Block(msgspec.Struct, frozen=True):
    """Neighbouring invocations as columns of equal length: instant (`q`, ns since the start, never falling), index into
    the workload's functions (`I`), and duration of /run (`q`, ns, or DRAWN)."""

    at_ns: array[int]
    function: array[int]
    run_ns: array[int]


class Workload(Protocol):
    """Functions, and blocks of invocations. `blocks` may be called again, and then gives the same."""

    @property
    def functions(self) -> tuple[SimFunction, ...]:
        """All functions that occur."""
        ...

    def blocks(self) -> Iterator[Block]:
        """The invocations, in the order of time."""
        ...


BLOCK_ROWS = 8192
"""How many invocations the workloads here put into a block."""


class ListWorkload:
    """Invocations that are written down: (instant in ns, index of the function, duration of /run in ns or DRAWN).

    They are put in the order of time; of those at one instant, in the order given.
    """

    def __init__(self, functions: tuple[SimFunction, ...], invocations: Iterable[tuple[int, int, int]]) -> None:
        self._functions = functions
        rows = sorted(invocations, key=lambda row: row[0])
        self._block = Block(
            array("q", [row[0] for row in rows]),
            array("I", [row[1] for row in rows]),
            array("q", [row[2] for row in rows]),
        )

    @property
    def functions(self) -> tuple[SimFunction, ...]:
        """See `Workload`."""
        return self._functions

    def blocks(self) -> Iterator[Block]:
        """See `Workload`."""
        whole = self._block
        for begin in range(0, len(whole.at_ns), BLOCK_ROWS):
            rows = slice(begin, begin + BLOCK_ROWS)
            yield Block(whole.at_ns[rows], whole.function[rows], whole.run_ns[rows])


class PoissonWorkload:
    """`count` invocations, each function's a Poisson process of its own rate (`rates_per_s`, one for each function).

    The runs are drawn from the functions' own latencies. The same seed gives the same invocations.
    """

    def __init__(
        self, functions: tuple[SimFunction, ...], rates_per_s: tuple[float, ...], count: int, seed: int
    ) -> None:
        if len(rates_per_s) != len(functions) or not all(rate > 0 for rate in rates_per_s) or count < 0:
            raise SimulationError("a Poisson workload wants a positive rate for each function, and a count from 0 on")
        self._functions = functions
        self._rates_per_s = rates_per_s
        self._count = count
        self._seed = seed

    @property
    def functions(self) -> tuple[SimFunction, ...]:
        """See `Workload`."""
        return self._functions

    def blocks(self) -> Iterator[Block]:
        """See `Workload`."""
        gaps, choices = sequence(self._seed, "poisson/gaps"), sequence(self._seed, "poisson/choices")
        bounds = list(accumulate(self._rates_per_s))
        mean_ns = 1e9 / bounds[-1]
        last = len(bounds) - 1
        at_ns = 0
        for begin in range(0, self._count, BLOCK_ROWS):
            rows = min(BLOCK_ROWS, self._count - begin)
            instants, functions = array("q"), array("I")
            for _ in range(rows):
                at_ns += round(-log(1.0 - gaps.random()) * mean_ns)
                instants.append(at_ns)
                functions.append(min(last, bisect_right(bounds, choices.random() * bounds[-1])))
            yield Block(instants, functions, array("q", [DRAWN]) * rows)

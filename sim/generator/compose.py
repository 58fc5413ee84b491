"""◇ Workloads made of workloads: faster, merged, cut, and called by a process whose rate changes.

Each is a view: nothing is held but a block, and `blocks` may be called again.
"""

from __future__ import annotations

import heapq
import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import msgspec
import numpy as np

from sim.rng import sequence
from sim.traces.chance import Whole
from sim.workload import Block, SimFunction, Workload

SECOND_NS = 1_000_000_000
BLOCK_INVOCATIONS = 1 << 14
Row = tuple[int, int, int]
"""Instant, function, run."""


def _rows(workload: Workload, first_function: int = 0) -> Iterator[Row]:
    for block in workload.blocks():
        functions = (function + first_function for function in block.function)
        yield from zip(block.at_ns, functions, block.run_ns, strict=True)


def _blocks(rows: Iterable[Row]) -> Iterator[Block]:
    source = iter(rows)
    while batch := list(itertools.islice(source, BLOCK_INVOCATIONS)):
        at_ns, function, run_ns = zip(*batch, strict=True)
        yield Block(array("q", at_ns), array("I", function), array("q", run_ns))


def _retimed(block: Block, at_ns: Whole) -> Block:
    return Block(array("q", at_ns.tobytes()), block.function, block.run_ns)


class Faster:
    """The workload with time scaled: at factor 2 everything comes twice as fast. Runs last as long as before."""

    def __init__(self, workload: Workload, factor: float) -> None:
        if not 0 < factor < math.inf:
            raise ValueError(f"a workload is replayed at a positive factor, not {factor}")
        self.functions = workload.functions
        self._workload = workload
        self._factor = factor

    def blocks(self) -> Iterator[Block]:
        """The invocations, at their scaled instants (to the nearest ns)."""
        for block in self._workload.blocks():
            at_ns = np.frombuffer(block.at_ns, np.int64)
            yield _retimed(block, np.rint(at_ns / self._factor).astype(np.int64))


class Head:
    """The workload's first `invocations`, or those before `duration_s`, or both."""

    def __init__(self, workload: Workload, *, invocations: int | None = None, duration_s: float | None = None) -> None:
        if (invocations is not None and invocations < 0) or (duration_s is not None and not duration_s >= 0):
            raise ValueError("the head of a workload has no negative length")
        self.functions = workload.functions
        self._workload = workload
        self._invocations = invocations
        self._end_ns = None if duration_s is None else round(duration_s * SECOND_NS)

    def blocks(self) -> Iterator[Block]:
        """The invocations up to the limit; the rest is not even made."""
        left = self._invocations
        for block in self._workload.blocks():
            take = len(block.at_ns)
            if self._end_ns is not None:
                take = int(np.searchsorted(np.frombuffer(block.at_ns, np.int64), self._end_ns, "left"))
            if left is not None:
                take = min(take, left)
                left -= take
            if take:
                yield Block(block.at_ns[:take], block.function[:take], block.run_ns[:take])
            if take < len(block.at_ns) or left == 0:
                return


class Merged:
    """Several workloads at once; of one instant, in the order in which they are given.

    Raises ValueError where two have a function of the same name.
    """

    def __init__(self, *workloads: Workload) -> None:
        self.functions: tuple[SimFunction, ...] = tuple(
            function for workload in workloads for function in workload.functions
        )
        names = [function.name for function in self.functions]
        if len(dict.fromkeys(names)) < len(names):
            raise ValueError("two of the merged workloads have a function of the same name")
        self._workloads = workloads

    def blocks(self) -> Iterator[Block]:
        """The invocations, in the order of time."""
        firsts = itertools.accumulate((len(workload.functions) for workload in self._workloads), initial=0)
        streams = [_rows(workload, first) for workload, first in zip(self._workloads, firsts, strict=False)]
        yield from _blocks(heapq.merge(*streams, key=itemgetter(0)))


class State(msgspec.Struct, frozen=True):
    """A state of a modulated workload: the rate is `factor` times the workload's, for `mean_s` on average."""

    factor: float
    mean_s: float


class Modulated:
    """The workload under a rate that changes at random: a Poisson workload becomes a Markov-modulated one (MMPP).

    States follow one another in turn, each for an exponential time; the first state is the first one. With factors
    whose time average is 1 the mean rate stays. Instants are bent, so all functions quicken together.
    """

    def __init__(self, workload: Workload, states: Sequence[State], seed: int) -> None:
        if not any(state.factor > 0 for state in states) or any(s.factor < 0 or not s.mean_s > 0 for s in states):
            raise ValueError("states need lengths above 0 and factors of at least 0, one of them above")
        self.functions = workload.functions
        self._workload = workload
        self._states = tuple(states)
        self._seed = seed

    def _stretches(self) -> Iterator[tuple[float, float, float, float]]:
        """(begin, end on the workload's clock; begin, factor on ours), in ns, without those in which nothing comes."""
        source = sequence(self._seed, "generator/modulated")
        steady_ns = ours_ns = 0.0
        for state in itertools.cycle(self._states):
            length_ns = -math.log(1.0 - source.random()) * state.mean_s * SECOND_NS
            if state.factor:
                yield steady_ns, steady_ns + length_ns * state.factor, ours_ns, state.factor
            steady_ns += length_ns * state.factor
            ours_ns += length_ns

    def blocks(self) -> Iterator[Block]:
        """The invocations, at their bent instants."""
        stretches = self._stretches()
        begin, end, ours, factor = next(stretches)
        for block in self._workload.blocks():
            at_ns = np.frombuffer(block.at_ns, np.int64)
            bent = np.empty_like(at_ns)
            done = 0
            while done < len(at_ns):
                upto = max(done, int(np.searchsorted(at_ns, end, "left")))
                bent[done:upto] = np.rint(ours + (at_ns[done:upto] - begin) / factor).astype(np.int64)
                done = upto
                if done < len(at_ns):
                    begin, end, ours, factor = next(stretches)
            yield _retimed(block, bent)

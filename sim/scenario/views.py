"""◇ Views of workloads that a scenario puts between a workload and its simulation; each is a workload itself."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from invoker.policy import PolicySet
from invoker.policy.keepalive import Oracle
from sim.node import Chance, Node, warm_key
from sim.workload import DRAWN, Block, SimFunction, Workload

WATCHED_INVOCATIONS = 128
"""So many invocations at a time are told of, and can be the last ones."""


class Busiest:
    """Only the invocations of the `count` functions that have most of them; of equals, the workload's first. Which
    they are is found by reading the workload once."""

    def __init__(self, workload: Workload, count: int) -> None:
        totals = np.zeros(len(workload.functions), np.int64)
        for block in workload.blocks():
            totals += np.bincount(np.frombuffer(block.function, np.uint32), minlength=len(totals))
        chosen = np.sort(np.argsort(-totals, kind="stable")[:count])
        self.functions = tuple(workload.functions[int(at)] for at in chosen)
        self._places = np.full(len(totals), -1, np.int64)
        self._places[chosen] = np.arange(len(chosen))
        self._workload = workload

    def blocks(self) -> Iterator[Block]:
        """The invocations, with their functions counted anew."""
        for block in self._workload.blocks():
            places = self._places[np.frombuffer(block.function, np.uint32)]
            kept = places >= 0
            if kept.any():
                yield Block(
                    array("q", np.frombuffer(block.at_ns, np.int64)[kept].tobytes()),
                    array("I", places[kept].astype(np.uint32).tobytes()),
                    array("q", np.frombuffer(block.run_ns, np.int64)[kept].tobytes()),
                )


class Recast:
    """The same invocations of functions that are told of in another way (their latencies, say)."""

    def __init__(self, workload: Workload, functions: Sequence[SimFunction]) -> None:
        self.functions = tuple(functions)
        self.blocks = workload.blocks


class Told:
    """The workload with the duration of every run told: those that it leaves open are drawn as a simulation with this
    node and seed draws them."""

    def __init__(self, workload: Workload, node: Node, seed: int) -> None:
        self.functions = workload.functions
        self._workload = workload
        self._node = node
        self._seed = seed

    def blocks(self) -> Iterator[Block]:
        """The invocations; the same each time."""
        run_ns = Chance(self._node, self.functions, self._seed).run_ns
        for block in self._workload.blocks():
            runs = (
                run_ns(function) if wished_ns == DRAWN else wished_ns
                for function, wished_ns in zip(block.function, block.run_ns, strict=True)
            )
            yield Block(block.at_ns, block.function, array("q", runs))


class Watched:
    """The workload, with `passed(instant in ns)` asked every few hundred invocations whether to go on; False is as if
    the workload ended there, so that what was under way is still simulated to its end."""

    def __init__(self, workload: Workload, passed: Callable[[int], bool]) -> None:
        self.functions = workload.functions
        self._workload = workload
        self._passed = passed

    def blocks(self) -> Iterator[Block]:
        """The invocations, in small blocks."""
        for block in self._workload.blocks():
            for begin in range(0, len(block.at_ns), WATCHED_INVOCATIONS):
                rows = slice(begin, begin + WATCHED_INVOCATIONS)
                if not self._passed(block.at_ns[begin]):
                    return
                yield Block(block.at_ns[rows], block.function[rows], block.run_ns[rows])


def foreseeing(policy: PolicySet, workload: Workload) -> PolicySet:
    """The policy as it is; the oracle with the workload's arrivals for its future, which it can't do without.

    All instants are held in memory, as Python's integers.
    """
    spec = policy.keep_alive
    if not isinstance(spec, Oracle) or spec.future:
        return policy
    uses: list[array[int]] = [array("q") for _ in workload.functions]
    for block in workload.blocks():
        for function, at_ns in zip(block.function, block.at_ns, strict=True):
            uses[function].append(at_ns)
    future = tuple(
        (warm_key(function.name), tuple(instants))
        for function, instants in zip(workload.functions, uses, strict=True)
        if instants
    )
    return msgspec.structs.replace(policy, keep_alive=msgspec.structs.replace(spec, future=future))

"""◇ Queueing: in which order those who wait for a container get one.

A discipline gives each activation a rank when it begins to wait, and never changes it: the lowest goes first, ties go
by arrival. So a line is a heap, and every operation O(log n) in the number of those who wait; first come, first
served needs no heap at all. Within one function the order is always that of arrival.

All arithmetic is on integers (nanoseconds, MB), so ranks are the same on every machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Literal, Protocol

import msgspec

from invoker.policy.function import Function, Invocation
from invoker.policy.types import MINUTE_NS, SECOND_NS, ActivationId, WarmKey

_SLACK = 64
"""So many entries that mean nothing any more are kept before a heap or a table is cleared of them."""


class Discipline(Protocol):
    """The interface of a queueing policy."""

    ranks: bool
    """Whether the order is another than that of arrival."""

    def rank(self, function: Function, since_ns: int, budget_ns: int) -> int:
        """The place of an activation that begins to wait at `since_ns`: not below 0, the lowest goes first.

        `budget_ns`: how long after its arrival it should have ended; 0: it doesn't say.
        """
        ...

    def served(self, rank: int) -> None:
        """The first of the line got a container, or the start of one."""
        ...

    def emptied(self) -> None:
        """Nobody waits any more."""
        ...


class FirstCome(msgspec.Struct, frozen=True, tag="fcfs"):
    """First come, first served: the order of arrival."""

    def build(self) -> Discipline:
        """The policy object."""
        return _Arrival()


class ShortestJob(msgspec.Struct, frozen=True, tag="sjf"):
    """The shortest expected stay goes first: a cold start with its initialisation, and a run, as learnt.

    A function that has not run yet counts as `unknown_ns`. Waiting counts, too, so that nobody starves: who has waited
    for a time T goes before a newcomer whose stay is shorter by less than `ageing_percent` of T; 0 is pure SJF.
    """

    unknown_ns: int = SECOND_NS
    ageing_percent: int = 10

    def build(self) -> Discipline:
        """The policy object."""
        return _Shortest(self)


class EarliestDeadline(msgspec.Struct, frozen=True, tag="edf"):
    """The earliest deadline goes first: the arrival and the activation's budget, `budget_ns` where it has none."""

    budget_ns: int = MINUTE_NS

    def build(self) -> Discipline:
        """The policy object."""
        return _Earliest(self)


class FairShare(msgspec.Struct, frozen=True, tag="fair"):
    """Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): those who share the line get equal shares of it.

    What a wait is for costs the node memory over time, so an activation is charged its function's memory times the
    stay expected of it, `unknown_ns` for a function that has not run yet. `by` tells among whom the line is shared:
    functions, or the namespaces that invoke them. Who had nothing waiting for a while has saved up nothing.
    """

    by: Literal["function", "namespace"] = "function"
    unknown_ns: int = SECOND_NS

    def build(self) -> Discipline:
        """The policy object, with a state of its own."""
        return _Fair(self)


def _expected_ns(function: Function, unknown_ns: int) -> int:
    """The stay of an activation for which a container is started."""
    return function.cost_ns + function.run_ns if function.run_ns else unknown_ns


class _Arrival:
    ranks = False

    def rank(self, function: Function, since_ns: int, budget_ns: int) -> int:
        return 0

    def served(self, rank: int) -> None:
        pass

    def emptied(self) -> None:
        pass


class _Shortest(_Arrival):
    ranks = True

    def __init__(self, spec: ShortestJob) -> None:
        self._spec = spec

    def rank(self, function: Function, since_ns: int, budget_ns: int) -> int:
        spec = self._spec
        return _expected_ns(function, spec.unknown_ns) + since_ns * spec.ageing_percent // 100


class _Earliest(_Arrival):
    ranks = True

    def __init__(self, spec: EarliestDeadline) -> None:
        self._budget_ns = spec.budget_ns

    def rank(self, function: Function, since_ns: int, budget_ns: int) -> int:
        return since_ns + (budget_ns or self._budget_ns)


class _Fair(_Arrival):
    """`_now` is virtual time, in MB x ns: the rank of the last that was first in line. `_ends` has for each sharer the
    virtual instant up to which it has been charged; one that is past means nothing any more."""

    ranks = True

    def __init__(self, spec: FairShare) -> None:
        self._spec = spec
        self._now = 0
        self._ends: dict[WarmKey | str, int] = {}
        self._ends_max = _SLACK

    def rank(self, function: Function, since_ns: int, budget_ns: int) -> int:
        spec = self._spec
        sharer = function.key if spec.by == "function" else function.key.namespace
        begin = max(self._now, self._ends.get(sharer, 0))
        self._ends[sharer] = begin + function.memory_mb * max(1, _expected_ns(function, spec.unknown_ns))
        if len(self._ends) > self._ends_max:
            self._ends = {sharer: end for sharer, end in self._ends.items() if end > self._now}
            self._ends_max = 2 * len(self._ends) + _SLACK
        return begin

    def served(self, rank: int) -> None:
        self._now = max(self._now, rank)

    def emptied(self) -> None:
        self._now = 0
        self._ends.clear()


class Line:
    """Activations in the order of a discipline. One that leaves stays in the heap until it comes up or too many do."""

    def __init__(self, ranked: bool) -> None:
        self._members: OrderedDict[ActivationId, Invocation] = OrderedDict()
        self._ranked = ranked
        self._heap: list[tuple[int, int, Invocation]] = []
        self._puts = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Invocation]:
        """All members, in the order of joining."""
        return iter(self._members.values())

    def join(self, invocation: Invocation) -> None:
        """Take a place by rank, behind those of the same."""
        self._members[invocation.activation] = invocation
        if self._ranked:
            self._push(invocation.rank, 1, invocation)

    def join_first(self, invocation: Invocation) -> None:
        """Go before all others, whatever their ranks."""
        self._members[invocation.activation] = invocation
        self._members.move_to_end(invocation.activation, last=False)
        if self._ranked:
            self._push(-1, -1, invocation)

    def leave(self, invocation: Invocation) -> bool:
        """Give up the place; False where the activation is not in this line."""
        return self._members.pop(invocation.activation, None) is not None

    def head(self) -> Invocation | None:
        """Who goes first."""
        if not self._ranked:
            for invocation in self._members.values():
                return invocation
            return None
        heap = self._heap
        while heap:
            invocation = heap[0][2]
            if self._members.get(invocation.activation) is invocation:
                return invocation
            heappop(heap)
        return None

    def _push(self, rank: int, direction: int, invocation: Invocation) -> None:
        self._puts += 1
        heappush(self._heap, (rank, direction * self._puts, invocation))
        if len(self._heap) > 2 * len(self._members) + _SLACK:
            self._heap = [entry for entry in self._heap if self._members.get(entry[2].activation) is entry[2]]
            heapify(self._heap)


class Alarms:
    """What is to happen to those who still wait at an instant: a start is wanted for them, or they are refused."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Invocation, bool]] = []
        self._puts = 0

    def put(
        self, at_ns: int, invocation: Invocation, last: bool, waiting: OrderedDict[ActivationId, Invocation]
    ) -> None:
        """Set one. `last`: the wait ends in a refusal. `waiting` are all who wait."""
        self._puts += 1
        heappush(self._heap, (at_ns, self._puts, invocation, last))
        if len(self._heap) > 4 * len(waiting) + _SLACK:  # an activation has two at most
            self._heap = [entry for entry in self._heap if waiting.get(entry[2].activation) is entry[2]]
            heapify(self._heap)

    def next(self, waiting: OrderedDict[ActivationId, Invocation]) -> tuple[int, Invocation, bool] | None:
        """(instant, activation, last) of the next one that means something; it stays."""
        heap = self._heap
        while heap:
            at_ns, _, invocation, last = heap[0]
            if waiting.get(invocation.activation) is invocation:
                return at_ns, invocation, last
            heappop(heap)
        return None

    def pop(self) -> None:
        """Drop the next one."""
        heappop(self._heap)

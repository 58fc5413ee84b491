"""◇ What a function is worth: greedy-dual, what is left of it without one of its terms, and its heir for bursts.

A function's priority is `clock + worth`, computed when a container of it becomes idle; the lowest goes first, its least
recently used container of them, and the clock rises to the priority of what was evicted, so that what is not used any
more ages.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

import msgspec

from invoker.policy.container import Container
from invoker.policy.function import Function
from invoker.policy.keepalive.base import KeepAlive, SpanNs, Whole
from invoker.policy.keepalive.queue import SLACK
from invoker.policy.types import SECOND_NS


class GreedyDual(msgspec.Struct, frozen=True, tag="greedy-dual"):
    """Greedy-Dual-Size-Frequency, as FaasCache uses it for functions (Fuerst and Sharma, ASPLOS 2021).

    A function is worth `uses * cost / size`: `uses` since it last had no container, `cost` the ns of a cold start with
    its initialisation, and `size` the memory in MB. `ttl_ns` 0: nobody goes without pressure.
    """

    ttl_ns: SpanNs = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _Ranked(self.ttl_ns, _uses_by_cost_and_size)


class Frequency(msgspec.Struct, frozen=True, tag="frequency"):
    """FaasCache's FREQ: greedy-dual that does not look at sizes; a function is worth `uses * cost` (ns).

    `ttl_ns` 0: nobody goes without pressure.
    """

    ttl_ns: SpanNs = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _Ranked(self.ttl_ns, _uses_by_cost)


class Size(msgspec.Struct, frozen=True, tag="size"):
    """FaasCache's SIZE: greedy-dual that does not look at costs; a function is worth `uses / size`, the larger of two
    that are used alike goes first. `ttl_ns` 0: nobody goes without pressure.
    """

    ttl_ns: SpanNs = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _Ranked(self.ttl_ns, _uses_by_size)


class Cidre(msgspec.Struct, frozen=True, tag="cidre"):
    """In the manner of CIDRE (ASPLOS 2025): for functions whose activations come together.

    Eviction: a function is worth `uses * cost / size / containers`, so that the many containers which one burst left
    behind do not push out everybody else; it is worth more again as they go. Starting or waiting: an activation that
    finds no idle container waits for a busy one where that is expected to be free sooner than a cold start is done,
    judged by what runs and cold starts of the function took so far; it waits at most `wait_percent` of the cold start,
    and never more than `wait_max_ns`, and only then is a container started for it. (The paper's race of the two, in the
    words of this heart: its admission may wait, or start and still take whichever container is free first.)
    `ttl_ns` 0: nobody goes without pressure.
    """

    ttl_ns: SpanNs = 0
    wait_percent: Whole = 100
    wait_max_ns: SpanNs = 10 * SECOND_NS

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _Cidre(self)


_SIZE_SCALE = 1 << 32  # keeps `uses / size` apart in whole numbers, for uses far beyond any


def _uses_by_cost_and_size(function: Function) -> int:
    return function.uses * function.cost_ns // function.memory_mb


def _uses_by_cost(function: Function) -> int:
    return function.uses * function.cost_ns


def _uses_by_size(function: Function) -> int:
    return function.uses * _SIZE_SCALE // function.memory_mb


def _uses_by_cost_size_and_containers(function: Function) -> int:
    return function.uses * function.cost_ns // (function.memory_mb * max(1, function.containers))


class _Ranked(KeepAlive):
    """A heap of functions. An entry is the function's only if it equals the function's `rank`; others are dead."""

    def __init__(self, ttl_ns: int, worth: Callable[[Function], int]) -> None:
        self._ttl_ns = ttl_ns
        self._worth = worth
        self._clock = 0
        self._ranked = 0
        self._entries = 0
        self._heap: list[tuple[int, int, Function, int]] = []  # priority, number, whose, the clock when ranked

    def used(self, function: Function) -> None:
        function.uses += 1

    def idle(self, container: Container, now_ns: int) -> int:
        function = container.function
        assert function is not None
        if function.rank is None:
            self._ranked += 1
        self._entries += 1
        function.rank = (self._clock + self._worth(function), self._entries)
        heappush(self._heap, (*function.rank, function, self._clock))
        if len(self._heap) > 2 * self._ranked + SLACK:
            self._heap = [entry for entry in self._heap if entry[2].rank == entry[:2]]
            heapify(self._heap)
        return now_ns + self._ttl_ns if self._ttl_ns else 0

    def taken(self, container: Container) -> None:
        function = container.function
        assert function is not None
        if function.rank is not None and not function.idle:
            function.rank = None
            self._ranked -= 1

    def victim(self) -> Container | None:
        heap = self._heap
        while heap:
            priority, entry, function, clock = heap[0]
            if function.rank != (priority, entry) or not function.idle:
                heappop(heap)
                continue
            risen = self._risen(function, clock, priority)
            if risen == priority:
                return next(iter(function.idle.values()))
            heappop(heap)
            function.rank = (risen, entry)
            heappush(heap, (risen, entry, function, clock))
        return None

    def evicted(self, container: Container) -> None:
        function = container.function
        assert function is not None
        if function.rank is not None:
            self._clock = max(self._clock, function.rank[0])

    def _risen(self, function: Function, clock: int, priority: int) -> int:
        """The priority, where it may have risen since the function was ranked."""
        del function, clock
        return priority


class _Cidre(_Ranked):
    def __init__(self, spec: Cidre) -> None:
        super().__init__(spec.ttl_ns, _uses_by_cost_size_and_containers)
        self._wait_percent = spec.wait_percent
        self._wait_max_ns = spec.wait_max_ns

    def patience_ns(self, function: Function) -> int:
        return min(function.cost_ns * self._wait_percent // 100, self._wait_max_ns)

    def _risen(self, function: Function, clock: int, priority: int) -> int:
        """It has fewer containers now: the heap's lowest entry is put back where it belongs, so the heap's order is
        right whenever it is looked at. That it has more shows when one of them becomes idle."""
        return max(priority, clock + self._worth(function))

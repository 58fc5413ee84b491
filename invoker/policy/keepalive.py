"""◇ Keep-alive: which idle container goes first when memory is short, and how long one may stay at all.

A keep-alive policy sees containers become idle and be taken; it never moves one itself.
Every method is O(1), or O(log n) in the number of functions.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import Protocol

import msgspec

from invoker.policy.container import Container
from invoker.policy.function import Function
from invoker.policy.types import MINUTE_NS, ContainerId


class KeepAlive(Protocol):
    """The interface of a keep-alive policy."""

    def used(self, function: Function) -> None:
        """An activation of the function got a container."""
        ...

    def idle(self, container: Container, now_ns: int) -> int:
        """The container became idle. Returns the instant at which it is to be removed if still idle, 0 for never."""
        ...

    def taken(self, container: Container) -> None:
        """The container is idle no more: used again, or being removed."""
        ...

    def victim(self) -> Container | None:
        """The idle container to evict next; None where none is idle. Changes no container."""
        ...

    def evicted(self, container: Container) -> None:
        """The victim was evicted under pressure (`taken` follows)."""
        ...


class LruTtl(msgspec.Struct, frozen=True, tag="lru-ttl"):
    """Least recently used goes first; whoever is idle for `ttl_ns` goes anyway (the reference, contract section 13).

    `tick_ns` > 0 looks only at multiples of it, as the reference's reaper that runs each minute.
    """

    ttl_ns: int = 15 * MINUTE_NS
    tick_ns: int = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _LeastRecentlyUsed(self)


class GreedyDual(msgspec.Struct, frozen=True, tag="greedy-dual"):
    """Greedy-Dual-Size-Frequency, as FaasCache uses it for functions (Fuerst and Sharma, ASPLOS 2021).

    A function's priority is `clock + uses * cost / size`, `cost` the ns of a cold start with its initialisation and
    `size` the memory in MB; the lowest goes first, its least recently used container of them, and the clock rises to
    the priority of what was evicted, so that what is not used any more ages. `ttl_ns` 0: nobody goes without pressure.
    """

    ttl_ns: int = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _GreedyDualSizeFrequency(self)


class _LeastRecentlyUsed:
    def __init__(self, spec: LruTtl) -> None:
        self._ttl_ns = spec.ttl_ns
        self._tick_ns = spec.tick_ns
        self._order: OrderedDict[ContainerId, Container] = OrderedDict()

    def used(self, function: Function) -> None:
        pass

    def idle(self, container: Container, now_ns: int) -> int:
        self._order[container.id] = container
        if not self._ttl_ns:
            return 0
        at_ns = now_ns + self._ttl_ns
        return at_ns if not self._tick_ns else -(-at_ns // self._tick_ns) * self._tick_ns

    def taken(self, container: Container) -> None:
        del self._order[container.id]

    def victim(self) -> Container | None:
        for container in self._order.values():
            return container
        return None

    def evicted(self, container: Container) -> None:
        pass


class _GreedyDualSizeFrequency:
    """A heap of functions. An entry is the function's only if it equals the function's `rank`; others are stale."""

    def __init__(self, spec: GreedyDual) -> None:
        self._ttl_ns = spec.ttl_ns
        self._clock = 0
        self._ranked = 0
        self._entries = 0
        self._heap: list[tuple[int, int, Function]] = []

    def used(self, function: Function) -> None:
        function.uses += 1

    def idle(self, container: Container, now_ns: int) -> int:
        function = container.function
        assert function is not None
        if function.rank is not None:
            self._ranked -= 1
        self._entries += 1
        priority = self._clock + function.uses * function.cost_ns // function.memory_mb
        function.rank = (priority, self._entries)
        heappush(self._heap, (priority, self._entries, function))
        self._ranked += 1
        if len(self._heap) > 2 * self._ranked + 64:
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
            priority, entry, function = heap[0]
            if function.rank == (priority, entry) and function.idle:
                return next(iter(function.idle.values()))
            heappop(heap)
        return None

    def evicted(self, container: Container) -> None:
        function = container.function
        assert function is not None
        if function.rank is not None:
            self._clock = max(self._clock, function.rank[0])

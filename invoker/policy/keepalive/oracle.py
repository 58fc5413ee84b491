"""◇ The oracle: what could be had if the future were known. For simulation only, as the yardstick of all others."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TypeAlias

import msgspec

from invoker.policy.container import Container
from invoker.policy.function import Function
from invoker.policy.keepalive.base import KeepAlive, SpanNs
from invoker.policy.keepalive.queue import SLACK
from invoker.policy.types import WarmKey

Future: TypeAlias = tuple[tuple[WarmKey, tuple[int, ...]], ...]
"""Each function's arrivals in the order of time, as instants in ns."""


class Oracle(msgspec.Struct, frozen=True, tag="oracle"):
    """Belady's rule (IBM Systems Journal 1966) for containers of different sizes: it is told the `future`.

    A container is kept only if its function's next use is within `break_even_ns` (0: if there is one at all), and not
    beyond that use. Under pressure, the one goes whose memory would stand idle for longest: `(next use - now) * size`.
    Where a function has k idle containers, the use that counts is the k-th from now, as one arrival needs but one of
    them. With containers of one size and runs of no length that is the least number of cold starts there can be; with
    sizes and overlapping runs it is a rule as good as any known that can be computed, not a proven bound.
    """

    future: Future = ()
    break_even_ns: SpanNs = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _Oracle(self)


class _Oracle(KeepAlive):
    """For each size a heap of functions by their k-th next use, the furthest first: within a size, the longest idle is
    the worst, so only the first of each is to be compared. Dead entries differ from their function's `rank`."""

    def __init__(self, spec: Oracle) -> None:
        self._break_even_ns = spec.break_even_ns
        self._future = dict(spec.future)
        self._seen: dict[WarmKey, int] = {}
        self._now_ns = 0
        self._entries = 0
        self._heaps: dict[int, list[tuple[int, int, Function]]] = {}
        self._ranked: dict[int, int] = {}

    def arrived(self, function: Function, now_ns: int) -> None:
        self._now_ns = now_ns
        self._seen[function.key] = self._seen.get(function.key, 0) + 1
        if function.idle:
            self._rank(function)

    def idle(self, container: Container, now_ns: int) -> int:
        self._now_ns = now_ns
        function = container.function
        assert function is not None
        use_ns = self._rank(function)
        if not use_ns or (self._break_even_ns and use_ns - now_ns > self._break_even_ns):
            return max(1, now_ns)
        return use_ns + 1 if self._break_even_ns else 0

    def taken(self, container: Container) -> None:
        function = container.function
        assert function is not None
        if function.idle:
            self._rank(function)
        elif function.rank is not None:
            function.rank = None
            self._ranked[function.memory_mb] -= 1

    def victim(self) -> Container | None:
        worst: Function | None = None
        worst_cost = 0
        for memory_mb, heap in self._heaps.items():
            while heap and heap[0][2].rank != heap[0][:2]:
                heappop(heap)
            if heap:
                cost = (-heap[0][0] - self._now_ns) * memory_mb
                if worst is None or cost > worst_cost:
                    worst, worst_cost = heap[0][2], cost
        return None if worst is None else next(iter(worst.idle.values()))

    def _rank(self, function: Function) -> int:
        """Rank the function by its k-th next use, for its k idle containers. Returns that instant, 0 for none."""
        size_mb = function.memory_mb
        heap = self._heaps.setdefault(size_mb, [])
        if function.rank is None:
            self._ranked[size_mb] = self._ranked.get(size_mb, 0) + 1
        self._entries += 1
        use_ns = self._use_ns(function)
        function.rank = (-(use_ns or _NEVER_NS), self._entries)
        heappush(heap, (*function.rank, function))
        if len(heap) > 2 * self._ranked[size_mb] + SLACK:
            heap[:] = [entry for entry in heap if entry[2].rank == entry[:2]]
            heapify(heap)
        return use_ns

    def _use_ns(self, function: Function) -> int:
        uses_ns = self._future.get(function.key, ())
        index = self._seen.get(function.key, 0) + len(function.idle) - 1
        return uses_ns[index] if index < len(uses_ns) else 0


_NEVER_NS = 1 << 62

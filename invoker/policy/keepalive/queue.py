"""◇ Idle containers by a rank of their own, lowest first, equal ones in the order of becoming idle."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from invoker.policy.container import Container
from invoker.policy.types import ContainerId

SLACK = 64
"""So many dead entries a heap may hold beyond as many as live ones, before it is made anew."""


class ContainerQueue:
    """A heap; an entry is alive only while `_live` has the same one. All methods are O(log n), on average."""

    def __init__(self) -> None:
        self._added = 0
        self._live: dict[ContainerId, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, Container]] = []

    def add(self, container: Container, rank: int) -> None:
        """The container joins at the rank."""
        self._added += 1
        self._live[container.id] = (rank, self._added)
        heappush(self._heap, (rank, self._added, container))
        if len(self._heap) > 2 * len(self._live) + SLACK:
            self._heap = [entry for entry in self._heap if self._live.get(entry[2].id) == entry[:2]]
            heapify(self._heap)

    def discard(self, container: Container) -> None:
        """The container leaves."""
        del self._live[container.id]

    def rank(self, container: Container) -> int:
        """Its rank."""
        return self._live[container.id][0]

    def first(self) -> Container | None:
        """The one of the lowest rank; None where there is none."""
        heap = self._heap
        while heap:
            rank, number, container = heap[0]
            if self._live.get(container.id) == (rank, number):
                return container
            heappop(heap)
        return None

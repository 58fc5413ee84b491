"""◇ Deadlines of containers, with one timer for all of a kind.

A container that is used again and again moves its deadline each time. Moving it later only writes a field: the
heap holds at most one live entry a container, and an entry that comes up too early is put back with the right instant.
So a warm activation costs no heap operation, and no timer is armed and cancelled for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from invoker.policy.types import ContainerId


@dataclass(slots=True, eq=False)
class Deadline:
    """One container's deadline of one kind. `at_ns` 0: none. `entry_ns`: its live entry in the heap, 0 for none."""

    at_ns: int = 0
    entry_ns: int = 0


class Deadlines:
    """All deadlines of one kind: when to freeze, or when to remove."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, ContainerId, Deadline]] = []

    def schedule(self, container: ContainerId, deadline: Deadline, at_ns: int) -> bool:
        """Set the container's deadline; True where it may be the next of all."""
        deadline.at_ns = at_ns
        if deadline.entry_ns and deadline.entry_ns <= at_ns:
            return False
        deadline.entry_ns = at_ns
        heappush(self._heap, (at_ns, container, deadline))
        return True

    def due(self, now_ns: int) -> Iterator[ContainerId]:
        """The containers whose deadline has come; each has none then."""
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            entry_ns, container, deadline = heappop(heap)
            if deadline.entry_ns != entry_ns:
                continue
            deadline.entry_ns = 0
            if deadline.at_ns > now_ns:
                self.schedule(container, deadline, deadline.at_ns)
            elif deadline.at_ns:
                deadline.at_ns = 0
                yield container

    def next_ns(self) -> int:
        """The instant to look again, 0 for none; entries that mean nothing any more are dropped on the way."""
        heap = self._heap
        while heap:
            entry_ns, _, deadline = heap[0]
            if deadline.entry_ns == entry_ns and deadline.at_ns:
                return entry_ns
            if deadline.entry_ns == entry_ns:
                deadline.entry_ns = 0
            heappop(heap)
        return 0

    def earliest_ns(self) -> int:
        """What `next_ns` would say, for those who only look on: it drops nothing, and looks at every entry."""
        alive = [entry_ns for entry_ns, _, deadline in self._heap if deadline.entry_ns == entry_ns and deadline.at_ns]
        return min(alive, default=0)

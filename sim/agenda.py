"""◇ What is still to happen, for very many things at a time: a heap of what is near, and slots of time for the rest.

A heap of ten thousand entries is slow not for its comparisons but for the memory that they touch: each entry popped
reads two dozen others all over it. So what is due later lies unordered in slots of equal width, a few dozen in each,
and a slot becomes the heap when its time has come. Few entries are all in the heap, which is quickest then.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

What = TypeVar("What")

_MANY = 1024
"""From so many entries on, slots are worth their while."""
_PER_SLOT = 32
_ALL = 62
"""The width, as a power of two in ns, of a slot that holds everything: 2**62 ns are a century."""


class Agenda(Generic[What]):
    """Entries (instant in ns, number, what), in the order of instants and numbers.

    `heap` has all that are due before `horizon_ns`. Whoever drives may push to it and pop from it without a call; a
    later entry is given to `later`. When the heap is empty, `refill` brings what comes next.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, What]] = []
        self.horizon_ns = 1 << _ALL
        self._shift = _ALL
        self._slots: dict[int, list[tuple[int, int, What]]] = {}
        self._order: list[int] = []

    def later(self, entry: tuple[int, int, What]) -> None:
        """An entry that is due at `horizon_ns` or later."""
        slot = entry[0] >> self._shift
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = [entry]
            heappush(self._order, slot)
        else:
            entries.append(entry)

    def add(self, entry: tuple[int, int, What]) -> None:
        """Any entry."""
        if entry[0] < self.horizon_ns:
            heappush(self.heap, entry)
        else:
            self.later(entry)

    def refill(self) -> bool:
        """Fill the empty heap, which is the same list as before; False where nothing is left."""
        if not self._order:
            return False
        slot = heappop(self._order)
        self.heap.extend(self._slots.pop(slot))
        heapify(self.heap)
        self.horizon_ns = (slot + 1) << self._shift
        return True

    def adapt(self, gap_ns: int) -> None:
        """Entries will be due every `gap_ns` on the average: choose the width of the slots."""
        count = len(self.heap) + sum(map(len, self._slots.values()))
        shift = min(_ALL, (gap_ns * _PER_SLOT).bit_length()) if count >= _MANY else _ALL
        if abs(shift - self._shift) <= 1:
            return
        entries = [*self.heap, *(entry for slot in self._slots.values() for entry in slot)]
        self._shift = shift
        self._slots.clear()
        self._order.clear()
        self.heap.clear()
        self.horizon_ns = 0 if shift < _ALL else 1 << _ALL
        for entry in entries:
            self.add(entry)

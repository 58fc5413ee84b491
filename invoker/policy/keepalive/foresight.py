"""◇ What keep-alive policies foresee: spans in which a container without code should stand ready for a function.

The heart has no way to load a function's code without an activation of it, so what a policy can have ready is a
container of the right runtime and size: it spares the create and the start of a cold start, not the initialisation.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

import msgspec

from invoker.policy.function import Stem
from invoker.policy.keepalive.queue import SLACK
from invoker.policy.types import WarmKey


class Window(msgspec.Struct, eq=False):
    """One such span. `open`: it counts in its stem's `foreseen`; not `alive`: it is over, or was called off."""

    stem: Stem
    closes_ns: int
    open: bool = False
    alive: bool = True


class Windows:
    """All windows, by their next instant. Whoever plans one has it called off before planning another for the same
    function, so there are never more than functions remembered."""

    def __init__(self) -> None:
        self._planned = 0
        self._alive = 0
        self._heap: list[tuple[int, int, Window]] = []

    def plan(self, stem: Stem, opens_ns: int, closes_ns: int) -> Window:
        """From `opens_ns` until `closes_ns`, one more container of the stem is to stand ready."""
        window = Window(stem, closes_ns)
        self._alive += 1
        self._push(opens_ns, window)
        if len(self._heap) > 2 * self._alive + SLACK:
            self._heap = [entry for entry in self._heap if entry[2].alive]
            heapify(self._heap)
        return window

    def call_off(self, window: Window | None) -> None:
        """What it was for has come, or is not awaited any more."""
        if window is None or not window.alive:
            return
        window.alive = False
        self._alive -= 1
        if window.open:
            window.stem.foreseen -= 1

    def next_ns(self) -> int:
        """The next instant at which one opens or closes, 0 for none."""
        heap = self._heap
        while heap and not heap[0][2].alive:
            heappop(heap)
        return heap[0][0] if heap else 0

    def turn(self, now_ns: int) -> list[Stem]:
        """Open and close what is due. Returns the stems whose `foreseen` changed, as often as it did."""
        changed: list[Stem] = []
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            window = heappop(heap)[2]
            if not window.alive:
                continue
            changed.append(window.stem)
            if window.open:
                self.call_off(window)
            else:
                window.open = True
                window.stem.foreseen += 1
                self._push(window.closes_ns, window)
        return changed

    def _push(self, at_ns: int, window: Window) -> None:
        self._planned += 1
        heappush(self._heap, (at_ns, self._planned, window))


class Remembered(Protocol):
    """What is remembered of a function."""

    window: Window | None


History = TypeVar("History", bound=Remembered)


class Memory(Generic[History]):
    """What was learnt of each function, beyond the life of its containers; at most `functions_max` of them, of which
    the one heard of longest ago is forgotten first, with its window."""

    def __init__(self, functions_max: int, windows: Windows) -> None:
        self._functions_max = functions_max
        self._windows = windows
        self._known: OrderedDict[WarmKey, History] = OrderedDict()

    def get(self, key: WarmKey) -> History | None:
        """What is known of the function; None where nothing is."""
        history = self._known.get(key)
        if history is not None:
            self._known.move_to_end(key)
        return history

    def put(self, key: WarmKey, history: History) -> History:
        """Remember a new function."""
        if len(self._known) >= self._functions_max:
            self._windows.call_off(self._known.popitem(last=False)[1].window)
        self._known[key] = history
        return history

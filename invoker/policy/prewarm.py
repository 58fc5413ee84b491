"""◇ Prewarm: how many containers of each kind and size should stand ready.

The pool compares what is wanted with what stands or starts, and asks for the difference; so many reasons to look
become one look.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from invoker.policy.events import StemCells
from invoker.policy.types import MINUTE_NS, PrewarmKey


class Prewarm(Protocol):
    """The interface of a prewarm policy."""

    def stock(self, cells: tuple[StemCells, ...]) -> None:
        """The manifest's wishes changed."""
        ...

    def missed(self, stem: PrewarmKey) -> None:
        """A cold start happened that a prewarmed container would have spared."""
        ...

    def wanted(self) -> dict[PrewarmKey, int]:
        """How many should stand ready, by kind and size."""
        ...

    def period_ns(self) -> int:
        """After how long to call `review` and look again; 0 for never."""
        ...

    def review(self) -> None:
        """A period has passed."""
        ...


class FixedStock(msgspec.Struct, frozen=True, tag="fixed"):
    """The manifest's `count` of each, always (contract, sections 11 and 13.4)."""

    def build(self) -> Prewarm:
        """The policy object, with a state of its own."""
        return _Fixed()


class ReactiveStock(msgspec.Struct, frozen=True, tag="reactive"):
    """OpenWhisk's reactive prewarm: each period, `increment` more for each `threshold` cold starts of that period,
    within the entry's minimum and maximum; entries without reactive settings keep their count.
    """

    period: int = 10 * MINUTE_NS

    def build(self) -> Prewarm:
        """The policy object, with a state of its own."""
        return _Reactive(self)


class _Fixed:
    def __init__(self) -> None:
        self._wanted: dict[PrewarmKey, int] = {}

    def stock(self, cells: tuple[StemCells, ...]) -> None:
        self._wanted = {}
        for cell in cells:
            self._wanted[cell.stem] = self._wanted.get(cell.stem, 0) + cell.count

    def missed(self, stem: PrewarmKey) -> None:
        pass

    def wanted(self) -> dict[PrewarmKey, int]:
        return self._wanted

    def period_ns(self) -> int:
        return 0

    def review(self) -> None:
        pass


class _Reactive:
    def __init__(self, spec: ReactiveStock) -> None:
        self._period_ns = spec.period
        self._cells: dict[PrewarmKey, StemCells] = {}
        self._cold: dict[PrewarmKey, int] = {}
        self._wanted: dict[PrewarmKey, int] = {}

    def stock(self, cells: tuple[StemCells, ...]) -> None:
        self._cells = {cell.stem: cell for cell in cells}
        self._cold = dict.fromkeys(self._cells, 0)
        self._wanted = {cell.stem: cell.count for cell in cells}

    def missed(self, stem: PrewarmKey) -> None:
        if stem in self._cold:
            self._cold[stem] += 1

    def wanted(self) -> dict[PrewarmKey, int]:
        return self._wanted

    def period_ns(self) -> int:
        return self._period_ns

    def review(self) -> None:
        for stem, cell in self._cells.items():
            reactive = cell.reactive
            if reactive is None:
                continue
            grown = self._cold[stem] // reactive.threshold * reactive.increment
            self._wanted[stem] = min(max(reactive.min_count, grown), reactive.max_count)
            self._cold[stem] = 0

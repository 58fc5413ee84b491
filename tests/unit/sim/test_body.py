"""What both drivers share: workloads checked by the block, and the search for cycles that is held off meanwhile."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterator

import pytest

from invoker.policy import policyset
from sim import Block, Node, SimFunction, SimulationError, simulate
from sim.body import collector
from sim.workload import DRAWN


class Blocks:
    """A workload of blocks that are written down: rows of (instant, function, duration)."""

    def __init__(self, *blocks: list[tuple[int, int, int]]) -> None:
        self.functions = (SimFunction(name="one"), SimFunction(name="two"))
        self._blocks = blocks

    def blocks(self) -> Iterator[Block]:
        """See `sim.Workload`."""
        for rows in self._blocks:
            at_ns, function, run_ns = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
            yield Block(array("q", at_ns), array("I", function), array("q", run_ns))


def test_blocks_may_be_empty_and_of_any_size() -> None:
    whole = [(k * 10**9, k % 2, 10**8 if k % 3 else DRAWN) for k in range(20)]
    pieces = Blocks([], whole[:1], [], whole[1:7], whole[7:], [])
    results = [simulate(workload, Node(), policyset.default(1024), 1) for workload in (Blocks(whole), pieces)]
    assert results[0].decision_hash == results[1].decision_hash
    assert results[1].invocations == 20
    assert simulate(Blocks([]), Node(), policyset.default(1024), 1).invocations == 0


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([[(5, 0, 1), (4, 0, 1)]], "invocation 1 .* at 4 ns .* before it is at 5 ns"),
        ([[(5, 0, 1)], [(4, 0, 1)]], "invocation 1 .* at 4 ns .* before it is at 5 ns"),
        ([[(-1, 0, 1)]], "invocation 0 .* at -1 ns"),
        ([[(0, 0, 1)], [(0, 2, 1)]], "invocation 1 .* is of function 2 .* there are 2 functions"),
        ([[(0, 0, 1), (1, 1, -2)]], "invocation 1 .* for -2 ns"),
    ],
)
def test_what_is_no_workload_is_told(blocks: list[list[tuple[int, int, int]]], words: str) -> None:
    with pytest.raises(SimulationError, match=words):
        simulate(Blocks(*blocks), Node(), policyset.default(1024), 1)


def test_the_search_for_cycles_is_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with collector.held_off():
        outer = gc.get_threshold()
        assert outer[0] > before[0]
        with pytest.raises(ZeroDivisionError), collector.held_off():
            _ = 1 // 0
        assert gc.get_threshold() == outer
    assert gc.get_threshold() == before


def test_who_switched_it_off_keeps_it_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with collector.held_off():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)

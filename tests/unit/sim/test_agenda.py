"""The agenda gives entries back in the order of a sorted list, with slots and without; a simulation doesn't care."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest

import sim.agenda
import sim.workload
from invoker.policy import policyset
from sim import Node, PoissonWorkload, SimFunction, simulate
from sim.agenda import Agenda
from sim.latency import Exponential

Entry = tuple[int, int, str]


def _next(agenda: Agenda[str]) -> Entry | None:
    return heappop(agenda.heap) if agenda.heap or agenda.refill() else None


@pytest.mark.parametrize("seed", range(5))
def test_entries_come_in_order_however_often_it_adapts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.agenda, "_MANY", 20)
    chance = random.Random(seed)
    agenda: Agenda[str] = Agenda()
    model: list[Entry] = []
    now_ns = 0
    slotted = 0
    for number in range(3000):
        far_ns = chance.choice((0, 100, 10_000, 10**9))
        entry = (now_ns + chance.randrange(far_ns + 1), number, "")
        agenda.add(entry)
        heappush(model, entry)
        if chance.random() < (0.4 if number < 1500 else 0.9):
            entry = heappop(model)
            assert _next(agenda) == entry
            now_ns = entry[0]
        if chance.random() < 0.02:
            agenda.adapt(chance.choice((1, 100, 10_000, 10**8)))
            slotted += not agenda.heap
    while model:
        assert _next(agenda) == heappop(model)
    assert _next(agenda) is None
    assert slotted


def test_few_entries_are_all_in_the_heap() -> None:
    agenda: Agenda[str] = Agenda()
    for number in range(100):
        agenda.add((number * 10**12, number, ""))
    agenda.adapt(1)
    assert len(agenda.heap) == 100


def test_the_heap_stays_the_same_list() -> None:
    agenda: Agenda[str] = Agenda()
    heap = agenda.heap
    for number in range(2000):
        agenda.add((number * 1000, number, ""))
    agenda.adapt(1000)
    assert not heap
    assert agenda.refill()
    assert agenda.heap is heap
    assert heap[0] == (0, 0, "")
    assert 0 < len(heap) < 100


def test_slots_change_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = tuple(SimFunction(name=f"f{i}", memory_mb=128, run=Exponential(1e9)) for i in range(4))
    workload = PoissonWorkload(functions, (5.0, 3.0, 2.0, 1.0), 1000, 1)
    policy = policyset.default(2048)
    plain = simulate(workload, Node(), policy, 1)
    monkeypatch.setattr(sim.agenda, "_MANY", 4)
    monkeypatch.setattr(sim.agenda, "_PER_SLOT", 2)
    monkeypatch.setattr(sim.workload, "BLOCK_ROWS", 50)
    refills = 0
    real = Agenda[object].refill

    def counted(agenda: Agenda[object]) -> bool:
        nonlocal refills
        found = real(agenda)
        refills += found
        return found

    monkeypatch.setattr(Agenda, "refill", counted)
    slotted = simulate(workload, Node(), policy, 1)
    assert refills > 500
    assert slotted.decision_hash == plain.decision_hash
    assert slotted.columns is not None
    assert plain.columns is not None
    assert vars(slotted.columns) == vars(plain.columns)

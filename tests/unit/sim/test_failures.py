"""Runs that hang, and containers that die, on a single node: what ends, when, and what stays the same."""

from __future__ import annotations

import msgspec
import pytest

from invoker.policy import policyset
from invoker.policy.pausing import FixedGrace, NeverPause
from invoker.policy.types import MILLISECOND_NS as MS
from invoker.policy.types import SECOND_NS as S
from sim import Failures, ListWorkload, Node, PoissonWorkload, Result, SimFunction, simulate
from sim.latency import Constant, Exponential
from sim.node import Chance
from sim.recorder import FAILED, OK

NODE = Node(
    cold=Constant(200 * MS),
    init=Constant(10 * MS),
    run=Constant(50 * MS),
    logs=Constant(1 * MS),
    remove=Constant(100 * MS),
    slowdown=(),
)
POLICY = msgspec.structs.replace(policyset.default(1024), pausing=NeverPause(), brief_ns=0)
ONE = (SimFunction(name="ns/f"),)
DRAWN = -1


def _with(**failures: float) -> Node:
    return msgspec.structs.replace(NODE, failures=Failures(**failures), limit_ns=2 * S)


def _instants(result: Result) -> list[tuple[int, ...]]:
    """(dispatched, began, ended) of each row, in ms."""
    rows = result.columns
    assert rows is not None
    return [
        tuple(at_ns // MS for at_ns in row)
        for row in zip(rows.dispatched_ns, rows.began_ns, rows.ended_ns, strict=True)
    ]


def test_a_run_that_hangs_ends_at_the_limit_and_its_log_half_a_second_later() -> None:
    result = simulate(ListWorkload(ONE, [(0, 0, DRAWN)]), _with(hang=1.0), POLICY, 1)
    assert result.outcomes["failed"] == 1
    assert _instants(result) == [(200, 210, 2210)]
    assert result.ended_ns == 2710 * MS
    assert result.removals == {"tainted": 1}


def test_a_hung_run_uses_no_cpu() -> None:
    node = msgspec.structs.replace(_with(hang=0.5), cpus=1)
    result = simulate(ListWorkload(ONE, [(k * 10 * S, 0, DRAWN) for k in range(40)]), node, POLICY, 3)
    spans = {ended - began for _, began, ended in _instants(result)}
    assert spans == {50, 2000}


@pytest.fixture
def lifetime(monkeypatch: pytest.MonkeyPatch) -> Node:
    """Each container lives for 300 ms from its start on."""
    monkeypatch.setattr(Chance, "lifetime_ns", lambda _self, _request: 300 * MS)
    return _with(deaths_per_hour=1.0)


def test_a_run_ends_with_its_container(lifetime: Node) -> None:
    """Started at 200, it dies at 500: under the run; under the initialisation; idle; while it starts, it can't."""
    under_run = simulate(ListWorkload(ONE, [(0, 0, 1000 * MS)]), lifetime, POLICY, 1)
    assert _instants(under_run) == [(200, 210, 500)]
    assert (under_run.outcomes["failed"], under_run.ended_ns) == (1, 501 * MS)
    slow = msgspec.structs.replace(lifetime, init=Constant(S))
    under_init = simulate(ListWorkload(ONE, [(0, 0, DRAWN)]), slow, POLICY, 1)
    assert _instants(under_init) == [(200, 500, 500)]
    idle = simulate(ListWorkload(ONE, [(0, 0, DRAWN), (600 * MS, 0, DRAWN)]), lifetime, POLICY, 1)
    assert _instants(idle) == [(200, 210, 260), (800, 810, 860)]
    assert (idle.removals, idle.outcomes["ok"]) == ({"died": 1}, 2)


def test_the_cpu_of_a_dead_container_is_free(lifetime: Node) -> None:
    """Two share a CPU from 210 on; the death of both at 500 frees it for the third, which runs alone."""
    node = msgspec.structs.replace(lifetime, cpus=1)
    functions = tuple(SimFunction(name=name) for name in "abc")
    rows = [(0, 0, 1000 * MS), (0, 1, 1000 * MS), (400 * MS, 2, 40 * MS)]
    assert _instants(simulate(ListWorkload(functions, rows), node, POLICY, 1))[2] == (600, 610, 650)


def test_whoever_waits_for_a_paused_container_that_is_dead_is_told_whose_fault_it_is(lifetime: Node) -> None:
    """It dies at 500, while it is being thawed since 450."""
    node = msgspec.structs.replace(lifetime, thaw=Constant(100 * MS), pause=Constant(MS))
    policy = msgspec.structs.replace(POLICY, pausing=FixedGrace(10 * MS))
    result = simulate(ListWorkload(ONE, [(0, 0, DRAWN), (450 * MS, 0, DRAWN)]), node, policy, 1)
    assert result.outcomes["refused: container lost"] == 1
    assert result.removals == {"unpause failed": 1}


def test_the_reference_finds_a_dead_container_when_it_uses_it(lifetime: Node) -> None:
    policy = msgspec.structs.replace(policyset.reference(1024), pausing=NeverPause())
    result = simulate(ListWorkload(ONE, [(0, 0, DRAWN), (600 * MS, 0, DRAWN)]), lifetime, policy, 1)
    assert _instants(result)[1] == (600, 600, 600)
    assert result.outcomes["failed"] == 1


def test_lifetimes_are_exponential_and_survivors_run_as_long_as_without_deaths() -> None:
    dying = msgspec.structs.replace(_with(deaths_per_hour=720.0), run=Exponential(float(S)))
    day = PoissonWorkload(ONE, (0.5,), 2000, 1)
    mortal = simulate(day, dying, POLICY, 1)
    immortal = simulate(day, msgspec.structs.replace(dying, failures=Failures()), POLICY, 1)
    # lives of 5 s on the average: a run of 1 s survives with 5/6
    assert mortal.outcomes["failed"] / 2000 == pytest.approx(1 / 6, abs=0.03)
    assert mortal.removals["died"] > 100
    assert mortal.columns is not None
    assert immortal.columns is not None
    alive = [k for k in range(2000) if mortal.columns.outcome[k] == OK]
    assert mortal.columns.outcome.count(FAILED) == 2000 - len(alive)
    spans = [[c.ended_ns[k] - c.began_ns[k] for k in alive] for c in (mortal.columns, immortal.columns)]
    assert spans[0] == spans[1]


def test_what_is_no_share_and_no_rate_is_refused() -> None:
    for wrong in ('{"hang":1.1}', '{"deaths_per_hour":-1}'):
        with pytest.raises(msgspec.ValidationError, match="Failures: "):
            msgspec.json.decode(wrong, type=Failures)
    with pytest.raises(msgspec.ValidationError, match="limit_ns"):
        msgspec.json.decode('{"limit_ns":0}', type=Node)

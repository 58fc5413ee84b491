"""`simulate`: small days by hand, the promises about chance, sums against rows, and errors that say what to do."""

from __future__ import annotations

import math
import tracemalloc
from array import array
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest

import sim.fast
import sim.workload
from invoker.policy import PolicySet, Pool, policyset
from invoker.policy.actions import AnyAction
from invoker.policy.events import AnyEvent, StemCells
from invoker.policy.invariants import check
from invoker.policy.pausing import FixedGrace, NeverPause
from invoker.policy.types import MILLISECOND_NS, SECOND_NS, PrewarmKey
from sim import (
    Block,
    Engine,
    Failures,
    ListWorkload,
    Node,
    PoissonWorkload,
    SimFunction,
    SimulationError,
    simulate,
)
from sim.latency import Constant, Exponential, Lognormal
from sim.recorder import BYTES_PER_ROW, Columns, Histogram
from sim.workload import DRAWN

MS = MILLISECOND_NS
EXACT = Node(
    cold=Constant(200 * MS),
    init=Constant(10 * MS),
    run=Constant(50 * MS),
    logs=Constant(1 * MS),
    pause=Constant(2 * MS),
    thaw=Constant(3 * MS),
    remove=Constant(100 * MS),
    slowdown=(1000, 2000),
)
POLICY = msgspec.structs.replace(policyset.default(1024), pausing=FixedGrace(100 * MS), brief_ns=0)
ONE = (SimFunction(name="ns/f"),)


def _rows(columns: Columns | None) -> list[tuple[int, int, int, int]]:
    assert columns is not None
    instants = zip(columns.arrived_ns, columns.dispatched_ns, columns.began_ns, columns.ended_ns, strict=True)
    return [(a // MS, d // MS, b // MS, e // MS) for a, d, b, e in instants]


def test_a_cold_a_warm_and_a_thawed_invocation() -> None:
    result = simulate(
        ListWorkload(ONE, [(0, 0, DRAWN), (300 * MS, 0, 20 * MS), (900 * MS, 0, DRAWN)]), EXACT, POLICY, 1
    )
    assert _rows(result.columns) == [(0, 200, 210, 260), (300, 300, 300, 320), (900, 903, 903, 953)]
    assert result.kinds == {"none": 0, "cold": 1, "prewarm": 0, "warm": 1, "thawed": 1}
    assert result.ended_ns == 954 * MS
    assert result.memory_mb_ns == 256 * 954 * MS
    assert (result.starts, result.removals, result.invocations, result.refused) == (1, {}, 3, 0)
    assert (result.latency_ns(0.0), result.latency_ns(0.5), result.latency_ns(1.0)) == (20 * MS, 53 * MS, 260 * MS)
    assert (result.wait_ns(1.0), result.mean_wait_ns) == (200 * MS, 203 * MS / 3)
    assert (result.cold_share, result.init_share) == (1 / 3, 1 / 3)


def test_two_starts_at_once_are_slower() -> None:
    result = simulate(ListWorkload(ONE, [(0, 0, DRAWN), (100 * MS, 0, DRAWN)]), EXACT, POLICY, 1)
    # alone for 100 ms, then at half the speed until the first is done at 300; the other has 100 ms left, alone
    assert _rows(result.columns) == [(0, 300, 310, 360), (100, 361, 361, 411)]


def test_runs_share_the_cpu() -> None:
    node = msgspec.structs.replace(EXACT, cpus=1, slowdown=(), init=Constant(0))
    functions = (SimFunction(name="a"), SimFunction(name="b"))
    result = simulate(ListWorkload(functions, [(0, 0, 100 * MS), (50 * MS, 1, 25 * MS)]), node, POLICY, 1)
    assert _rows(result.columns) == [(0, 200, 200, 325), (50, 250, 250, 300)]


def test_a_prewarmed_container_spares_the_start_but_not_the_init() -> None:
    node = msgspec.structs.replace(EXACT, stock=(StemCells(PrewarmKey("python:3", 256), 1),))
    result = simulate(ListWorkload(ONE, [(300 * MS, 0, DRAWN)]), node, POLICY, 1)
    assert _rows(result.columns) == [(300, 300, 310, 360)]
    assert (result.cold_share, result.init_share, result.kinds["prewarm"]) == (0.0, 1.0, 1)


def test_a_function_of_its_own_kind() -> None:
    own = SimFunction(name="a", cold=Constant(400 * MS), init=Constant(100 * MS), run=Constant(MS))
    assert _rows(simulate(ListWorkload((own,), [(0, 0, DRAWN)]), EXACT, POLICY, 1).columns) == [(0, 400, 500, 501)]


def test_failures_are_told_apart() -> None:
    day = ListWorkload(ONE, [(0, 0, DRAWN)])
    for failures, outcome in (
        (Failures(start=1.0), "refused: start failed"),
        (Failures(init=1.0), "failed"),
        (Failures(run=1.0), "failed"),
    ):
        result = simulate(day, msgspec.structs.replace(EXACT, failures=failures), POLICY, 1)
        assert result.outcomes[outcome] == 1
    too_large = simulate(ListWorkload((SimFunction(name="a", memory_mb=2048),), [(5, 0, DRAWN)]), EXACT, POLICY, 1)
    assert too_large.outcomes["refused: too large"] == 1
    assert (too_large.kinds["none"], too_large.latency_ns(0.5), too_large.cold_share) == (1, 0, 0.0)


def _busy(seed: int = 1, count: int = 2000) -> PoissonWorkload:
    functions = tuple(
        SimFunction(name=f"f{i}", memory_mb=(128, 256, 512)[i % 3], run=Lognormal(2e8, 1.0)) for i in range(9)
    )
    return PoissonWorkload(functions, tuple(3.0 / (i + 1) for i in range(9)), count, seed)


TIGHT = msgspec.structs.replace(policyset.default(1536), queue_limit=50)


def test_luck_is_the_workloads_not_the_policys() -> None:
    """Common random numbers: the k-th invocation runs as long under any policy."""
    node = Node(slowdown=())
    roomy, tight = (simulate(_busy(), node, policyset.default(mb), 7).columns for mb in (65_536, 1536))
    assert roomy is not None
    assert tight is not None
    both = [k for k in range(2000) if roomy.kind[k] and tight.kind[k]]
    assert len(both) > 1000
    assert roomy.kind != tight.kind
    for k in both:
        assert roomy.ended_ns[k] - roomy.began_ns[k] == tight.ended_ns[k] - tight.began_ns[k]


def test_another_function_moves_no_draw() -> None:
    few, more = (tuple(SimFunction(name=f"f{i}", run=Exponential(1e8)) for i in range(count)) for count in (2, 3))
    rows = [(k * SECOND_NS, k % 2, DRAWN) for k in range(50)]
    node = Node()
    one = simulate(ListWorkload(few, rows), node, POLICY, 1).columns
    other = simulate(ListWorkload(more, [*rows, (99 * SECOND_NS, 2, DRAWN)]), node, POLICY, 1).columns
    assert one is not None
    assert other is not None
    assert one.ended_ns == other.ended_ns[:50]


def test_sums_say_what_rows_say() -> None:
    rows, sums = (simulate(_busy(), Node(), TIGHT, 3, streaming=streaming) for streaming in (False, True))
    assert rows.decision_hash == sums.decision_hash
    assert (rows.kinds, rows.outcomes, rows.mean_latency_ns) == (sums.kinds, sums.outcomes, sums.mean_latency_ns)
    assert rows.mean_wait_ns == sums.mean_wait_ns
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact, near = rows.latency_ns(share), sums.latency_ns(share)
        assert exact <= near <= exact * 1.033
    assert rows.wait_ns(0.99) <= sums.wait_ns(0.99) <= rows.wait_ns(0.99) * 1.033


def test_a_histogram_is_right_to_a_32nd() -> None:
    for span_ns in (0, 1, 31, 63, 64, 65, 12_345, 10**9, 10**15):
        histogram = Histogram()
        histogram.add(span_ns)
        histogram.add(10**18)
        assert span_ns <= histogram.quantile_ns(0.5) <= span_ns * 33 / 32


def test_a_row_takes_what_it_says() -> None:
    columns = Columns()
    columns.expect(1000)
    taken_bytes = sum(len(column) * column.itemsize for column in vars(columns).values())
    assert taken_bytes == 1000 * BYTES_PER_ROW
    assert len(columns) == 1000


def test_the_hash_is_optional() -> None:
    with_hash, without = (simulate(_busy(), Node(), TIGHT, 1, hashing=hashing) for hashing in (True, False))
    assert without.decision_hash == ""
    assert with_hash.columns is not None
    assert without.columns is not None
    assert vars(with_hash.columns) == vars(without.columns)


@pytest.mark.parametrize("policy", [TIGHT, policyset.reference(1536)], ids=["charged", "reference"])
def test_the_invariants_hold_after_every_step(policy: PolicySet, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sim.fast.step

    def checked(pool: Pool, now_ns: int, event: AnyEvent) -> list[AnyAction]:
        actions = real(pool, now_ns, event)
        assert check(pool) == []
        return actions

    monkeypatch.setattr(sim.fast, "step", checked)
    failing = Node(failures=Failures(start=0.05, init=0.02, run=0.02, pause=0.02, thaw=0.02, remove=0.002))
    result = simulate(_busy(count=1000), failing, policy, 1)
    assert result.invocations == 1000
    assert result.outcomes["unsettled"] == 0


def test_m_m_infinity_runs_as_many_as_little_says() -> None:
    """10 arrivals a second of 1 s each keep 10 running, where nothing waits (within four standard errors)."""
    workload = PoissonWorkload((SimFunction(name="f", run=Exponential(1e9)),), (10.0,), 20_000, 5)
    policy = msgspec.structs.replace(policyset.default(1_000_000), pausing=NeverPause())
    result = simulate(workload, Node(), policy, 5)
    columns = result.columns
    assert columns is not None
    busy_ns = sum(columns.ended_ns) - sum(columns.began_ns)
    assert abs(busy_ns / result.ended_ns - 10) < 4 * math.sqrt(2 * 10 / 2000)
    assert result.throughput_per_s == pytest.approx(10, rel=0.03)
    assert result.mean_memory_mb > 10 * 256


class _Wrong:
    """A workload that is none."""

    def __init__(self, functions: tuple[SimFunction, ...], *blocks: Block) -> None:
        self.functions = functions
        self._blocks = blocks

    def blocks(self) -> Iterator[Block]:
        return iter(self._blocks)


def _block(at_ns: list[int], function: list[int]) -> Block:
    return Block(array("q", at_ns), array("I", function), array("q", [1] * len(at_ns)))


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (_Wrong(ONE, _block([5, 4], [0, 0])), "invocation 1 .* is at 5 ns"),
        (_Wrong(ONE, _block([5], [1])), "there are 1 functions"),
        (_Wrong(ONE, Block(array("q", [5]), array("I", [0]), array("q", [-2]))), "for -2 ns"),
        (_Wrong((*ONE, *ONE), _block([5], [0])), "the same name"),
    ],
)
@pytest.mark.parametrize("engine", ["fast", "simpy"])
def test_a_wrong_workload_is_refused(workload: _Wrong, said: str, engine: Engine) -> None:
    with pytest.raises(SimulationError, match=said):
        simulate(workload, EXACT, POLICY, 1, engine=engine)


@pytest.mark.parametrize("engine", ["fast", "simpy"])
def test_nothing_to_do_is_no_error(engine: Engine) -> None:
    result = simulate(ListWorkload(ONE, []), EXACT, POLICY, 1, engine=engine)
    assert (result.invocations, result.ended_ns, result.mean_memory_mb, result.throughput_per_s) == (0, 0, 0.0, 0.0)
    assert "0 invocations" in repr(result)


@pytest.mark.parametrize("engine", ["fast", "simpy"])
def test_memory_that_is_lost_for_good_ends_the_wait_for_it(engine: Engine) -> None:
    """Whatever is removed is quarantined, and no memory ever comes free for the other function."""
    node = msgspec.structs.replace(EXACT, failures=Failures(remove=1.0))
    functions = (SimFunction(name="a", memory_mb=512), SimFunction(name="b", memory_mb=512))
    rows = [(k * SECOND_NS, k % 2, DRAWN) for k in range(4)]
    result = simulate(
        ListWorkload(functions, rows), node, msgspec.structs.replace(POLICY, capacity_mb=512), 1, engine=engine
    )
    assert result.outcomes["refused: too large"] == 3


def test_a_node_is_data() -> None:
    assert msgspec.json.decode(msgspec.json.encode(EXACT), type=Node) == EXACT
    for wrong in (b'{"cpus":-1}', b'{"slowdown":[0]}', b'{"failures":{"start":1.5}}', b'{"memory":1}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(wrong, type=Node)


def test_poisson_arrivals_are_poisson_and_the_same_again() -> None:
    workload = PoissonWorkload((*ONE, SimFunction(name="g")), (3.0, 1.0), 20_000, 9)
    first, again = (list(workload.blocks()) for _ in range(2))
    assert first == again
    instants = [at for block in first for at in block.at_ns]
    gaps = [after - before for before, after in pairwise(instants)]
    mean_s = sum(gaps) / len(gaps) / 1e9
    variance = sum((gap / 1e9 - mean_s) ** 2 for gap in gaps) / len(gaps)
    assert mean_s == pytest.approx(0.25, rel=0.03)
    assert math.sqrt(variance) / mean_s == pytest.approx(1.0, rel=0.05)
    assert sum(sum(block.function) for block in first) == pytest.approx(5000, rel=0.05)
    with pytest.raises(SimulationError, match="positive rate for each function"):
        PoissonWorkload(ONE, (0.0,), 1, 1)


def test_sums_take_no_more_memory_for_a_longer_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.workload, "BLOCK_ROWS", 500)
    peaks: list[int] = []
    for count in (2000, 6000):
        workload = PoissonWorkload((SimFunction(name="f"),), (10.0,), count, 1)
        tracemalloc.start()
        simulate(workload, EXACT, POLICY, 1, streaming=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000

"""A timeline shows the node as it was, costs no decision anything, and is the same from both drivers."""

from __future__ import annotations

import msgspec
import pytest

from invoker.policy import policyset
from invoker.policy.events import StemCells
from invoker.policy.keepalive import LruTtl
from invoker.policy.types import MILLISECOND_NS, SECOND_NS, PrewarmKey
from sim import Engine, Failures, ListWorkload, Node, PoissonWorkload, SimFunction, SimulationError, simulate
from sim import timeline as timelines
from sim.latency import Constant, Exponential

STEP_NS = 10 * MILLISECOND_NS
CLOCKWORK = Node(
    cold=Constant(10 * STEP_NS),
    init=Constant(0),
    run=Constant(20 * STEP_NS),
    logs=Constant(0),
    pause=Constant(0),
    thaw=Constant(0),
    remove=Constant(5 * STEP_NS),
    slowdown=(),
)
POLICY = msgspec.structs.replace(policyset.default(512), keep_alive=LruTtl(ttl_ns=SECOND_NS))
FUNCTIONS = (SimFunction(name="a", memory_mb=256), SimFunction(name="b", memory_mb=512))


def _busy_workload(seed: int = 1) -> PoissonWorkload:
    run = Exponential(0.3 * SECOND_NS)
    made = tuple(SimFunction(name=f"f{i}", memory_mb=(128, 256)[i % 2], run=run) for i in range(5))
    return PoissonWorkload(made, (3.0, 2.0, 1.0, 0.5, 0.5), 500, seed)


def test_a_container_is_seen_in_each_state() -> None:
    """Started until 100 ms, busy until 300, idle until the pause at 450, paused until 1300, removing until 1350."""
    workload = ListWorkload(FUNCTIONS, [(0, 0, -1), (150 * STEP_NS, 0, -1)])
    timeline = simulate(workload, CLOCKWORK, POLICY, 1, sample_every_ns=5 * STEP_NS).timeline
    assert timeline is not None
    seen = dict.fromkeys(range(len(timeline)), "")
    for state in timelines.STATES:
        for row, count in enumerate(timeline.containers[state]):
            assert timeline.memory_mb[state][row] == 256 * count
            if count:
                seen[row] = state
    states = list(seen.values())
    assert states[0:2] == ["starting"] * 2
    assert states[2:6] == ["busy"] * 4
    assert states[6:9] == ["idle"] * 3
    assert states[9:26] == ["paused"] * 17
    assert states[26] == "removing"
    assert states[27:30] == [""] * 3
    assert states[30:32] == ["starting"] * 2
    assert list(timeline.at_ns) == [row * 5 * STEP_NS for row in range(len(timeline))]
    assert timeline.at_ns[-1] == 1800 * MILLISECOND_NS  # the end, which is a sample


def test_who_waits_is_counted() -> None:
    """The second invocation needs all memory, and the first one's container has it."""
    workload = ListWorkload(FUNCTIONS, [(0, 0, -1), (STEP_NS, 1, -1)])
    timeline = simulate(workload, CLOCKWORK, POLICY, 1, sample_every_ns=STEP_NS).timeline
    assert timeline is not None
    assert timeline.waiting[0] == 0
    assert set(timeline.waiting[1:34]) == {1}
    assert set(timeline.waiting[36:]) == {0}


@pytest.mark.parametrize("policy", [POLICY, policyset.reference(512)], ids=["charged", "reference"])
def test_sampling_changes_nothing_and_both_drivers_see_the_same(policy: policyset.PolicySet) -> None:
    stock = (StemCells(PrewarmKey("python:3", 128), 1),)
    node = Node(failures=Failures(run=0.05, pause=0.05, remove=0.01), stock=stock, cpus=2)
    engines: tuple[Engine, ...] = ("fast", "simpy")
    plain = simulate(_busy_workload(), node, policy, 3)
    fast, simpy = (
        simulate(_busy_workload(), node, policy, 3, engine=engine, sample_every_ns=SECOND_NS) for engine in engines
    )
    assert plain.timeline is None
    assert plain.decision_hash == fast.decision_hash == simpy.decision_hash
    assert (plain.ended_ns, plain.steps) == (fast.ended_ns, fast.steps)
    assert fast.timeline is not None
    assert simpy.timeline is not None
    assert vars(fast.timeline) == vars(simpy.timeline)
    for state in ("busy", "starting", "idle", "paused", "stem cells", "removing", "quarantined"):
        assert any(fast.timeline.containers[state]) or state in ("stem cells", "quarantined")


def test_the_samples_sum_up_to_the_memory_that_was_charged() -> None:
    result = simulate(_busy_workload(), Node(), POLICY, 1, sample_every_ns=MILLISECOND_NS)
    assert result.timeline is not None
    sampled_mb = sum(sum(column) for column in result.timeline.memory_mb.values()) / len(result.timeline)
    assert sampled_mb == pytest.approx(result.mean_memory_mb, rel=0.002)
    assert max(map(sum, zip(*result.timeline.memory_mb.values(), strict=True))) <= 512


def test_a_long_timeline_grows_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(_busy_workload(), Node(), POLICY, 1, sample_every_ns=SECOND_NS).timeline
    monkeypatch.setattr(timelines, "SAMPLES_MAX", 20)
    cut = simulate(_busy_workload(), Node(), POLICY, 1, sample_every_ns=SECOND_NS).timeline
    assert whole is not None
    assert cut is not None
    assert len(cut) <= 20 < len(whole)
    factor = cut.every_ns // SECOND_NS
    assert cut.memory_mb["busy"] == whole.memory_mb["busy"][::factor]
    assert cut.waiting == whole.waiting[::factor]


def test_the_first_function_is_asked_for_after_a_century() -> None:
    """Time in which nothing happens takes no time to sample."""
    century_ns = 100 * 365 * 86_400 * SECOND_NS
    result = simulate(ListWorkload(FUNCTIONS, [(century_ns, 0, -1)]), CLOCKWORK, POLICY, 1, sample_every_ns=1)
    assert result.timeline is not None
    assert len(result.timeline) <= timelines.SAMPLES_MAX


def test_an_interval_is_positive() -> None:
    with pytest.raises(SimulationError, match="above 0, not every 0"):
        simulate(_busy_workload(), Node(), POLICY, 1, sample_every_ns=0)

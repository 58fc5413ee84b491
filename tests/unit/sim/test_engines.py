"""The fast driver and the one on SimPy make the same decisions: thirty scenarios, three seeds, one hash each; and ten
more where runs hang and containers die, which the node's driver does on the heap as well."""

from __future__ import annotations

import msgspec
import pytest

from invoker.policy import PolicySet, policyset
from invoker.policy.events import Reactive, StemCells
from invoker.policy.keepalive import GreedyDual, LruTtl
from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.prewarm import ReactiveStock
from invoker.policy.types import MILLISECOND_NS, SECOND_NS, PrewarmKey
from sim import Engine, Failures, ListWorkload, Node, PoissonWorkload, SimFunction, simulate
from sim.latency import Constant, Exponential, Latency, Lognormal
from sim.node import Chance

INVOCATIONS = 400
STOCK = (
    StemCells(PrewarmKey("python:3", 128), 2, Reactive(1, 4, 0, 1, 1)),
    StemCells(PrewarmKey("python:3", 256), 1),
)
FAULTS = Failures(start=0.1, init=0.1, run=0.05, pause=0.05, thaw=0.05, remove=0.01)
RUN: Latency = Exponential(0.2 * SECOND_NS)
RELIABLE = policyset.default(2048)
TIGHT = policyset.default(768)
NODE = Node()


def _with(policy: PolicySet, **changes: object) -> PolicySet:
    return msgspec.structs.replace(policy, **changes)


def _workload(seed: int, concurrency: int = 1, functions: int = 6, rate_per_s: float = 4.0) -> PoissonWorkload:
    made = tuple(
        SimFunction(name=f"ns/f{i}", memory_mb=(128, 256)[i % 2], concurrency=concurrency if i % 3 == 0 else 1, run=RUN)
        for i in range(functions)
    )
    return PoissonWorkload(made, tuple(rate_per_s / (i + 1) for i in range(functions)), INVOCATIONS, seed)


ADAPTIVE = AdaptiveGrace()
SHORT = LruTtl(ttl_ns=2 * SECOND_NS)
SETS: dict[str, PolicySet] = {
    "roomy": RELIABLE,
    "tight": TIGHT,
    "tight greedy-dual": _with(TIGHT, keep_alive=GreedyDual()),
    "short ttl": _with(RELIABLE, keep_alive=SHORT),
    "adaptive pausing": _with(RELIABLE, pausing=ADAPTIVE),
    "never paused": _with(TIGHT, pausing=NeverPause()),
    "paused at once": _with(RELIABLE, pausing=FixedGrace(0)),
    "reference": policyset.reference(768),
    "small queue": _with(TIGHT, queue_limit=5, capacity_mb=384),
    "reactive": _with(RELIABLE, prewarm=ReactiveStock(period=5 * SECOND_NS)),
}
NODES: dict[str, Node] = {
    "": NODE,
    "with stock and faults": Node(stock=STOCK, failures=FAULTS),
    "dying and hanging": Node(
        cpus=2,
        stock=STOCK,
        failures=Failures(hang=0.03, init=0.03, deaths_per_hour=300.0),
        limit_ns=2 * SECOND_NS,
    ),
    "with 2 cpus": Node(cpus=2, stock=STOCK, cold=Constant(250 * MILLISECOND_NS), pause=Constant(0), thaw=Constant(0)),
}
SCENARIOS = [(f"{name} {more}".strip(), policy, node) for name, policy in SETS.items() for more, node in NODES.items()]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("policy", "node"), [s[1:] for s in SCENARIOS], ids=[s[0] for s in SCENARIOS])
def test_both_decide_the_same(policy: PolicySet, node: Node, seed: int) -> None:
    engines: tuple[Engine, ...] = ("fast", "simpy")
    fast, simpy = (simulate(_workload(seed, concurrency=3), node, policy, seed, engine=engine) for engine in engines)
    assert fast.decision_hash == simpy.decision_hash
    assert (fast.steps, fast.ended_ns, fast.removals) == (simpy.steps, simpy.ended_ns, simpy.removals)
    assert fast.memory_mb_ns == simpy.memory_mb_ns
    assert fast.columns is not None
    assert simpy.columns is not None
    assert vars(fast.columns) == vars(simpy.columns)


def test_there_are_thirty_and_ten() -> None:
    steady = [node for _, _, node in SCENARIOS if Chance(node, (), 1).steady]
    assert (len(steady), len(SCENARIOS)) == (30, 40)


def test_another_seed_decides_otherwise() -> None:
    hashes = {simulate(_workload(1), NODE, TIGHT, seed).decision_hash for seed in range(5)}
    assert len(hashes) == 5


def test_the_scenarios_reach_what_is_rare() -> None:
    """A comparison of two drivers is worth what happens in it."""
    kinds: set[str] = set()
    outcomes: set[str] = set()
    removals: set[str] = set()
    for _, policy, node in SCENARIOS:
        result = simulate(_workload(1, concurrency=3), node, policy, 1)
        kinds |= {kind for kind, count in result.kinds.items() if count}
        outcomes |= {outcome for outcome, count in result.outcomes.items() if count}
        removals |= set(result.removals)
    assert kinds == {"none", "cold", "prewarm", "warm", "thawed"}
    assert {"ok", "failed", "refused: start failed", "refused: queue full"} <= outcomes
    assert {"evicted", "expired", "tainted", "died", "pause failed", "unpause failed"} <= removals


def test_ties_are_broken_alike() -> None:
    """Everything takes a multiple of 10 ms, so that many things happen at one instant."""
    step_ns = 10 * MILLISECOND_NS
    node = Node(
        cold=Constant(step_ns),
        init=Constant(step_ns),
        run=Constant(step_ns),
        logs=Constant(0),
        pause=Constant(step_ns),
        thaw=Constant(0),
        remove=Constant(step_ns),
        slowdown=(),
    )
    functions = tuple(SimFunction(name=f"f{i}", memory_mb=128) for i in range(4))
    rows = [(k // 3 * step_ns, k * 7 % 4, -1) for k in range(600)]
    workload = ListWorkload(functions, rows)
    policy = _with(policyset.default(384), pausing=FixedGrace(step_ns), keep_alive=LruTtl(ttl_ns=2 * step_ns))
    fast, simpy = (simulate(workload, node, policy, 1, engine=engine) for engine in ("fast", "simpy"))
    assert fast.decision_hash == simpy.decision_hash


def test_the_decisions_are_these_for_ever() -> None:
    """Change this line only when the heart or the simulator's model is meant to behave otherwise."""
    lognormal = msgspec.structs.replace(NODE, run=Lognormal(1e8, 1.0))
    assert simulate(_workload(1), lognormal, TIGHT, 1).decision_hash == "f5db56ee6aa86937de1281c63bd8ce23"

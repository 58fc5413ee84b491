"""Whatever fails, goes away or comes back: each arrival ends exactly once, nothing is counted twice or forgotten."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.driver
from invoker.policy import PolicySet, Pool, policyset, step
from invoker.policy.actions import AnyAction
from invoker.policy.events import AnyEvent
from invoker.policy.invariants import check
from invoker.policy.types import SECOND_NS
from sim import Cluster, Failures, Member, Network, Node, Outage
from sim.cluster.columns import AWAY, CLUSTER_OUTCOMES, HTTP, LEFT, TOPIC, UNREACHABLE, ClusterColumns, Errand
from sim.cluster.world import World
from sim.kernel import HeapKernel
from sim.latency import Constant, Exponential
from tests.support.simulations import BALANCERS, workload

COUNT = 150


def _share(most: float) -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, 0.0, most / 5, most])


@st.composite
def members(draw: st.DrawFn) -> Member:
    """A node that may be away up to three times, or join late."""
    outages: list[Outage] = []
    free_ns = joins_ns = draw(st.sampled_from([0, 0, 0, 3])) * SECOND_NS
    for _ in range(draw(st.integers(0, 3))):
        at_ns = free_ns + draw(st.integers(0, 8 * SECOND_NS))
        lasts_ns = draw(st.sampled_from([SECOND_NS // 5, 2 * SECOND_NS, 15 * SECOND_NS, None]))
        outages.append(Outage(at_ns=at_ns, lasts_ns=lasts_ns, drain=draw(st.booleans())))
        if lasts_ns is None:
            break
        free_ns = at_ns + lasts_ns
    return Member(outages=tuple(outages), joins_ns=joins_ns, cores=draw(st.sampled_from([0, 4])))


FAILURES = st.builds(
    Failures,
    start=_share(0.2),
    init=_share(0.2),
    run=_share(0.2),
    pause=_share(0.2),
    thaw=_share(0.2),
    remove=_share(0.02),
    hang=_share(0.05),
    deaths_per_hour=st.sampled_from([0.0, 0.0, 100.0, 2000.0]),
)
NODES = st.builds(Node, failures=FAILURES, cpus=st.sampled_from([0, 0, 2]), limit_ns=st.just(2 * SECOND_NS))
CLUSTERS = st.builds(
    Cluster,
    nodes=st.lists(members(), min_size=1, max_size=4).map(tuple),
    controllers=st.integers(1, 3),
    balancer=st.sampled_from(BALANCERS),
    routing=st.sampled_from(["round-robin", "drawn"]),
    network=st.sampled_from([Network(), Network(publish=Exponential(1e8), completed=Constant(SECOND_NS))]),
    delivery=st.sampled_from(["at-most-once", "at-least-once"]),
    retries=st.integers(0, 4),
)


@st.composite
def policies(draw: st.DrawFn) -> PolicySet:
    """Either accounting, with narrow limits or wide ones."""
    make = draw(st.sampled_from([policyset.default, policyset.default, policyset.reference]))
    return msgspec.structs.replace(
        make(draw(st.sampled_from([256, 512, 2048]))),
        queue_limit=draw(st.sampled_from([2, 10_000])),
        intake_limit=draw(st.sampled_from([1, 4, 16])),
        wait_limit_ns=draw(st.sampled_from([0, SECOND_NS])),
    )


def _checked(pool: Pool, now_ns: int, event: AnyEvent) -> list[AnyAction]:
    actions = step(pool, now_ns, event)
    assert check(pool) == []
    return actions


@settings(max_examples=60)
@given(cluster=CLUSTERS, node=NODES, policy=policies(), seed=st.integers(0, 2**32))
def test_each_arrival_ends_exactly_once(cluster: Cluster, node: Node, policy: PolicySet, seed: int) -> None:
    settled: Counter[int] = Counter()
    plain = ClusterColumns._settle

    def counted(columns: ClusterColumns, errand: Errand) -> bool:
        settling = plain(columns, errand)
        settled[errand.index] += settling
        return settling

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterColumns, "_settle", counted)
        patch.setattr(sim.driver, "step", _checked)
        world = World(HeapKernel(), workload(seed, COUNT, rate_per_s=12.0), cluster, policy, node, seed, hashing=False)
        world.run()
    rows = world.columns
    nowhere = [row for row in range(COUNT) if not rows.path[row]]
    assert +settled == Counter(range(COUNT))
    assert 0 not in rows.outcome
    assert {CLUSTER_OUTCOMES[rows.outcome[row]] for row in nowhere} <= {"refused: nowhere"}
    _instants_are_in_order(rows)
    _controllers_are_owed_nothing(world, cluster)
    _topics_are_read_in_order(rows, cluster)
    for begin_ns, end_ns in (*world.overflows, *(span for invoker in world.invokers for span in invoker.holds)):
        assert 0 <= begin_ns <= end_ns <= world.ended_ns


def _instants_are_in_order(rows: ClusterColumns) -> None:
    for row in range(COUNT):
        if rows.kind[row]:
            instants = [
                rows.arrived_ns[row],
                rows.reached_ns[row],
                rows.dispatched_ns[row],
                rows.began_ns[row],
                rows.ended_ns[row],
                rows.answered_ns[row],
            ]
            assert instants == sorted(instants)
        else:
            assert rows.arrived_ns[row] <= rows.ended_ns[row]


def _controllers_are_owed_nothing(world: World, cluster: Cluster) -> None:
    """Only what was lost behind a topic is still awaited, and the slots are all there but for that."""
    rows = world.columns
    for desk in world.desks:
        view = desk.controller.cluster
        for activation in view.sent:
            row = int(activation)
            assert (rows.path[row], rows.outcome[row] in (AWAY, LEFT)) == (TOPIC, True)
        taken_mb = [0] * len(view.invokers)
        for index, request in view.sent.values():
            taken_mb[index] += request.memory_mb if request.concurrency == 1 else 0
        if not any(request.concurrency > 1 for _, request in view.sent.values()):
            free_mb = [invoker.slots.free_mb for invoker in view.invokers]
            shares_mb = [max(128, invoker.memory_mb // cluster.controllers) for invoker in view.invokers]
            assert [free + taken for free, taken in zip(free_mb, taken_mb, strict=True)] == shares_mb


def _topics_are_read_in_order(rows: ClusterColumns, cluster: Cluster) -> None:
    """What came by a topic, was sent and read once, and travelled as long as all others."""
    if not isinstance(cluster.network.publish, Constant):
        return
    latest_ns: dict[int, int] = {}
    for row in range(COUNT):
        if rows.path[row] == TOPIC and rows.reached_ns[row] and not rows.retries[row]:
            node = rows.node[row]
            assert rows.reached_ns[row] >= latest_ns.get(node, 0)
            latest_ns[node] = rows.reached_ns[row]


def test_what_is_lost_has_a_reason_and_a_way() -> None:
    """A look at one cluster in which everything happens, so that the test above is worth something."""
    away = tuple(Outage(at_ns=k * 4 * SECOND_NS, lasts_ns=SECOND_NS) for k in range(1, 6))
    gone = (Outage(at_ns=6 * SECOND_NS),)
    cluster = Cluster(
        nodes=(Member(outages=away), Member(outages=away), Member(outages=gone)), controllers=2, retries=0
    )
    policy = msgspec.structs.replace(policyset.default(512), intake_limit=1)
    seen: Counter[tuple[int, str]] = Counter()
    for seed in range(8):
        world = World(
            HeapKernel(), workload(seed, COUNT, rate_per_s=12.0), cluster, policy, Node(), seed, hashing=False
        )
        world.run()
        for path, outcome in zip(world.columns.path, world.columns.outcome, strict=True):
            seen[path, CLUSTER_OUTCOMES[outcome]] += 1
    for wanted in ((HTTP, AWAY), (TOPIC, AWAY), (TOPIC, LEFT), (HTTP, UNREACHABLE)):
        assert seen[wanted[0], CLUSTER_OUTCOMES[wanted[1]]], f"{wanted}: {seen}"

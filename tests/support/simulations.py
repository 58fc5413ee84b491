"""Simulations whose decisions are compared: between kernels, Pythons, hash seeds, and with what they were before.

Run as a module it prints their hashes as JSON; it needs nothing but what the simulator's core needs, so that any Python
with msgspec can run it.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from invoker.policy import PolicySet, policyset
from invoker.policy.balancing import (
    AnyBalancer,
    BoundedLoad,
    Hiku,
    JoinIdleQueue,
    LeastLoaded,
    PowerOfChoices,
    Random,
    RandomLoadUpdate,
    RoundRobin,
    Sharding,
)
from invoker.policy.events import StemCells
from invoker.policy.keepalive import GreedyDual, HybridHistogram
from invoker.policy.pausing import FixedGrace
from invoker.policy.types import MILLISECOND_NS, SECOND_NS, PrewarmKey
from sim import (
    Cluster,
    ClusterResult,
    Engine,
    Failures,
    Member,
    Network,
    Node,
    Outage,
    PoissonWorkload,
    Result,
    SimFunction,
    simulate,
    simulate_cluster,
)
from sim.latency import Constant, Exponential, Gamma, Lognormal, Weibull

FAULTS = Failures(start=0.05, init=0.05, run=0.02, pause=0.05, thaw=0.05, remove=0.005, hang=0.01, deaths_per_hour=60.0)
FAULTY = Node(failures=FAULTS, limit_ns=5 * SECOND_NS, stock=(StemCells(PrewarmKey("python:3", 128), 1),))
BALANCERS: tuple[AnyBalancer, ...] = (
    Sharding(),
    RoundRobin(),
    Random(),
    PowerOfChoices(),
    LeastLoaded(),
    BoundedLoad(),
    RandomLoadUpdate(ranked_every=20),
    Hiku(),
    JoinIdleQueue(),
)


def workload(seed: int, count: int = 400, rate_per_s: float = 8.0) -> PoissonWorkload:
    """Eight functions, some of which take several activations in a container."""
    functions = tuple(
        SimFunction(
            name=f"ns{i % 3}/f{i}",
            memory_mb=(128, 256)[i % 2],
            concurrency=3 if i % 4 == 0 else 1,
            run=(Exponential(2e8), Lognormal(1e8, 1.0), Weibull(1e8, 0.7), Gamma(1e8, 2.0))[i % 4],
        )
        for i in range(8)
    )
    return PoissonWorkload(functions, tuple(rate_per_s / (i + 1) for i in range(8)), count, seed)


def _outages(*instants_s: int, drain: bool = False) -> tuple[Outage, ...]:
    return tuple(Outage(at_ns=at * SECOND_NS, lasts_ns=8 * SECOND_NS, drain=drain) for at in instants_s)


VARYING = Network(
    http=Exponential(1e6),
    answer=Exponential(1e6),
    publish=Lognormal(3e6, 0.5),
    fetch=Exponential(2e6),
    completed=Lognormal(5e6, 0.5),
)
TROUBLED = (
    Member(outages=_outages(3)),
    Member(outages=_outages(5, 20), cores=4),
    Member(outages=_outages(12, drain=True), node=FAULTY),
    Member(joins_ns=4 * SECOND_NS),
)
TICKING = Network(**{name: Constant(10 * MILLISECOND_NS) for name in Network.__struct_fields__})
CLUSTERS: dict[str, tuple[Cluster, int]] = {
    "calm": (Cluster(nodes=3, controllers=2), 2048),
    "overloaded": (Cluster(nodes=2, controllers=2, network=VARYING), 512),
    "ties": (Cluster(nodes=3, controllers=3, network=TICKING), 512),
    "troubled": (Cluster(nodes=TROUBLED, controllers=2, network=VARYING, routing="drawn"), 1024),
    "at least once": (Cluster(nodes=TROUBLED, delivery="at-least-once", network=VARYING), 384),
    **{
        f"by {spec.__struct_config__.tag}": (
            Cluster(nodes=TROUBLED, controllers=2, balancer=spec, report_every_ns=SECOND_NS),
            768,
        )
        for spec in BALANCERS
    },
}
"""By name: the cluster, and the memory of each node."""


def cluster(name: str, seed: int, engine: Engine = "fast", node: Node | None = None) -> ClusterResult:
    """The cluster of that name."""
    spec, memory_mb = CLUSTERS[name]
    policy = msgspec.structs.replace(policyset.default(memory_mb), intake_limit=4, pausing=FixedGrace(50_000_000))
    return simulate_cluster(workload(seed, rate_per_s=12.0), spec, policy, seed, node=node, engine=engine)


def _node(policy: PolicySet, node: Node) -> Callable[[], Result]:
    return lambda: simulate(workload(1), node, policy, 1)


GOLDEN: dict[str, Callable[[], Result]] = {
    "node, default": _node(policyset.default(1024), Node()),
    "node, reference": _node(policyset.reference(1024), Node()),
    "node, faulty": _node(policyset.default(1024), FAULTY),
    "node, shared cpus": _node(policyset.default(1024), Node(cpus=2)),
    "node, greedy dual": _node(msgspec.structs.replace(policyset.default(640), keep_alive=GreedyDual()), Node()),
    "node, histogram": _node(msgspec.structs.replace(policyset.default(640), keep_alive=HybridHistogram()), Node()),
    **{f"cluster, {name}": lambda name=name: cluster(name, 1) for name in CLUSTERS},
}


def hashes() -> dict[str, str]:
    """The decision hash of each of GOLDEN."""
    return {name: run().decision_hash for name, run in GOLDEN.items()}


if __name__ == "__main__":
    print(json.dumps(hashes()))

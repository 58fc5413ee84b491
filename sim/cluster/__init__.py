"""◇ A cluster: several nodes, each with the heart that ships, and controllers with the balancers that ship.

    result = simulate_cluster(workload, Cluster(nodes=8), policy, seed)

A controller knows what it sent and what it heard; a node knows what it took. Between them lie delays, so both are late:
that is what balancing and overload are about. docs/cluster-model.md tells what is modelled, and what is not.
"""

from __future__ import annotations

from typing import Literal

from invoker.policy import PolicySet
from sim.cluster.columns import CLUSTER_OUTCOMES, PATHS, ClusterColumns
from sim.cluster.result import ClusterResult
from sim.cluster.spec import Cluster, Member, Network, Outage
from sim.cluster.world import World
from sim.kernel import HeapKernel, SimPyKernel
from sim.node import Node
from sim.workload import Workload

__all__ = [
    "CLUSTER_OUTCOMES",
    "PATHS",
    "Cluster",
    "ClusterColumns",
    "ClusterResult",
    "Member",
    "Network",
    "Outage",
    "simulate_cluster",
]


def simulate_cluster(
    workload: Workload,
    cluster: Cluster,
    policy: PolicySet,
    seed: int,
    *,
    node: Node | None = None,
    engine: Literal["fast", "simpy"] = "fast",
    hashing: bool = True,
) -> ClusterResult:
    """Simulate a cluster from the first invocation of the workload until nothing more is heard of any.

    `policy` and `node` (None: as `Node()`) are those of each member that has none of its own; how long a run takes that
    the workload doesn't say is drawn from `node`, wherever it runs. `engine`: the kernel; `simpy` needs the extra
    `sim`, is slower and comes to the same. `hashing` False saves the decision hash. Raises SimulationError where the
    workload is no workload.
    """
    kernel = HeapKernel() if engine == "fast" else SimPyKernel()
    world = World(kernel, workload, cluster, policy, node or Node(), seed, hashing)
    world.run()
    policies = tuple(member.policy or policy for member in cluster.members)
    return ClusterResult(policy, policies, seed, world, workload.functions)

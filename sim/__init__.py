"""◇ The simulator: the heart that ships (`invoker.policy`), fed by drawn latencies and written-down or drawn arrivals.

    result = simulate(workload, node, policy, seed)
    result = simulate_cluster(workload, cluster, policy, seed)

`workload` says who calls what and when, `node` how long things take and how often they fail, `policy` is the same
PolicySet that the invoker runs with. The same four give the same result, to the bit.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from invoker.policy import PolicySet, Pool
from sim.body import Ledger
from sim.cluster import Cluster, ClusterResult, Member, Network, Outage, simulate_cluster
from sim.decision_log import logged
from sim.driver import NodeDriver
from sim.errors import SimulationError
from sim.fast import FastDriver
from sim.kernel import HeapKernel, SimPyKernel
from sim.node import Chance, Failures, Node
from sim.recorder import Aggregates, Columns
from sim.result import Result
from sim.timeline import SampledPool, Timeline
from sim.workload import Block, ListWorkload, PoissonWorkload, SimFunction, Workload

__all__ = [
    "Block",
    "Cluster",
    "ClusterResult",
    "Engine",
    "Failures",
    "ListWorkload",
    "Member",
    "Network",
    "Node",
    "Outage",
    "PoissonWorkload",
    "Result",
    "SimFunction",
    "SimulationError",
    "Timeline",
    "Workload",
    "simulate",
    "simulate_cluster",
]

Engine = Literal["fast", "simpy"]


def simulate(
    workload: Workload,
    node: Node,
    policy: PolicySet,
    seed: int,
    *,
    engine: Engine = "fast",
    streaming: bool = False,
    hashing: bool = True,
    sample_every_ns: int | None = None,
    decision_log: Path | None = None,
) -> Result:
    """Simulate a node from the first invocation of the workload until the last is settled.

    `engine`: the driver; `simpy` needs the extra `sim`, is slower and decides the same. `streaming` keeps sums instead
    of a row for each invocation, in memory that doesn't grow. `hashing` False saves the decision hash and an eighth of
    the time. `sample_every_ns` gives the result a `timeline` of so many ns a sample, and changes no decision.
    `decision_log` is a file to write all steps to, as the invoker does. Raises SimulationError where the workload is no
    workload, or an invocation would never end, or that file can't be written.
    """
    timeline = None if sample_every_ns is None else Timeline(sample_every_ns)
    pool = Pool(policy) if timeline is None else SampledPool(policy, timeline)
    chance = Chance(node, workload.functions, seed)
    recorder = Aggregates() if streaming else Columns()
    plain = contextlib.nullcontext(Ledger(pool, hashing))
    with plain if decision_log is None else logged(pool, hashing, decision_log, seed) as ledger:
        if engine == "fast" and chance.steady:
            driver = FastDriver(pool, node, chance, recorder, ledger)
        else:
            kernel = HeapKernel() if engine == "fast" else SimPyKernel()
            driver = NodeDriver(kernel, pool, node, chance, recorder, ledger)
        driver.run(workload)
    if isinstance(pool, SampledPool):
        pool.close(driver.now_ns)
    return Result(policy, seed, driver.now_ns, ledger, recorder, timeline, workload.functions)

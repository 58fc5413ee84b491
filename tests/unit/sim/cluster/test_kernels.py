"""A cluster on SimPy decides as on the plain heap: every balancer, three seeds, one hash each."""

from __future__ import annotations

import pytest
import simpy

from invoker.policy import Pool, policyset
from sim import ClusterResult
from sim.body import Ledger
from sim.driver import NodeDriver
from sim.kernel import HeapKernel, Kernel, SimPyKernel
from sim.node import Chance, Node
from sim.recorder import Columns
from tests.support.simulations import CLUSTERS, FAULTY, cluster, workload


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", CLUSTERS)
def test_both_kernels_come_to_the_same(name: str, seed: int) -> None:
    heap, simpy_ = (cluster(name, seed, engine, FAULTY if seed == 2 else None) for engine in ("fast", "simpy"))
    assert heap.decision_hash == simpy_.decision_hash
    assert vars(heap.rows) == vars(simpy_.rows)
    assert (heap.ended_ns, heap.memory_mb_ns, heap.overflows) == (
        simpy_.ended_ns,
        simpy_.memory_mb_ns,
        simpy_.overflows,
    )
    assert heap.holds_of == simpy_.holds_of


def test_what_is_compared_reaches_what_is_rare() -> None:
    results: list[ClusterResult] = [cluster(name, seed) for name in CLUSTERS for seed in (1, 2, 3)]
    outcomes = {name for result in results for name, count in result.outcomes.items() if count}
    assert {"ok", "failed", "refused: start failed", "lost: node went away"} <= outcomes
    assert all(any(result.paths[path] for result in results) for path in ("http", "topic"))
    assert any(result.retried for result in results)
    assert any(result.removals.get("drain") for result in results)
    assert len({result.decision_hash for result in results}) == len(results)


@pytest.mark.parametrize("kernel", [HeapKernel(), SimPyKernel(simpy.Environment())], ids=["heap", "simpy"])
def test_a_kernel_does_jobs_in_their_order(kernel: Kernel) -> None:
    done: list[tuple[int, str]] = []

    def note(name: str) -> None:
        done.append((kernel.now_ns, name))

    kernel.after(5, lambda: note("late"))
    kernel.after(3, lambda: (note("first"), kernel.after(0, lambda: note("third"))))
    kernel.after(3, lambda: note("second"))
    assert not kernel.run()
    assert done == [(3, "first"), (3, "second"), (3, "third"), (5, "late")]
    kernel.after(1, kernel.stop)
    kernel.after(2, lambda: note("never"))
    assert kernel.run()
    assert len(done) == 4


def test_a_node_lives_beside_a_model_of_others_in_one_environment() -> None:
    environment = simpy.Environment()
    noted: list[int] = []

    def others():  # type: ignore[no-untyped-def]
        while True:
            yield environment.timeout(1_000_000_000)
            noted.append(int(environment.now))

    environment.process(others())
    pool, node = Pool(policyset.default(1024)), Node()
    fed = workload(1, 100)
    driver = NodeDriver(
        SimPyKernel(environment), pool, node, Chance(node, fed.functions, 1), Columns(), Ledger(pool, hashing=True)
    )
    driver.run(fed)
    assert len(noted) == driver.now_ns // 1_000_000_000

"""◇ How many invocations a second the simulator does, on CPU time of one core, for workloads that never change.

Poisson arrivals that were drawn before, exponential runs of a second. `one function`: ten a second, memory for all of
them. `many functions`: fifty by Zipf's law on 16 GB, a tenth of them cold. `with pauses`: the same, pausing as the
invoker does by default, which takes three more steps of the heart for most invocations. `large`: a thousand functions
with ten thousand warm containers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from invoker.policy import PolicySet, policyset
from invoker.policy.pausing import NeverPause
from invoker.policy.types import SECOND_NS
from sim import Block, Engine, Node, PoissonWorkload, SimFunction, simulate
from sim.latency import Constant, Exponential

COUNT: Final = 100_000
ROUNDS: Final = 3


class Drawn:
    """A workload whose blocks were made before, so that drawing them is not measured."""

    def __init__(self, workload: PoissonWorkload) -> None:
        self.functions = workload.functions
        self._blocks = list(workload.blocks())

    def blocks(self) -> Iterator[Block]:
        """See `sim.Workload`."""
        return iter(self._blocks)

    def __len__(self) -> int:
        return sum(len(block.at_ns) for block in self._blocks)


class Case(NamedTuple):
    """What is measured."""

    name: str
    workload: Drawn
    policy: PolicySet


def drawn(functions: int, rate_per_s: float, count: int, zipf: float, sizes_mb: tuple[int, ...]) -> Drawn:
    """`count` invocations at `rate_per_s` in all, of functions that share it by Zipf's law with exponent `zipf`."""
    made = tuple(
        SimFunction(
            name=f"ns/f{i}",
            memory_mb=sizes_mb[i % len(sizes_mb)],
            init=Constant(SECOND_NS // 2),
            run=Exponential(float(SECOND_NS)),
        )
        for i in range(functions)
    )
    weights = [(i + 1) ** -zipf for i in range(functions)]
    rates = tuple(rate_per_s * weight / sum(weights) for weight in weights)
    return Drawn(PoissonWorkload(made, rates, count, seed=1))


def unpaused(capacity_mb: int) -> PolicySet:
    """The default policies without pauses, and without a limit of starts at a time that would be felt."""
    return msgspec.structs.replace(policyset.default(capacity_mb), pausing=NeverPause(), starts_max=1000)


def cases(count: int = COUNT) -> list[Case]:
    """The cases, small ones first."""
    many = drawn(50, 10.0, count, 1.0, (128, 256, 512))
    return [
        Case("one function", drawn(1, 10.0, count, 1.0, (256,)), unpaused(65_536)),
        Case("many functions", many, unpaused(16_384)),
        Case("many functions, with pauses", many, policyset.default(16_384)),
        Case("large", drawn(1000, 10_000.0, 2 * count, 0.0, (128,)), unpaused(100_000_000)),
    ]


def per_second(case: Case, engine: Engine, rounds: int = ROUNDS) -> float:
    """Invocations a second of CPU time, the best of some rounds (what else runs here only takes away)."""
    best_s = float("inf")
    for _ in range(rounds):
        began_s = time.process_time()
        simulate(case.workload, Node(slowdown=()), case.policy, 1, engine=engine)
        best_s = min(best_s, time.process_time() - began_s)
    return len(case.workload) / best_s


def bench(count: int = COUNT, told: Callable[[str], None] = lambda _name: None) -> dict[str, float]:
    """Invocations a second: `fast` and `simpy`, the drivers with one function, and `fast_...` with the other cases.

    Some 25 s with the default `count`. `told` hears the name of each figure before it is measured.
    """
    small, many, pausing, large = cases(count)
    plan: tuple[tuple[str, Case, Engine, int], ...] = (
        ("fast", small, "fast", 3),
        ("simpy", small, "simpy", 2),
        ("fast_many_functions", many, "fast", 2),
        ("fast_many_functions_with_pauses", pausing, "fast", 1),
        ("fast_large", large, "fast", 1),
    )
    figures: dict[str, float] = {}
    for name, case, engine, rounds in plan:
        told(name)
        figures[name] = round(per_second(case, engine, rounds))
    return figures


SWEEP: Final = {
    "workload": {
        "type": "poisson",
        "functions": 50,
        "rate_per_s": 10,
        "duration": "1 day",
        "memory_mb": [128, 256, 512],
        "run": {"type": "exponential", "mean": "1 s"},
    },
    "node": {"init": "500 ms", "slowdown": "none"},
    "policy": {"memory": "16 GB", "pausing": "never", "starts_max": 1000},
}
"""What `sweep_s` sweeps: `many functions`, as a scenario."""


def sweep_s(count: int = COUNT, jobs: int = 2) -> float:
    """Seconds on the clock for 100 configurations of `count` invocations each, in so many processes: ten sizes of
    memory by ten lifetimes, from the beginning of the processes to the table of means."""
    from sim.planning import ScenarioMeasure, open_workers, sweep
    from sim.scenario import of_settings

    scenario = of_settings(SWEEP).altered({"workload.head_invocations": count})
    grid = {
        "policy.memory": [f"{size} GB" for size in range(16, 56, 4)],
        "policy.keep_alive.ttl": [f"{minutes} min" for minutes in range(1, 11)],
    }
    began_s = time.perf_counter()
    with open_workers(ScenarioMeasure(scenario), jobs) as workers:
        found = sweep(workers, grid, [1])
    means = found.means()
    took_s = time.perf_counter() - began_s
    assert len(means) == found.size
    return took_s

"""How many invocations a second the simulator does, on CPU time of one core: `python -m tests.benchmarks.simulator`.

Poisson arrivals that were drawn before, exponential runs of a second. `one function`: ten a second, memory for all of
them. `many functions`: fifty by Zipf's law on 16 GB, a tenth of them cold. `with pauses`: the same, pausing as the
invoker does by default, which takes three more steps of the heart for most invocations. `large`: a thousand functions
with ten thousand warm containers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from invoker.policy import PolicySet, policyset
from invoker.policy.pausing import NeverPause
from invoker.policy.types import SECOND_NS
from sim import Block, Engine, Node, PoissonWorkload, SimFunction, simulate
from sim.latency import Constant, Exponential
from sim.recorder import BYTES_PER_ROW

COUNT = 100_000
ROUNDS = 3
FAST_PER_S_MIN = 150_000
SIMPY_PER_S_MIN = 60_000
GROWTH_MAX = 2.0
ROW_BYTES_MAX = 64


class Drawn:
    """A workload whose blocks were made before, so that drawing them is not measured."""

    def __init__(self, workload: PoissonWorkload) -> None:
        self.functions = workload.functions
        self._blocks = list(workload.blocks())

    def blocks(self) -> Iterator[Block]:
        """See `sim.Workload`."""
        return iter(self._blocks)


class Case(NamedTuple):
    """What is measured."""

    name: str
    workload: Drawn
    policy: PolicySet


def _workload(functions: int, rate_per_s: float, count: int, zipf: float, sizes_mb: tuple[int, ...]) -> Drawn:
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


def cases(count: int = COUNT) -> list[Case]:
    """The cases, small ones first."""

    def policy(capacity_mb: int) -> PolicySet:
        return msgspec.structs.replace(policyset.default(capacity_mb), pausing=NeverPause(), starts_max=1000)

    sizes_mb = (128, 256, 512)
    many = _workload(50, 10.0, count, 1.0, sizes_mb)
    return [
        Case("one function", _workload(1, 10.0, count, 1.0, (256,)), policy(65_536)),
        Case("many functions", many, policy(16_384)),
        Case("many functions, with pauses", many, policyset.default(16_384)),
        Case("large", _workload(1000, 10_000.0, 2 * count, 0.0, (128,)), policy(100_000_000)),
    ]


def per_second(case: Case, engine: Engine, rounds: int = ROUNDS) -> float:
    """Invocations a second of CPU time, the best of some rounds (what else runs here only takes away)."""
    best_s = float("inf")
    for _ in range(rounds):
        began_s = time.process_time()
        simulate(case.workload, Node(slowdown=()), case.policy, 1, engine=engine)
        best_s = min(best_s, time.process_time() - began_s)
    return sum(len(block.at_ns) for block in case.workload.blocks()) / best_s


def measure() -> dict[str, dict[str, float]]:
    """Invocations a second, by case and driver."""
    return {case.name: {"fast": per_second(case, "fast"), "simpy": per_second(case, "simpy")} for case in cases()}


def table(figures: dict[str, dict[str, float]]) -> list[str]:
    """Rows of Markdown."""
    rows = ["| workload | fast driver, invocations/s | SimPy, invocations/s |", "|---|---|---|"]
    return rows + [f"| {name} | {of['fast']:,.0f} | {of['simpy']:,.0f} |" for name, of in figures.items()]


def verdicts(figures: dict[str, dict[str, float]]) -> tuple[list[str], bool]:
    """Rows of Markdown, and whether all is as it should be."""
    small = figures["one function"]
    growth = small["fast"] / figures["large"]["fast"]
    checks = (
        ("fast driver, invocations/s", f"at least {FAST_PER_S_MIN:,}", small["fast"], small["fast"] >= FAST_PER_S_MIN),
        ("SimPy, invocations/s", f"at least {SIMPY_PER_S_MIN:,}", small["simpy"], small["simpy"] >= SIMPY_PER_S_MIN),
        ("cost with 1,000 functions over one", f"at most {GROWTH_MAX:g}", growth, growth <= GROWTH_MAX),
        ("bytes a row", f"at most {ROW_BYTES_MAX}", float(BYTES_PER_ROW), BYTES_PER_ROW <= ROW_BYTES_MAX),
    )
    rows = [f"| {what} | {bound} | {value:,.2f} | {'met' if met else 'missed'} |" for what, bound, value, met in checks]
    return rows, all(met for *_, met in checks)


if __name__ == "__main__":
    measured = measure()
    print("\n".join([*table(measured), "", "| what | should be | is | |", "|---|---|---|---|", *verdicts(measured)[0]]))

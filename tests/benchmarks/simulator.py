"""How many invocations a second the simulator does, on CPU time of one core: `python -m tests.benchmarks.simulator`.

What is measured is in `sim.benchmark`, as `sim bench` measures it. Beside it: what an invocation costs once a thousand
functions have ten thousand warm containers. The case `large` begins with none, and so with the queue before ten
thousand cold starts, which is another load.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from sim import Block, Node, SimFunction, simulate
from sim.benchmark import Case, cases, per_second, sweep_s
from sim.recorder import BYTES_PER_ROW

FAST_PER_S_MIN = 150_000
SIMPY_PER_S_MIN = 60_000
GROWTH_MAX = 2.0
ROW_BYTES_MAX = 64
SWEEP_S_MAX = 30.0
ROUNDS = 5


PEERS = (
    "## Beside others",
    "",
    "Invocations a second on one core, with what they simulate. Those of peers were measured once, beside a prototype",
    "of this simulator on the same kind of machine (2 cores, AMD EPYC, Python 3.11), or are printed by their authors;",
    "no command here repeats them.",
    "",
    "| simulator | what | invocations a second |",
    "|---|---|---|",
    "| faas-sim | one function, 1 replica, no cold starts | 31,000 measured |",
    "| SimFaaS | one function, fixed lifetime, 1 to 10 a second | 24,000 - 30,000 measured, 21,000 printed |",
    "| SimFaaS | the same, 100 a second | 8,300 measured |",
    "| FaasCache's simulator | 50 functions, 16 GB | 7,000 - 13,000 measured |",
    "| faas-offloading-sim | small | 13,000 - 16,000 measured |",
    "| serverless-sim (UCSD) | OpenWhisk's balancer, in ticks of 1 s | 52,000 - 69,000 measured |",
    "| ServerlessSimPro | 2,000 to 20,000 requests | 5,000 - 1,000 measured |",
    "| happy-simulator | events of a general kit, not invocations | 62,000 printed |",
)


class Measured(NamedTuple):
    """Invocations a second, by case and driver; seconds on the clock for a sweep; how many times as much an invocation
    costs with ten thousand warm containers as in the small case."""

    per_second: dict[str, dict[str, float]]
    sweep_s: float
    growth: float


class _Halved:
    """A workload that notes the CPU time at its half and at its end."""

    def __init__(self, case: Case) -> None:
        self._blocks = list(case.workload.blocks())
        self.functions: tuple[SimFunction, ...] = case.workload.functions
        self.noted_s: list[float] = []

    def blocks(self) -> Iterator[Block]:
        """See `sim.Workload`."""
        half = len(self._blocks) // 2
        yield from self._blocks[:half]
        self.noted_s.append(time.process_time())
        yield from self._blocks[half:]
        self.noted_s.append(time.process_time())

    def cost_s(self, case: Case) -> float:
        """CPU time for an invocation of the second half."""
        self.noted_s.clear()
        simulate(self, Node(slowdown=()), case.policy, 1)
        half_s, end_s = self.noted_s
        return (end_s - half_s) / sum(len(block.at_ns) for block in self._blocks[len(self._blocks) // 2 :])


def growth(rounds: int = ROUNDS) -> float:
    """See `Measured`: the median of so many pairs, measured in turn."""
    small, *_, large = cases()
    halves = [(_Halved(case), case) for case in (small, large)]
    costs_s = [[half.cost_s(case) for half, case in halves] for _ in range(rounds)]
    return statistics.median(of_large / of_small for of_small, of_large in costs_s)


def measure() -> Measured:
    """All that is measured."""
    rates = {case.name: {"fast": per_second(case, "fast"), "simpy": per_second(case, "simpy")} for case in cases()}
    return Measured(rates, sweep_s(), growth())


def table(measured: Measured) -> list[str]:
    """Rows of Markdown."""
    rows = ["| workload | fast driver, invocations/s | SimPy, invocations/s |", "|---|---|---|"]
    return rows + [f"| {name} | {of['fast']:,.0f} | {of['simpy']:,.0f} |" for name, of in measured.per_second.items()]


def verdicts(measured: Measured) -> tuple[list[str], bool]:
    """Rows of Markdown, and whether all is as it should be."""
    small = measured.per_second["one function"]
    warm = "cost with 1,000 functions and 10,000 warm containers over one function"
    sweep = "100 configurations of 100,000 invocations on 2 cores, s"
    checks = (
        ("fast driver, invocations/s", f"at least {FAST_PER_S_MIN:,}", small["fast"], small["fast"] >= FAST_PER_S_MIN),
        ("SimPy, invocations/s", f"at least {SIMPY_PER_S_MIN:,}", small["simpy"], small["simpy"] >= SIMPY_PER_S_MIN),
        (warm, f"at most {GROWTH_MAX:g}", measured.growth, measured.growth <= GROWTH_MAX),
        (sweep, f"at most {SWEEP_S_MAX:g}", measured.sweep_s, measured.sweep_s <= SWEEP_S_MAX),
        ("bytes a row", f"at most {ROW_BYTES_MAX}", float(BYTES_PER_ROW), BYTES_PER_ROW <= ROW_BYTES_MAX),
    )
    rows = [f"| {what} | {bound} | {value:,.2f} | {'met' if met else 'missed'} |" for what, bound, value, met in checks]
    return rows, all(met for *_, met in checks)


if __name__ == "__main__":
    found = measure()
    print("\n".join([*table(found), "", "| what | should be | is | |", "|---|---|---|---|", *verdicts(found)[0]]))

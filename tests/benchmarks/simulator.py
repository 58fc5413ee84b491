"""How many invocations a second the simulator does, on CPU time of one core: `python -m tests.benchmarks.simulator`.

What is measured is in `sim.benchmark`, as `sim bench` measures it.
"""

from __future__ import annotations

from typing import NamedTuple

from sim.benchmark import cases, per_second, sweep_s
from sim.recorder import BYTES_PER_ROW

FAST_PER_S_MIN = 150_000
SIMPY_PER_S_MIN = 60_000
GROWTH_MAX = 2.0
ROW_BYTES_MAX = 64
SWEEP_S_MAX = 30.0


class Measured(NamedTuple):
    """Invocations a second, by case and driver; seconds on the clock for a sweep."""

    per_second: dict[str, dict[str, float]]
    sweep_s: float


def measure() -> Measured:
    """All that is measured."""
    rates = {case.name: {"fast": per_second(case, "fast"), "simpy": per_second(case, "simpy")} for case in cases()}
    return Measured(rates, sweep_s())


def table(measured: Measured) -> list[str]:
    """Rows of Markdown."""
    rows = ["| workload | fast driver, invocations/s | SimPy, invocations/s |", "|---|---|---|"]
    return rows + [f"| {name} | {of['fast']:,.0f} | {of['simpy']:,.0f} |" for name, of in measured.per_second.items()]


def verdicts(measured: Measured) -> tuple[list[str], bool]:
    """Rows of Markdown, and whether all is as it should be."""
    small = measured.per_second["one function"]
    growth = small["fast"] / measured.per_second["large"]["fast"]
    sweep = "100 configurations of 100,000 invocations on 2 cores, s"
    checks = (
        ("fast driver, invocations/s", f"at least {FAST_PER_S_MIN:,}", small["fast"], small["fast"] >= FAST_PER_S_MIN),
        ("SimPy, invocations/s", f"at least {SIMPY_PER_S_MIN:,}", small["simpy"], small["simpy"] >= SIMPY_PER_S_MIN),
        ("cost with 1,000 functions over one", f"at most {GROWTH_MAX:g}", growth, growth <= GROWTH_MAX),
        (sweep, f"at most {SWEEP_S_MAX:g}", measured.sweep_s, measured.sweep_s <= SWEEP_S_MAX),
        ("bytes a row", f"at most {ROW_BYTES_MAX}", float(BYTES_PER_ROW), BYTES_PER_ROW <= ROW_BYTES_MAX),
    )
    rows = [f"| {what} | {bound} | {value:,.2f} | {'met' if met else 'missed'} |" for what, bound, value, met in checks]
    return rows, all(met for *_, met in checks)


if __name__ == "__main__":
    found = measure()
    print("\n".join([*table(found), "", "| what | should be | is | |", "|---|---|---|---|", *verdicts(found)[0]]))

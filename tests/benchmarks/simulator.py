"""How many invocations a second the simulator does, on CPU time of one core: `python -m tests.benchmarks.simulator`.

What is measured is in `sim.benchmark`, as `sim bench` measures it.
"""

from __future__ import annotations

from sim.benchmark import cases, per_second
from sim.recorder import BYTES_PER_ROW

FAST_PER_S_MIN = 150_000
SIMPY_PER_S_MIN = 60_000
GROWTH_MAX = 2.0
ROW_BYTES_MAX = 64


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

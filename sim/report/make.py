"""◆ From a scenario, or a result that was kept, to its report: all the simulations that this takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from sim import kept
from sim.errors import SimulationError
from sim.planning.scenarios import ScenarioMeasure
from sim.planning.task import Settings
from sim.planning.workers import open_workers
from sim.report.figures import COMPARED_MAX
from sim.report.front import POLICIES, Front, measured
from sim.report.page import Content, render
from sim.report.run import Run, run_kept, run_of
from sim.report.style import span_words
from sim.scenario import Scenario, load
from sim.scenario.workloads import TraceFile

SIZES: Final = (0.25, 0.5, 1.0, 2.0)
"""The capacities of the front, as shares of the scenario's own."""
SEEDS: Final = 4
SWEEP_INVOCATIONS_MAX: Final = 1_600_000
"""Simulated for the front altogether: less than half a minute on two cores."""
_SAMPLES: Final = 600
_SAMPLE_UNKNOWN_NS: Final = 1_000_000_000

Told = Callable[[str, float], None]
"""What is being done, and the share of the work that is done."""


class Source(NamedTuple):
    """What a report is of: a scenario, and its result where that was kept."""

    label: str
    scenario: Scenario
    result: kept.Kept | None = None


class Plan(NamedTuple):
    """What the front simulates: `scenario`, cut where all of it would take too long, at these capacities."""

    scenario: Scenario
    policies: dict[str, Settings]
    capacities_mb: list[int]
    seeds: list[int]
    scope: str


def source(path: Path) -> Source:
    """A scenario's file, or a directory of `sim run --out`. Raises SimulationError where it is neither."""
    if path.is_dir():
        found = kept.read(path)
        return Source(path.resolve().name, load(path / kept.SCENARIO), found)
    return Source(path.stem, load(path))


def report(
    of: Source,
    compared: Sequence[Source] = (),
    *,
    with_front: bool = True,
    jobs: int | None = None,
    told: Told = lambda _what, _share: None,
) -> str:
    """The report as a page. `compared`: others beside it, COMPARED_MAX - 1 at most; `with_front`: with the Pareto
    front, computed by `jobs` processes (None: one for each core). Raises SimulationError or TraceError."""
    if len(compared) >= COMPARED_MAX:
        raise SimulationError(f"at most {COMPARED_MAX - 1} others can be compared in one picture, not {len(compared)}")
    runs: list[Run] = []
    for number, one in enumerate((of, *compared)):
        told(f"simulating {one.label}", 0.2 * number / (1 + len(compared)))
        same = sum(other.label == one.label for other in (of, *compared)[:number])
        runs.append(_run(one, f"{one.label} ({same + 1})" if same else one.label))
    found: Front | None = None
    if with_front and len(runs[0].invocations):
        found = front(planned(of.scenario, runs[0]), jobs, told)
    told("drawing", 0.95)
    return render(Content(runs[0], of.scenario.as_yaml(), runs[1:], found))


def _run(of: Source, label: str) -> Run:
    """Its simulation, sampled finely enough for a picture where there is one node to sample."""
    scenario, cluster = of.scenario, of.scenario.cluster
    if of.result is not None:
        run = run_kept(label, of.result)
    elif cluster is not None:
        run = run_of(label, scenario.simulate())
    else:
        length_s = scenario.workload.length_s
        every_ns = _SAMPLE_UNKNOWN_NS if length_s is None else max(1, round(length_s * 1e9 / _SAMPLES))
        run = run_of(label, scenario.simulate(sample_every_ns=every_ns))
    if cluster is None:
        return run
    told = f"{len(cluster.members)} nodes, balancer {cluster.balancer.__struct_config__.tag}; each: {run.policy}"
    return replace(run, policy=told)


def planned(scenario: Scenario, run: Run) -> Plan:
    """What to simulate for the front, within SWEEP_INVOCATIONS_MAX."""
    own = str(scenario.policy.keep_alive.__struct_config__.tag)
    policies: dict[str, Settings] = {name: (("policy.keep_alive.name", name),) for name in POLICIES}
    policies[own] = ()  # with the parameters that the scenario gives it
    capacities_mb = [max(1, round(share * scenario.policy.capacity_mb)) for share in SIZES]
    runs = len(policies) * len(capacities_mb) * SEEDS
    share = min(1.0, SWEEP_INVOCATIONS_MAX / (runs * len(run.invocations)))
    scope = "All of the workload was simulated for it."
    if share < 1.0:
        head_s = share * run.ended_ns / 1e9
        scenario = scenario.altered({"workload.head_s": head_s})
        scope = f"Simulated was the first part of the workload, {span_words(head_s * 1e3)}, as all of it takes longer."
    if isinstance(scenario.workload, TraceFile):
        scope += " A trace's arrivals are the same for each seed: the bars show the luck of the latencies alone."
    seeds = [scenario.seed + number for number in range(SEEDS)]
    return Plan(scenario, policies, capacities_mb, seeds, scope)


def front(plan: Plan, jobs: int | None = None, told: Told = lambda _what, _share: None) -> Front:
    """Carry out a plan. Raises SimulationError or TraceError."""
    runs = len(plan.policies) * len(plan.capacities_mb) * len(plan.seeds)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        told("looking for what memory buys", 0.2 + 0.75 * done / runs)

    told("looking for what memory buys", 0.2)
    with open_workers(ScenarioMeasure(plan.scenario, streaming=plan.scenario.cluster is None), jobs) as workers:
        return measured(workers, plan.policies, plan.capacities_mb, plan.seeds, plan.scope, count)

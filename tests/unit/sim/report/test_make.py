"""`sim report`: of a scenario or of a result that was kept, alone or beside others; what it can't do it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim import SimulationError, kept
from sim.commands.given import Given
from sim.commands.report import report
from sim.report import make
from sim.scenario import load

SCENARIO = """\
workload:
  type: poisson
  functions: 6
  rate_per_s: 5
  duration: 1 min
policy:
  memory: 1 GB
seed: 3
"""


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front of 2 sizes and 2 seeds."""
    monkeypatch.setattr(make, "SIZES", (0.5, 1.0))
    monkeypatch.setattr(make, "SEEDS", 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "minutes.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def directory(file: Path, tmp_path: Path) -> Path:
    scenario = load(file).altered({"policy.memory": "2 GB"})
    kept.write(tmp_path / "before", scenario, scenario.simulate(sample_every_ns=10**9), cut_short_ns=9 * 10**9)
    return tmp_path / "before"


def test_a_scenario_beside_another_and_a_kept_result(
    file: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.with_name("page.html")
    assert report(file, compare=(directory, file), out=out, jobs=1) == 0
    page = out.read_text("utf-8")
    result = load(file).simulate()
    assert "Simulation report: minutes" in page
    assert result.decision_hash in page
    assert all(f'<th scope="col">{label}</th>' in page for label in ("minutes", "before", "minutes (2)"))
    assert "All of the workload was simulated for it." in page
    assert "rate_per_s: 5" in page
    assert capsys.readouterr().out.startswith(f"{out}: ")


def test_the_front_is_of_real_simulations(file: Path) -> None:
    scenario = load(file)
    run = make.run_of("x", scenario.simulate())
    plan = make.planned(scenario, run)
    assert plan.capacities_mb == [512, 1024]
    assert plan.seeds == [3, 4]
    own = scenario.altered({"policy.memory_mb": 512, "policy.keep_alive.name": "greedy-dual"})
    shares = [own.simulate(seed).cold_share for seed in plan.seeds]
    front = make.front(plan, jobs=1)
    point = next(point for point in front.points if (point.policy, point.capacity_mb) == ("greedy-dual", 512))
    assert point.cold.mean == pytest.approx(sum(shares) / 2)
    assert point.cold.low <= min(point.cold.mean, point.cold.high)


def test_a_scenario_keeps_the_parameters_of_its_own_policy(file: Path) -> None:
    file.write_text(SCENARIO.replace("seed", "  keep_alive: {name: fixed-ttl, ttl: 5 s}\nseed"))
    scenario = load(file)
    plan = make.planned(scenario, make.run_of("x", scenario.simulate()))
    assert plan.policies["fixed-ttl"] == ()
    assert set(plan.policies) == {"lru-ttl", "greedy-dual", "hybrid-histogram", "fixed-ttl"}


def test_a_long_workload_is_cut_for_the_front(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load(file)
    run = make.run_of("x", scenario.simulate())
    monkeypatch.setattr(make, "SWEEP_INVOCATIONS_MAX", len(run.invocations) * 6)
    plan = make.planned(scenario, run)
    assert plan.scenario.workload.length_s == pytest.approx(run.ended_ns / 2e9)
    assert "the first part of the workload, 29.9 s" in plan.scope


def test_a_kept_result_is_told_as_it_was(directory: Path) -> None:
    page = make.report(make.source(directory), with_front=False)
    assert "Simulation report: before" in page
    assert "It was cut short at 9 s." in page
    assert "Memory against cold starts" not in page
    assert kept.read(directory).facts.decision_hash in page


def test_a_cluster_is_told_by_node_and_by_way(file: Path) -> None:
    file.write_text(SCENARIO.replace("rate_per_s: 5", "rate_per_s: 40") + "cluster: {nodes: 2}\n")
    page = make.report(make.source(file), jobs=1)
    result = load(file).simulate()
    assert "2 nodes, balancer sharding; each: 1 GB" in page
    assert "Invocations by node, of 2" in page
    assert result.decision_hash in page
    assert "on the average" in page
    assert "of 2 GB." in page


def test_settings_alter_the_scenario(file: Path, tmp_path: Path) -> None:
    assert report(file, out=tmp_path / "page.html", no_front=True, given=Given(memory="512 MB", seed=8)) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "512 MB" in page
    assert load(file).altered({"policy.memory": "512 MB"}).simulate(8).decision_hash in page


def test_what_can_t_be_done_is_said(file: Path, directory: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="its settings can't be otherwise any more"):
        report(directory, given=Given(seed=8))
    with pytest.raises(SimulationError, match=r"holds no result of `sim run --out`"):
        report(tmp_path)
    with pytest.raises(SimulationError, match="there is no such file"):
        report(tmp_path / "none.yaml")
    with pytest.raises(SimulationError, match="can't be written"):
        report(file, out=tmp_path / "no" / "page.html", no_front=True)
    with pytest.raises(SimulationError, match="at most 7 others"):
        make.report(make.source(file), [make.source(file)] * 8, with_front=False)
    scenario = load(file)
    kept.write(tmp_path / "sums", scenario, scenario.simulate(streaming=True))
    with pytest.raises(SimulationError, match="sums: a report needs a row for each invocation"):
        report(tmp_path / "sums", no_front=True)

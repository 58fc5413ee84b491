"""A scenario as a measure gives the figures it has alone, draws its workload once, and is known by all it reads."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from sim.frames import summary
from sim.planning import ScenarioMeasure, scenarios
from sim.planning.task import Setting
from sim.scenario import Scenario, ScenarioError, load, of_settings

POISSON = {
    "workload": {"type": "poisson", "functions": 5, "rate_per_s": 20, "duration": "20 s", "run": "80 ms"},
    "policy": {"memory": "1 GB"},
    "node": {"failures": {"run": 0.02}},
}
TRACE = "app,func,end_timestamp,duration\n" + "".join(f"a,f{n % 3},{n + 1}.5,0.25\n" for n in range(50))


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    (tmp_path / "trace.csv").write_text(TRACE)
    path = tmp_path / "trace.yaml"
    path.write_text("workload: {type: trace, format: azure2021, path: trace.csv}\npolicy: {memory: 1 GB}\n")
    return path


@pytest.mark.parametrize(
    "changes", [{}, {"policy.memory": "512 MB"}, {"node.run": "10 ms"}, {"workload.rate_per_s": 30}]
)
def test_the_figures_are_those_of_the_scenario_alone(changes: dict[str, Setting]) -> None:
    measure = ScenarioMeasure(of_settings(POISSON))
    for seed in (3, 4, 3):
        assert measure(changes, seed) == summary(of_settings(POISSON).altered(changes).simulate(seed))


def test_runs_that_the_node_draws_are_drawn_as_ever() -> None:
    settings = {"workload": {"type": "poisson", "functions": 3, "duration": "30 s"}, "policy": {"memory": "1 GB"}}
    scenario = of_settings({**settings, "node": {"run": {"type": "exponential", "mean": "50 ms"}}})
    assert ScenarioMeasure(scenario)({}, 2) == summary(scenario.simulate(2))


def test_clusters_have_figures_of_their_own() -> None:
    scenario = of_settings({**POISSON, "cluster": {"nodes": 2}})
    measure = ScenarioMeasure(scenario)
    for changes in ({}, {"cluster.nodes": 3}):
        assert measure(changes, 2) == summary(scenario.altered(changes).simulate(2))
    assert measure.fingerprint != ScenarioMeasure(of_settings(POISSON)).fingerprint


def test_sums_instead_of_rows() -> None:
    scenario = of_settings(POISSON)
    assert ScenarioMeasure(scenario, streaming=True)({}, 2) == summary(scenario.simulate(2, streaming=True))


def builds(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Whose seeds workloads are made of, as it happens."""
    made: list[int | None] = []
    build = Scenario.build

    def counted(self: Scenario, seed: int | None = None) -> object:
        made.append(seed)
        return build(self, seed)

    monkeypatch.setattr(Scenario, "build", counted)
    return made


def test_a_workload_is_drawn_once_for_all_settings_that_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = builds(monkeypatch)
    measure = ScenarioMeasure(of_settings(POISSON))
    for seed in (1, 2):
        for memory in ("1 GB", "2 GB"):
            measure({"policy.memory": memory}, seed)
    assert made == [1, 2]
    measure({"workload.rate_per_s": 21}, 2)
    assert made == [1, 2, 2]


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = builds(monkeypatch)
    alone = {seed: ScenarioMeasure(of_settings(POISSON))({}, seed) for seed in (1, 2)}
    for limit, expected in ((500, [1, 2, 1]), (100, [1, 1, 2, 1])):  # room for one of them; for none
        made.clear()
        monkeypatch.setattr(scenarios, "KEPT_INVOCATIONS_MAX", limit)
        measure = ScenarioMeasure(of_settings(POISSON))
        for seed in (1, 1, 2, 1):
            assert measure({}, seed) == alone[seed]
        assert made == expected


def test_a_trace_is_read_once_for_all_seeds(traced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = builds(monkeypatch)
    measure = ScenarioMeasure(load(traced))
    assert measure({}, 1)["invocations"] == measure({}, 2)["invocations"] == 50
    assert made == [1]


def test_a_fingerprint_is_of_all_that_makes_figures(traced: Path) -> None:
    def fingerprint(**options: bool) -> str:
        return ScenarioMeasure(load(traced), **options).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert pickle.loads(pickle.dumps(ScenarioMeasure(load(traced)))).fingerprint == first
    assert fingerprint(streaming=True) != first
    os.utime(traced.parent / "trace.csv", ns=(0, 0))
    other_time = fingerprint()
    assert other_time != first
    traced.write_text(traced.read_text() + "# a comment\nseed: 7\n")
    assert fingerprint() == other_time, "the seed is the run's, and a comment nobody's"
    traced.write_text(traced.read_text().replace("1 GB", "2 GB"))
    assert fingerprint() != other_time


def test_a_setting_that_can_not_be_is_told() -> None:
    with pytest.raises(ScenarioError, match="no such setting"):
        ScenarioMeasure(of_settings(POISSON))({"policy.memroy": "1 GB"}, 1)


def test_the_oracle_is_told_the_future() -> None:
    workload = {"type": "poisson", "functions": 20, "rate_per_s": 5, "duration": "5 min"}
    measure = ScenarioMeasure(of_settings({"workload": workload, "policy": {"memory": "2 GB"}}))
    cold = {name: measure({"policy.keep_alive": name}, 1)["cold_share"] for name in ("lru-ttl", "oracle")}
    assert 0 < cold["oracle"] < cold["lru-ttl"]

"""Round trip: a simulation with known latencies writes a decision log, and its fit gives the latencies back."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from invoker.policy import policyset
from invoker.policy.pausing import FixedGrace
from invoker.policy.types import MILLISECOND_NS
from sim import Failures, Node, PoissonWorkload, SimFunction, SimulationError, simulate
from sim.fit import Fit, How, fit
from sim.latency import Constant, Empirical, Exponential, Gamma, Latency, Lognormal
from sim.node import DOCKER_SLOWDOWN
from sim.profile import STAGES
from sim.rng import sequence
from sim.traces import TraceError
from sim.traces.recorded import RecordedWorkload, recorded

MS = MILLISECOND_NS
OWN = Lognormal(30.0 * MS, 0.3)
FUNCTIONS = (
    SimFunction(name="ns/own", memory_mb=128, run=OWN, init=Gamma(2.0 * MS, 6.0)),
    *(SimFunction(name=f"ns/f{n}", memory_mb=128 + 128 * (n % 2)) for n in range(12)),
    SimFunction(name="ns/rare", memory_mb=128),
)
NODE = Node(
    cold=Lognormal(240.0 * MS, 0.2),
    init=Constant(5 * MS),
    run=Exponential(90.0 * MS),
    logs=Constant(2 * MS),
    pause=Gamma(0.1 * MS, 4.0),
    thaw=Exponential(0.6 * MS),
    remove=Lognormal(60.0 * MS, 0.4),
    slowdown=DOCKER_SLOWDOWN,
    failures=Failures(start=0.05, init=0.04, run=0.03, pause=0.02, thaw=0.06, remove=0.0),
)
POLICY = msgspec.structs.replace(policyset.default(1536), pausing=FixedGrace(20 * MS))
RATES = (2.0, *[0.3] * 12, 0.005)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "decisions-simulated-5-00001.jsonl"
    simulate(PoissonWorkload(FUNCTIONS, RATES, 8000, 2), NODE, POLICY, 5, decision_log=path)
    return path


@pytest.fixture(scope="module")
def best(log: Path) -> Fit:
    return fit([log], logs_ns=2 * MS)


@pytest.fixture(scope="module", params=get_args(How))
def node(log: Path, request: pytest.FixtureRequest) -> Node:
    return fit([log], request.param).profile.node()


def quantiles(latency: Latency) -> list[int]:
    source = sequence(1, "quantiles")
    drawn = sorted(latency.draw(source) for _ in range(20_000))
    return [drawn[int(share * len(drawn))] for share in (0.1, 0.5, 0.9, 0.99)]


@pytest.mark.parametrize("stage", ["cold", "pause", "thaw", "remove"])
def test_the_quantiles_of_a_stage_are_given_back(node: Node, stage: str) -> None:
    assert quantiles(getattr(node, stage)) == pytest.approx(quantiles(getattr(NODE, stage)), rel=0.12)


def test_runs_and_initialisations_are_the_functions_own(best: Fit) -> None:
    own, pooled, rare = best.profile.apply((SimFunction(name="ns/own"), SimFunction(name="ns/f1"), FUNCTIONS[-1]))
    assert own.run is not None
    assert own.init is not None
    assert pooled.run is not None
    assert quantiles(own.run) == pytest.approx(quantiles(OWN), rel=0.12)
    assert quantiles(own.init) == pytest.approx(quantiles(Gamma(2.0 * MS, 6.0)), rel=0.12)
    assert quantiles(pooled.run) == pytest.approx(quantiles(NODE.run), rel=0.25)
    assert pooled.init == Constant(5 * MS)
    assert rare.run is None, "it ran too seldom"
    assert isinstance(best.profile.apply((FUNCTIONS[0],))[0].run, Lognormal), "what a function says itself stays"
    assert best.profile.apply((FUNCTIONS[0],))[0].run == OWN


def test_runs_hold_their_logs_unless_told(log: Path, best: Fit) -> None:
    whole = fit([log]).profile
    shorter, longer = best.profile.functions["ns/ns/own@0.0.1"].run, whole.functions["ns/ns/own@0.0.1"].run
    assert shorter is not None
    assert longer is not None
    assert longer.p50_ns - shorter.p50_ns == 2 * MS
    assert best.profile.node().logs == Constant(2 * MS)
    assert whole.node().logs == Constant(0)


def test_the_slowdown_is_given_back(best: Fit) -> None:
    assert best.profile.slowdown is not None
    assert best.profile.slowdown[:4] == pytest.approx(DOCKER_SLOWDOWN[:4], rel=0.1)
    assert sum(best.starts_ended) == best.profile.stages["cold"].n


def test_the_shares_of_failures_are_given_back(best: Fit) -> None:
    for name in Failures.__struct_fields__:
        assert getattr(best.profile.failures, name) == pytest.approx(getattr(NODE.failures, name), abs=0.02), name
    assert best.profile.failures.remove == 0.0


def test_the_rate_of_deaths_is_given_back(tmp_path: Path) -> None:
    mortal = Node(run=Constant(300 * MS), failures=Failures(deaths_per_hour=120.0))
    workload = PoissonWorkload(FUNCTIONS[1:5], (0.5,) * 4, 3000, 2)
    simulate(workload, mortal, policyset.default(4096), 5, decision_log=tmp_path / "log.jsonl")
    failures = fit([tmp_path / "log.jsonl"]).profile.failures
    assert failures.deaths_per_hour == pytest.approx(120.0, rel=0.25)
    assert failures.run > 0.0, "some died under a run"


def test_the_same_log_gives_the_same_profile_and_samples_are_few(log: Path, best: Fit) -> None:
    assert fit([log], logs_ns=2 * MS).profile == best.profile
    samples = fit([log], "samples").profile.stages["run"].latency
    assert isinstance(samples, Empirical)
    assert len(samples.samples_ns) == 512


def test_a_simulation_on_the_profile_comes_to_the_same(log: Path, best: Fit) -> None:
    real = simulate(PoissonWorkload(FUNCTIONS, RATES, 8000, 2), NODE, POLICY, 5)
    run = recorded(log)
    workload = RecordedWorkload(run, best.profile.apply(run.functions.known))
    again = simulate(workload, best.profile.node(), POLICY, 6)
    assert again.cold_share == pytest.approx(real.cold_share, rel=0.1)
    assert again.latency_ns(0.5) == pytest.approx(real.latency_ns(0.5), rel=0.1)
    assert again.latency_ns(0.99) == pytest.approx(real.latency_ns(0.99), rel=0.2)


def test_several_runs_are_pooled(log: Path, tmp_path: Path, best: Fit) -> None:
    other = tmp_path / "decisions-simulated-9-00001.jsonl"
    simulate(PoissonWorkload(FUNCTIONS, RATES, 500, 3), NODE, POLICY, 9, decision_log=other)
    both = fit([log, tmp_path], logs_ns=2 * MS).profile
    assert [source.invocations for source in both.sources] == [8000, 500]
    assert both.stages["run"].n > best.profile.stages["run"].n
    assert set(both.functions) == set(best.profile.functions)


def test_thin_data_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    simulate(PoissonWorkload(FUNCTIONS[:2], (1.0, 1.0), 40, 3), Node(), policyset.default(2048), 9, decision_log=path)
    with path.open("ab") as file:
        file.write(b'[1,["Run')
    thin = fit([path])
    told = "\n".join(thin.warnings)
    assert "an incomplete last line: log.jsonl:" in told
    assert "remove: the log has none; a node keeps what it has there" in told
    assert "its 99th percentile is little more than the longest of them" in told
    assert "starts did not overlap enough" in told
    assert "2 of 2 functions ran fewer than 30 times" in told
    assert thin.profile.node().remove == Node().remove
    assert set(thin.profile.stages) < set(STAGES)


def test_what_cannot_be_fitted_is_told(tmp_path: Path) -> None:
    header = {"decisions": 1, "run": "1", "part": 1, "started_ns": 0, "policies": policyset.default(256)}
    (tmp_path / "empty.jsonl").write_bytes(msgspec.json.encode(header) + b"\n")
    with pytest.raises(SimulationError, match="nothing ran in these decision logs"):
        fit([tmp_path / "empty.jsonl"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceError, match=r"there is no decision log in .*empty"):
        fit([tmp_path / "empty"])
    with pytest.raises(TraceError, match=r"nowhere can't be read"):
        fit([tmp_path / "nowhere"])

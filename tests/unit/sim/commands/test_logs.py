"""`sim fit` and `sim replay`: what they print of a simulated log, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invoker.commands.exit_codes import ExitCode
from invoker.policy import policyset
from invoker.policy.keepalive import FixedTtl, GreedyDual, LruTtl
from invoker.policy.pausing import FixedGrace
from invoker.policy.types import MILLISECOND_NS, MINUTE_NS, SECOND_NS
from sim import Failures, Node, PoissonWorkload, SimFunction, SimulationError, simulate
from sim.commands.fit import fit
from sim.commands.replay import keep_alive_of, replay
from sim.latency import Exponential
from sim.profile import load
from sim.traces import TraceError

FUNCTIONS = tuple(SimFunction(name=f"ns/f{n}", memory_mb=128) for n in range(10))
NODE = Node(run=Exponential(80e6), failures=Failures(run=0.05))
POLICY = msgspec.structs.replace(policyset.default(768), pausing=FixedGrace(50 * MILLISECOND_NS))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "log.jsonl"
    simulate(PoissonWorkload(FUNCTIONS, (1.0,) * 9 + (0.05,), 1500, 1), NODE, POLICY, 5, decision_log=path)
    return path


def test_a_fit_is_told_and_written(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(log, output=tmp_path / "profile.yaml")
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("1,500 invocations in 1 run, ")
    head = next(line for line in told if line.startswith("stage"))
    assert head.split() == ["stage", "taken", "as", "n", "p50", "p99", "KS"]
    run = next(line for line in told if line.startswith("run"))
    assert "exponential" in run
    assert any(line.split() == ["1", *line.split()[1:2], "1.00"] for line in told), "starts at once"
    assert any(line.startswith("failed: run ") for line in told)
    assert "functions: 10; with a latency of their own: cold 9, init 9, run 9" in told
    assert "! 1 of 10 functions ran fewer than 30 times: for them the node's run holds" in told
    assert told[-1] == f"written to {tmp_path / 'profile.yaml'}"
    assert isinstance(load(tmp_path / "profile.yaml").node().run, Exponential)


def test_a_fit_for_programs(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(log, how="samples", json=True, output=tmp_path / "profile.json")
    told = json.loads(capsys.readouterr().out)
    assert told["profile"] == json.loads((tmp_path / "profile.json").read_text())
    assert told["profile"]["stages"]["run"]["latency"]["type"] == "empirical"
    assert sum(told["starts_ended"]) == told["profile"]["stages"]["cold"]["n"]
    assert told["warnings"]


def test_options_of_a_fit_that_cannot_be_are_told(log: Path) -> None:
    with pytest.raises(SimulationError, match="--samples-min is a count from 1 on"):
        fit(log, samples_min=0)
    with pytest.raises(SimulationError, match="--logs-ms milliseconds from 0"):
        fit(log, logs_ms=-1)


def test_a_replay_is_told(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(log, memory=["1 GB", "2 GB"], keep_alive=["greedy-dual"], pause_grace=["never"]) == ExitCode.OK
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("identical: ")
    columns = [
        "recorded",
        "simulated",
        "1 GB, greedy-dual ttl 15m, never pause",
        "2 GB, greedy-dual ttl 15m, never pause",
    ]
    places = [told[2].index(column) for column in columns]
    assert places == sorted(places)
    rows = {line[:17].strip(): line[17:].split() for line in told[3:18]}
    assert rows["thawed"][2:] == ["0", "0"]
    assert int(rows["cold"][2].replace(",", "")) > int(rows["cold"][3].replace(",", ""))
    assert len(rows["started otherwise"]) == 3
    assert len(rows["by the policy"]) == 2
    assert any(line.startswith("the model's error (simulated against recorded): cold ") for line in told)


def test_a_replay_for_programs(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(log, memory=["4 GB"], json=True) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert told["replay"]["difference"] is None
    assert [column["name"] for column in told["columns"]] == ["recorded", "simulated", "4 GB"]
    assert told["columns"][0]["figures"]["cold"] > told["columns"][2]["figures"]["cold"]


def test_a_difference_is_told_and_the_what_if_still_given(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = log.read_text().replace('["Start",1,["python:3",128]', '["Start",1,["python:3",129]', 1)
    (tmp_path / "log.jsonl").write_text(text)
    assert replay(tmp_path / "log.jsonl") == ExitCode.DIFFERENT
    told = capsys.readouterr().out
    assert told.startswith("different: ")
    assert "decided now:" in told
    assert "recorded  simulated" in told


def test_keep_alives_are_read_with_their_parameters() -> None:
    assert keep_alive_of("greedy-dual", POLICY) == GreedyDual(ttl_ns=15 * MINUTE_NS), "as long as the recorded one"
    assert keep_alive_of("fixed-ttl:ttl=20min", POLICY) == FixedTtl(ttl_ns=20 * MINUTE_NS)
    assert keep_alive_of("lru-ttl:ttl_ns=90s, tick=1 s", POLICY) == LruTtl(ttl_ns=90 * SECOND_NS, tick_ns=SECOND_NS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_alive": ["gdfs"]}, "--keep-alive gdfs: there is no keep-alive policy 'gdfs'; there are lru-ttl, "),
        ({"keep_alive": ["size:tll=3s"]}, "--keep-alive size:tll=3s: size has no parameter 'tll'; it has ttl_ns"),
        ({"keep_alive": ["size:ttl"]}, "--keep-alive size:ttl: 'ttl' has no value; write size:ttl=VALUE"),
        ({"keep_alive": ["size:ttl=soon"]}, "--keep-alive: ttl_ns .*'soon'"),
        ({"memory": ["much"]}, "--memory .*'much'"),
        ({"pause_grace": ["later"]}, "--pause-grace .*'later'"),
    ],
)
def test_options_of_a_replay_that_cannot_be_are_told(log: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        replay(log, **options)


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n")
    for command in (fit, replay):
        with pytest.raises(TraceError, match=r"notes.txt is no decision log"):
            command(tmp_path / "notes.txt")

"""`sim sweep`, `capacity`, `compare` and `bench` as a person and a program meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from invoker.commands.exit_codes import ExitCode
from sim import benchmark, frames
from sim.cli import main
from sim.commands import effort
from sim.scenario import load

SCENARIO = """\
workload: {type: poisson, functions: 20, rate_per_s: 10, duration: 40 s, run: 200 ms}
policy: {memory: 3 GB}
"""
GRID = ("--grid", "policy.memory=1GB,2GB", "--grid", "policy.keep_alive=lru-ttl,greedy-dual")
ONE = ("--jobs", "1")


@pytest.fixture
def day(tmp_path: Path) -> Path:
    path = tmp_path / "day.yaml"
    path.write_text(SCENARIO, "utf-8")
    return path


def _told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(arguments) == code
    told = capsys.readouterr()
    return told.out, told.err


def _json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    return json.loads(_told(capsys, *arguments, "--json", code=code)[0])


def test_a_sweep_for_people(day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = _told(capsys, "sweep", str(day), *GRID, *ONE, "--seeds", "3", "--out", str(tmp_path / "out"))
    lines = out.splitlines()
    heads = ["policy.memory", "policy.keep_alive", "seeds", "cold_share"]
    assert lines[0].split()[:4] == heads
    assert [line.split()[:3] for line in lines[1:5]] == [
        [memory, policy, "3"] for memory in ("1GB", "2GB") for policy in ("lru-ttl", "greedy-dual")
    ]
    assert "Means over the seeds, with 99 % intervals" in out
    assert "runs.parquet, runs.csv, means.parquet, means.csv" in err
    runs = pd.read_parquet(tmp_path / "out" / "runs.parquet")
    assert len(runs) == 12
    alone = frames.summary(load(day).altered({"policy.memory": "2GB"}).simulate(1))
    row = runs[(runs["policy.memory"] == "2GB") & (runs["policy.keep_alive"] == "lru-ttl") & (runs["seed"] == 1)]
    assert {name: row[name].iloc[0] for name in alone} == alone
    again = _told(capsys, "sweep", str(day), *GRID, *ONE, "--seeds", "3", "--out", str(tmp_path / "out"))
    assert again[0] == out
    assert "(12 of the runs were there before)" in again[1]
    changed = ("--set", "node.cpus=2")
    warned = _told(capsys, "sweep", str(day), *GRID, *ONE, *changed, "--seeds", "1", "--out", str(tmp_path / "out"))
    assert "12 runs in " in warned[1]
    assert "are of another scenario or version, and don't count here" in warned[1]


def test_a_sweep_for_programs(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _json(capsys, "sweep", str(day), "--grid", "node.cpus=1,2", *ONE, "--seeds", "2")
    assert (told["seeds"], told["failures"], told["interrupted"]) == ([0, 1], [], False)
    assert [row["node.cpus"] for row in told["means"]] == [1, 2]
    assert told["means"][0]["mean_ms"] > told["means"][1]["mean_ms"]


def test_a_configuration_that_can_not_be_is_told_by_name(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = _told(capsys, "sweep", str(day), "--grid", "policy.keep_alive=lru-ttl,lru", *ONE, "--seeds", "1", code=1)
    assert "failed: policy.keep_alive=lru, seed 0: " in err
    assert "lru-ttl" in out.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sweep", "--grid", "node.cpus"), "is no grid: write PATH=VALUE"),
        (("sweep", "--grid", "node.cpus=1", "--seeds", "0"), "seeds must be one or more"),
        (("sweep", "--grid", "node.cpus=1", "--dask", "tcp://127.0.0.1:1"), "no Dask scheduler with workers answers"),
        (("sweep", "--grid", "node.cpus=1", "--figures", "colds", *ONE, "--seeds", "1"), "no figure 'colds'"),
        (("capacity", "--target", "cold_share<1", *ONE), "is no target: write FIGURE<=NUMBER"),
        (("capacity", "--target", "cold_share<=1%", "--between", "1..2GB", *ONE), "with one kind of unit"),
        (("capacity", "--target", "cold_share<=1%", "--out", "a.txt", *ONE), "ends in .parquet or .csv"),
        (("compare", *ONE), "name two at least: --keep-alive lru-ttl,greedy-dual"),
        (("compare", "--keep-alive", "lru-ttl,greedy-dul", *ONE), "did you mean greedy-dual?"),
    ],
)
def test_mistakes_are_told(
    day: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = _told(capsys, arguments[0], str(day), *arguments[1:], code=ExitCode.REFUSED)
    assert told in err
    assert "Traceback" not in err


def test_how_much_memory_is_enough(day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = ("--target", "cold_share<=12%", "--between", "1GB..8GB", "--step", "256MB", "--seeds", "5")
    table = tmp_path / "tried.csv"
    out, err = _told(capsys, "capacity", str(day), *target, *ONE, "--out", str(table))
    told = _json(capsys, "capacity", str(day), *target, *ONE)
    assert out.splitlines()[0].endswith(" GB is the smallest policy.memory with cold_share <= 12.0 %.")
    assert sum(line.endswith("yes, the answer") for line in out.splitlines()) == 1
    assert "tried 8 GB, 1 seed: cold_share " in err
    assert out.startswith(f"{told['answer'] / 1024:g} GB ")
    tried = {row["value"]: row for row in told["tried"]}
    assert tried[told["answer"]]["cold_share_high"] <= 0.12 < tried[told["answer"] - 256]["cold_share_high"]
    assert list(pd.read_csv(table)["value"]) == list(tried)


def test_what_can_not_be_met_is_told_and_the_exit_code_says_so(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--between", "1GB..2GB", "--seeds", "3", *ONE)
    out, _ = _told(capsys, "capacity", str(day), "--target", "cold_share<=0", *few, code=1)
    assert out.startswith("No policy.memory from 1 GB to 2 GB surely has cold_share <= 0 %.")
    assert "Note: not even policy.memory 2 GB is surely enough" in out


def test_policies_held_against_each_other(day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--keep-alive", "lru-ttl,greedy-dual,oracle", "--seeds", "4", "--figures", "cold_share,p99_ms")
    out, _ = _told(capsys, "compare", str(day), *chosen, *ONE, "--out", str(tmp_path / "out"))
    told = _json(capsys, "compare", str(day), *chosen, *ONE)
    assert out.splitlines()[0].split("  ")[0] == "cold_share"
    assert "against lru-ttl" in out
    assert ("of the oracle's gain" in out) == bool(told["oracle_share"])
    assert "4 seeds, the same for all; differences are paired" in out
    assert [row["variant"] for row in told["differences"]] == ["greedy-dual"] * 2 + ["oracle"] * 2
    frame = pd.read_parquet(tmp_path / "out" / "differences.parquet")
    assert frame["difference"].tolist() == pytest.approx([row["difference"] for row in told["differences"]])


def test_any_setting_can_be_held_against_itself(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vary = ("--vary", "policy.memory=1GB,2GB", "--keep-alive", "greedy-dual", "--seeds", "1")
    told = _json(capsys, "compare", str(day), *vary, *ONE)
    assert told["variants"] == ["1GB", "2GB"]
    assert told["scenario"]["policy"]["keep_alive"] == "greedy-dual"
    assert "One seed: nothing can be said about what is luck" in _told(capsys, "compare", str(day), *vary, *ONE)[0]


def test_bench_prints_rates_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cases = benchmark.cases
    monkeypatch.setattr(benchmark, "cases", lambda _count: cases(1000))
    figures = _json(capsys, "bench")
    assert list(figures)[:2] == ["fast", "fast_large"]
    assert {"fast", "simpy"} <= set(figures)
    assert all(isinstance(value, (int, float)) and value > 0 for value in figures.values())
    assert "invocations a second" in _told(capsys, "bench")[0]
    sweep_s = benchmark.sweep_s
    monkeypatch.setattr(benchmark, "sweep_s", lambda: sweep_s(20, jobs=1))
    assert _json(capsys, "bench", "--sweep").keys() == {"sweep_s"}
    assert "100 configurations of 100,000 invocations" in _told(capsys, "bench", "--sweep")[0]


@pytest.mark.parametrize(
    ("figure", "mean", "low", "high", "told"),
    [
        ("cold_share", 0.0184, 0.0175, 0.0193, "1.8 % ±0.09"),
        ("p99_ms", 250.0, 240.0, 260.0, "250 ms ±10"),
        ("p99_ms", 2500.0, 2400.0, 2600.0, "2.5 s ±100 ms"),
        ("mean_memory_mb", 2048.0, 2048.0, 2048.0, "2 GB"),
        ("of_it_share", -0.264, -0.48, -0.047, "-26.4 % ±21.6"),
        ("starts", 12345.0, float("nan"), float("nan"), "12,345"),
    ],
)
def test_figures_with_intervals(figure: str, mean: float, low: float, high: float, told: str) -> None:
    assert effort.with_interval(figure, mean, low, high).replace("0.090", "0.09") == told


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    day.write_text(SCENARIO.replace("40 s", "10 min"))
    command = [sys.executable, "-m", "sim", "sweep", str(day), *GRID, "--seeds", "6", "--jobs", "2", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal = out / "journal.jsonl"
    until_s = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 1) and time.monotonic() < until_s:
        assert process.poll() is None, process.communicate()
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    done = journal.read_bytes().count(b"\n")
    assert (process.returncode, "Traceback" in err) == (ExitCode.INTERRUPTED, False), err
    assert f"stopped with {done} of 24 runs; the same command goes on from there" in err
    assert len(pd.read_csv(out / "runs.csv")) == done < 24

"""`sim trace`: described, cleaned, converted and made, with what was dropped told; mistakes are sentences."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sim.cli import main
from sim.commands import present
from sim.description import describe
from sim.scenario import load
from sim.traces import formats

DIRTY = "app,func,end_timestamp,duration\na,f,10.5,0.5\na,,11,1\na,g,soon,1\na,g,12,1\nb,h,3700,2\n"


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    path = tmp_path / "dirty.csv"
    path.write_text(DIRTY, "utf-8")
    return path


def _told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(["trace", *arguments]) == code
    told = capsys.readouterr()
    return told.out, told.err


def test_a_trace_is_described_with_what_was_dropped(dirty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = _told(capsys, "describe", f"azure2021:{dirty}")
    assert out.startswith("3 functions, 3 of them called; 3 invocations in 61.6 min")
    assert "5 rows read, 3 kept, 0 mendings" in out
    assert "dropped 1: no instant (dirty.csv:4)" in out
    told: dict[str, Any] = json.loads(_told(capsys, "describe", f"azure2021:{dirty}", "--json")[0])
    assert (told["invocations"], told["cleaning"]["kept"]) == (3, 3)
    assert told["cleaning"]["dropped"] == {"no instant": 1, "no app or function": 1}


def test_a_scenarios_workload_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day.yaml"
    path.write_text("workload: {type: poisson, duration: 2 min}\npolicy: {memory: 1 GB}\n", "utf-8")
    told = json.loads(_told(capsys, "describe", str(path), "--json")[0])
    assert told["invocations"] == describe(load(path).build()).invocations
    assert (told["cleaning"], told["drawn_share"]) == (None, 1.0)
    assert "runs that the simulated node draws: 100 %" in _told(capsys, "describe", str(path))[0]


def test_the_day_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day.yaml"
    path.write_text("workload: {type: azure-like, rate_per_s: 0.5, functions: 50}\npolicy: {memory: 1 GB}\n", "utf-8")
    out, _ = _told(capsys, "describe", str(path))
    day = next(line for line in out.splitlines() if line.startswith("the day"))
    assert "█" in day
    assert "times the quietest" in day
    assert "trigger " in out


def test_a_trace_is_cleaned(dirty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = _told(capsys, "clean", f"azure2021:{dirty}", str(dirty.parent / "clean.csv"))
    assert out.startswith("5 rows read, 3 kept")
    assert "3 rows or invocations written to" in err
    assert _told(capsys, "clean", f"azure2021:{dirty.parent}/clean.csv")[0] == "3 rows read, 3 kept, 0 mendings\n"
    report = json.loads(_told(capsys, "clean", f"azure2021:{dirty}", "--json")[0])
    assert (report["rows"], report["kept"]) == (5, 3)


def test_a_part_of_a_trace_is_converted(dirty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = dirty.parent / "part"
    _, err = _told(capsys, "convert", f"azure2021:{dirty}", f"iluvatar:{target}", "--head", "1 h", "--memory", "512 MB")
    assert "dropped 1: no instant" in err
    with formats.read("iluvatar", target) as trace:
        assert [function.memory_mb for function in trace.functions] == [512, 512, 512]
        assert sum(len(block.at_ns) for block in trace.blocks()) == 2


@pytest.mark.parametrize("form", ["azure2021", "azure2019", "opendc"])
def test_a_workload_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    target = f"{form}:{tmp_path}/made"
    _told(capsys, "generate", target, "--functions", "30", "--rate", "2", "--minutes", "3", "--seed", "5")
    found = json.loads(_told(capsys, "describe", target, "--json")[0])
    assert found["invocations"] > 50
    assert found["cleaning"]["dropped"] == {}


def test_drawn_runs_are_written_as_they_would_be_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, made = tmp_path / "day.yaml", tmp_path / "made.csv"
    run = "{type: exponential, mean: 50 ms}"
    path.write_text(f"workload: {{type: poisson, duration: 20 s, run: {run}}}\npolicy: {{memory: 8 GB}}\n", "utf-8")
    _told(capsys, "generate", f"azure2021:{made}", str(path), "--seed", "3")
    columns = load(path).simulate(3).columns
    assert columns is not None
    with formats.read("azure2021", made) as trace:
        runs = [run for block in trace.blocks() for run in block.run_ns]
    assert runs == [ended - began for began, ended in zip(columns.began_ns, columns.ended_ns, strict=True)]


def test_ctrl_c_leaves_a_whole_shorter_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = present.Watch.passed

    def interrupted(self: present.Watch, at_ns: int) -> bool:
        if at_ns > 30e9 and self.cut_short_ns is None:
            os.kill(os.getpid(), signal.SIGINT)
        return passed(self, at_ns)

    monkeypatch.setattr(present.Watch, "passed", interrupted)
    path, made = tmp_path / "day.yaml", tmp_path / "made.csv"
    path.write_text("workload: {type: poisson, rate_per_s: 20, duration: 2 min}\npolicy: {memory: 1 GB}\n", "utf-8")
    err = _told(capsys, "generate", f"azure2021:{made}", str(path), code=130)[1]
    assert "cut short at 3" in err
    with formats.read("azure2021", made) as trace:
        assert trace.report.dropped == {}
        assert 29e9 < max(block.at_ns[-1] for block in trace.blocks()) < 40e9


def test_mistakes_are_sentences(dirty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in (
        (["describe", str(dirty)], "write a trace as FORMAT:PATH, as azure2021:trace.csv, or a scenario's file"),
        (["describe", f"azure:{dirty}"], "workload.format is 'azure'; it can be azure2019, azure2021, "),
        (["describe", f"azure2021:{dirty}", "--spread", "wide"], "workload.spread is 'wide'; it can be even, start"),
        (["describe", f"azure2021:{dirty}", "--memory", "256"], "workload.memory is 256 without a unit"),
        (["describe", "azure2021:none.csv"], "none.csv can't be read"),
        (["convert", f"azure2021:{dirty}", "mine.csv"], "write where to as FORMAT:PATH, as azure2021:mine.csv"),
        (
            ["convert", f"azure2021:{dirty}", "decisions:x"],
            "decisions can't be written: a log is written by the invoker",
        ),
        (["convert", f"azure2021:{dirty}", "azure2020:x"], "there is no trace format 'azure2020' to write"),
        (["convert", f"azure2021:{dirty}", f"azure2021:{dirty.parent}/no/x"], "can't be written: No such file"),
    ):
        err = _told(capsys, *arguments, code=65)[1]
        assert told in err, err

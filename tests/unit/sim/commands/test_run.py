"""`sim run` as a person and a program meet it: words, JSON, files, mistakes, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from invoker.commands.exit_codes import ExitCode
from sim import SimulationError, frames, kept
from sim.cli import MEANINGS, main
from sim.commands import given, present
from sim.scenario import Scenario, load

SCENARIO = """\
workload: {type: poisson, functions: 5, rate_per_s: 20, duration: 30 s, run: 80 ms, memory: 300 MB}
policy: {memory: 1200 MB, queue_limit: 12}
node: {failures: {run: 0.01}}
"""


@pytest.fixture
def day(tmp_path: Path) -> Path:
    path = tmp_path / "day.yaml"
    path.write_text(SCENARIO, "utf-8")
    return path


def _told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(arguments) == code
    told = capsys.readouterr()
    return told.out, told.err


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    return json.loads(_told(capsys, *arguments, "--json")[0])


def test_a_table_for_people(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = _told(capsys, "run", str(day))
    lines = out.splitlines()
    assert lines[0] == f"{day}: poisson, 5 functions, seed 0"
    assert lines[1].startswith("one node: 1.17 GB, CPU for all; keep-alive lru-ttl, ")
    figures = frames.summary(load(day).simulate())
    told = {line.split()[0]: line.split()[1] for line in lines if line.startswith("  ")}
    for kind in ("cold", "warm", "thawed", "failed"):
        assert told[kind] == f"{figures[kind]:,}"
    assert told["refused:"] == "queue"
    assert f"refused: queue full {figures['refused']:,} " in " ".join(out.split())
    assert present.span(figures["p99_ms"]) in out
    assert all(len(line) <= 110 for line in lines)
    assert "invocations a second" in err


def test_a_cluster_is_told_and_kept(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--set", "cluster.nodes=3", "--set", "cluster.balancer=least-loaded", "--memory", "600 MB")
    out, _ = _told(capsys, "run", str(day), *arguments, "--out", str(day.parent / "kept"))
    assert "3 nodes, each: 600 MB, CPU for all; keep-alive lru-ttl" in out
    assert "1 controller, balancer least-loaded" in out
    assert "went by topics; something was in them for" in out
    assert "balance     the busiest node ran 1." in out
    found = kept.read(day.parent / "kept")
    assert found.timeline is None
    assert found.invocations is not None
    assert {0, 1, 2} == set(found.invocations["node"])
    assert found.summary["overflow_share"] > 0
    err = _told(capsys, "run", str(day), *arguments, "--streaming", code=ExitCode.REFUSED)[1]
    assert err == "sim: a cluster is simulated without streaming\n"


def test_json_for_programs(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _json(capsys, "run", str(day), "--seed", "2")
    result = load(day).simulate(2)
    assert told["summary"] == frames.summary(result)
    assert (told["seed"], told["decision_hash"], told["cut_short_ns"]) == (2, result.decision_hash, None)
    assert told["scenario"]["seed"] == 2
    assert told["policy"]["capacity_mb"] == 1200


def test_options_alter_the_file_and_stand_without_one(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = ("--memory", "2 GB", "--keep-alive", "greedy-dual", "--set", "policy.keep_alive.ttl=1 min", "--rate", "5")
    told = _json(capsys, "run", str(day), *changed)
    assert told["policy"]["capacity_mb"] == 2048
    assert told["policy"]["keep_alive"] == {"type": "greedy-dual", "ttl_ns": 60_000_000_000}
    assert told["scenario"]["workload"]["rate_per_s"] == 5
    alone = _json(
        capsys, "run", "--functions", "20", "--rate", "3", "--minutes", "1", "--memory", "4 GB", "--cpus", "2"
    )
    assert alone["scenario"] == {
        "workload": {"type": "azure-like", "functions": 20, "rate_per_s": 3, "duration": "1 min"},
        "policy": {"memory": "4 GB"},
        "node": {"cpus": 2},
    }


def test_a_trace_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "mine.csv"
    trace.write_text("app,func,end_timestamp,duration\na,f,10.5,0.5\na,g,11,1\na,g,soon,1\n", "utf-8")
    out, err = _told(capsys, "run", "--trace", f"azure2021:{trace}", "--memory", "1 GB", "--json")
    assert json.loads(out)["summary"]["invocations"] == 2
    assert err.startswith("3 rows read, 2 kept, 0 mendings; `sim trace clean` tells why\n")
    err = _told(capsys, "run", "--trace", str(trace), code=ExitCode.REFUSED)[1]
    assert "write the format before it, as azure2021:" in err


def test_mistakes_are_sentences(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, told in (
        (["run", str(day), "--set", "node.cpu=4"], 65, "node.cpu=4: node.cpu: no such setting; did you mean cpus?"),
        (["run", str(day), "--set", "node.cpus"], 65, "--set node.cpus: is no setting; write it as node.cpus=4"),
        (["run", str(day), "--set", "node.cpus=[1"], 65, "[1: is no value: "),
        (["run", "none.yaml"], 65, "none.yaml: there is no such file"),
        (["run", str(day), "--sed", "4"], 64, "`sim --help` shows the commands"),
        (["run", str(day), "--decision-log", str(day.parent)], 65, "can't be written: Is a directory"),
        (["run", str(day), "--out", str(day)], 65, "can't be written: File exists"),
    ):
        err = _told(capsys, *arguments, code=code)[1]
        assert told in err, err
        assert "Traceback" not in err


def test_files_hold_the_frames_and_say_what_their_columns_are(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = day.parent / "kept" / "deep"
    err = _told(capsys, "run", str(day), "--seed", "4", "--out", str(directory))[1]
    result = load(day).simulate(4)
    found = kept.read(directory)
    pd.testing.assert_frame_equal(found.invocations, frames.invocations(result))
    pd.testing.assert_frame_equal(found.functions, frames.functions(result))
    assert found.summary == frames.summary(result)
    assert found.timeline is not None
    assert list(found.timeline.columns) == list(kept.TIMELINE_COLUMNS)
    assert (found.facts.decision_hash, found.facts.policy) == (result.decision_hash, result.policy)
    assert load(directory / kept.SCENARIO).simulate().decision_hash == result.decision_hash
    for name, columns in ((kept.INVOCATIONS, frames.INVOCATION_COLUMNS), (kept.SUMMARY, frames.SUMMARY_FIGURES)):
        for field in parquet.read_schema(directory / name):
            assert field.metadata[b"description"].decode() == columns[field.name]
        assert name in err
    assert {path.name for path in directory.iterdir()} == {
        kept.INVOCATIONS, kept.FUNCTIONS, kept.SUMMARY, kept.TIMELINE, kept.SCENARIO, kept.FACTS
    }  # fmt: skip


def test_the_same_run_makes_the_same_files(day: Path) -> None:
    written: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        assert main(["run", str(day), "--out", str(day.parent / name), "--json"]) == 0
        written.append({path.name: path.read_bytes() for path in (day.parent / name).iterdir()})
    assert written[0] == written[1]


def test_sums_leave_no_rows_of_an_older_result(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = day.parent / "kept"
    for more in ([], ["--streaming"]):
        _told(capsys, "run", str(day), "--out", str(directory), *more)
    found = kept.read(directory)
    assert found.invocations is None
    assert found.functions is None
    assert found.summary["invocations"] > 0


def test_what_is_no_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="holds no result of `sim run --out`"):
        kept.read(tmp_path)


@pytest.mark.parametrize("keep_alive", ["lru-ttl", "oracle"])
def test_ctrl_c_keeps_what_is_done(
    day: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, keep_alive: str
) -> None:
    """SIGINT comes when 10 s are simulated: what arrived until then is settled, told and written, as of a short run."""
    simulate, seen = Scenario.simulate, []

    def interrupted(self: Scenario, *, passed: Any, **options: Any) -> Any:
        def wrapped(at_ns: int) -> bool:
            if at_ns > 10e9 and not seen:
                seen.append(at_ns)
                os.kill(os.getpid(), signal.SIGINT)
            return passed(at_ns)

        return simulate(self, passed=wrapped, **options)

    monkeypatch.setattr(Scenario, "simulate", interrupted)
    before, directory = signal.getsignal(signal.SIGINT), day.parent / "kept"
    out, _ = _told(capsys, "run", str(day), "--keep-alive", keep_alive, "--out", str(directory), code=130)
    assert signal.getsignal(signal.SIGINT) is before
    assert f"Cut short at {present.span(seen[0] / 1e6)}: what follows is of the invocations until then." in out
    found = kept.read(directory)
    assert found.facts.cut_short_ns == seen[0]
    assert found.invocations is not None
    assert 200 <= len(found.invocations) < 500
    assert found.invocations["arrived_ns"].max() < seen[0]
    assert (found.invocations["outcome"] != "unsettled").all()


def test_a_second_ctrl_c_stops_at_once() -> None:
    with present.interruptible() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_commands_are_listed_with_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    out = _told(capsys, "--help")[0]
    assert all(str(int(code)) in out and meaning in out for code, meaning in MEANINGS.items())
    assert "Simulate a scenario, and tell what came of it." in out
    assert "--set" in _told(capsys, "run", "--help")[0]


def test_nothing_invoked_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.yaml").write_text("workload: {type: poisson, head: 0 s}\npolicy: {memory: 1 GB}\n")
    assert "Nothing was invoked." in _told(capsys, "run", str(tmp_path / "none.yaml"))[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 ms"), (0.06, "0.06 ms"), (0.0004, "0.0004 ms"), (1.4, "1.4 ms"), (99.96, "100 ms"), (999.4, "999 ms"),
        (999.6, "1 s"), (35_568, "35.6 s"), (119_000, "119 s"), (140_400, "2.34 min"), (86_400_000, "24 h"),
        (86_400_000 * 7, "7 days"), (float("nan"), "-"),
    ],
)  # fmt: skip
def test_spans_as_a_person_says_them(number: float, words: str) -> None:
    assert present.span(number) == words


def test_shares_and_memory_as_a_person_says_them() -> None:
    assert [present.share(part) for part in (0, 1, 0.5, 0.004, 0.0004, 1e-7)] == [
        "0 %", "100 %", "50.0 %", "0.40 %", "0.040 %", "<0.001 %"
    ]  # fmt: skip
    assert [present.memory(mb) for mb in (0, 512, 1024, 3333, 16384)] == ["0 MB", "512 MB", "1 GB", "3.25 GB", "16 GB"]


def test_values_of_settings_are_yaml() -> None:
    values = [given.parsed(text) for text in ("4", "16 GB", "[1, 2]", "1.5", "true", "{a: 1}", "")]
    assert values == [4, "16 GB", [1, 2], 1.5, True, {"a": 1}, None]

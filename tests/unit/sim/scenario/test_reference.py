"""The page on scenarios is what the types say; every setting has a meaning; the examples run as they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from sim import ClusterResult, Failures, frames
from sim.cli import app, main
from sim.scenario import load, meanings
from sim.scenario.reference import BEGIN, END, lines, meaning_of, page
from sim.scenario.workloads import TraceFormat
from sim.traces import formats

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "scenarios.md"
EXAMPLES = ROOT / "examples"
SMALL: dict[str, dict[str, Any]] = {
    "day": {"workload.functions": 40, "workload.rate_per_s": 0.2},
    "overload": {"workload.workloads.0.duration": "3 min", "workload.workloads.1.duration": "3 min"},
    "memory": {"workload.functions": 30, "workload.rate_per_s": 1, "workload.duration": "20 min"},
    "trace": {"workload.head": "5 min"},
}
"""What makes each example quick enough for a test."""


def test_the_page_is_what_the_types_say() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run: python -m sim.scenario docs/scenarios.md"


def test_the_page_is_the_same_under_any_hash_seed() -> None:
    script = "from sim.scenario.reference import lines; print(*lines(), sep=chr(10), end='')"
    told = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "3")
    ]  # fmt: skip
    assert told[0] == told[1] == "\n".join(lines())


def test_a_page_without_marks_and_a_setting_without_meaning_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="wants a line"):
        page("# Scenarios\n")
    assert page(f"a\n{BEGIN}\nold\n{END}\nb\n").startswith(f"a\n{BEGIN}\n\n### `workload`\n")
    monkeypatch.delitem(meanings.MEANINGS, (Failures, "run"))
    with pytest.raises(KeyError, match=r"Failures\.run has no meaning"):
        list(lines())
    with pytest.raises(KeyError):
        meaning_of(Failures, "none")


def test_the_trace_formats_are_those_that_are_read() -> None:
    assert set(get_args(TraceFormat)) == set(formats.READERS)


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["run", "examples/trace.yaml"]) == 0
    assert f"$ sim run examples/trace.yaml\n{capsys.readouterr().out}```" in PAGE.read_text("utf-8")


def test_the_pages_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    for block in code:
        exec(block.replace('"1 h"', '"5 min"'), {})
    assert capsys.readouterr().out.startswith("8 GB ")


def test_there_is_an_example_for_each_of_four_questions() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_an_example_runs(name: str) -> None:
    scenario = load(EXAMPLES / f"{name}.yaml")
    result = scenario.altered(SMALL[name]).simulate()
    figures = frames.summary(result)
    assert figures["invocations"] > 100
    assert result.outcomes["unsettled"] == 0
    assert figures["cold"] > 0
    if name == "overload":
        assert isinstance(result, ClusterResult)
        assert 0.05 < figures["overflow_share"] < 0.95
        assert result.overflows[0][0] > 0


@pytest.mark.parametrize("name", SMALL)
def test_the_commands_in_an_examples_head_can_be_typed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are parsed as a shell and the command line would; scenarios with their settings are read."""
    monkeypatch.chdir(ROOT)
    text = (EXAMPLES / f"{name}.yaml").read_text("utf-8")
    told = re.findall(r"^#   sim (.*)$", text, re.MULTILINE)
    assert told
    for line in told:
        assert f"examples/{name}" in line
        _, bound, _ = app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)
        if "given" in bound.arguments:
            bound.arguments["given"].scenario(EXAMPLES / f"{name}.yaml")

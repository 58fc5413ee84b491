"""What docs/planning.md shows is what is printed, and its Python runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sim.cli import app, main

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "planning.md").read_text("utf-8")
SHOWN = {
    match[1]: match[2] for match in re.finditer(r"^```\n\$ (sim [^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}


def test_every_command_can_be_typed() -> None:
    assert [command.split()[1] for command in SHOWN] == ["capacity", "capacity", "compare", "compare", "sweep"]
    for command in SHOWN:
        app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


def test_the_quickest_prints_what_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = next(command for command in SHOWN if "trace.yaml" in command)
    assert main([*shlex.split(command)[1:], "--jobs", "1"]) == 0
    assert capsys.readouterr().out == SHOWN[command]


def test_the_python_runs(tmp_path: Path) -> None:
    found = re.search(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    script = tmp_path / "plan.py"
    script.write_text(found[1])
    command = [sys.executable, "-W", "error", str(script)]
    ran = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "cold_share_high" in ran.stdout
    assert "Probe(value=" in ran.stdout

"""What docs/decision-logs.md shows is what its commands print; UPDATE_GOLDEN=1 prints it there anew."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from sim.cli import main

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "decision-logs.md"
CONSOLE = re.compile(r"(?<=```console\n)\$ sim (.*)\n((?:.*\n)*?)(?=```)")
PYTHON = re.compile(r"```python\n((?:.*\n)*?)```")


@pytest.fixture(autouse=True)
def beside_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)


def test_the_page_shows_what_is_printed_and_its_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(block: re.Match[str]) -> str:
        assert main(shlex.split(block[1])) == 0, capsys.readouterr().err
        return f"$ sim {block[1]}\n{capsys.readouterr().out}"

    page = PAGE.read_text("utf-8")
    anew = CONSOLE.sub(printed, page)
    assert len(CONSOLE.findall(page)) == 2
    for code in PYTHON.findall(page):
        exec(compile(code, str(PAGE), "exec"), {})
        assert capsys.readouterr().out
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(anew, "utf-8")
    assert anew == PAGE.read_text("utf-8")


def test_the_shown_lines_are_of_the_log() -> None:
    written = next(Path("examples/decisions").glob("*.jsonl")).read_text("utf-8").splitlines()
    shown = re.findall(r"```json\n((?:.*\n)*?)```", PAGE.read_text("utf-8"))[0].splitlines()
    assert len(shown) == 4
    for line in shown:
        pattern = re.compile(re.escape(line).replace(re.escape("..."), "[0-9a-f]{28}"))
        assert any(pattern.fullmatch(each) for each in written), line

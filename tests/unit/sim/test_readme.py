"""What the README shows of the simulator runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[3] / "README.md").read_text()


def test_the_program_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    cold_share, latency_ns, decisions = capsys.readouterr().out.split()
    assert 0 < float(cold_share) < 0.01
    assert int(latency_ns) >= 100_000_000
    assert re.fullmatch("[0-9a-f]{32}", decisions)


@pytest.mark.parametrize("scenario", sorted(set(re.findall(r"examples/\w+\.yaml", README))))
def test_its_scenarios_are_there(scenario: str) -> None:
    assert (Path(__file__).parents[3] / scenario).is_file()

"""The simulator, and with it the heart that ships, against mathematics; docs/oracles.md is what a run prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.commands.oracles import INTRODUCTION
from sim.oracles import ORACLES, Oracle, judge, markdown
from sim.oracles.oracle import Verdict

PAGE = (Path(__file__).parents[4] / "docs/oracles.md").read_text()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("oracle", ORACLES, ids=[oracle.name for oracle in ORACLES])
def test_what_is_simulated_is_what_mathematics_says(oracle: Oracle) -> None:
    verdicts = judge(oracle)
    for verdict in verdicts:
        assert verdict.holds, f"{verdict.quantity}: predicted {verdict.predicted}, simulated {verdict.simulated}"
    rows = [line for line in markdown([oracle], verdicts) if line]
    assert set(rows) <= set(PAGE.splitlines()), "docs/oracles.md is old: sim oracles --markdown > docs/oracles.md"


def test_the_page_has_every_oracle_and_no_other() -> None:
    assert PAGE.startswith(INTRODUCTION)
    told = [line.split("**")[1] for line in PAGE.splitlines() if line.startswith("**")]
    assert told == [oracle.name for oracle in ORACLES]
    assert len(ORACLES) >= 12
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert {row[0].removeprefix("| ") for row in rows} == set(told)
    assert sum(len(oracle.predict()) for oracle in ORACLES) == len(rows)


def _constant(value: float, *, exact: bool, predicted: float = 2.0) -> Verdict:
    oracle = Oracle("o", "", "", "", lambda: {"q": predicted}, lambda seed: {"q": value + seed % 2 / 100}, exact=exact)
    (verdict,) = judge(oracle)
    return verdict


def test_an_oracle_that_is_off_is_found_out() -> None:
    assert _constant(1.995, exact=False).holds
    assert not _constant(2.1, exact=False).holds  # 5 % off, and outside the interval
    assert not _constant(1.995, exact=True).holds  # not equal in every run
    wide = Oracle("o", "", "", "", lambda: {"q": 2.0}, lambda seed: {"q": 2.1 + seed % 2}, runs=4)
    (verdict,) = judge(wide)
    assert verdict.simulated.covers(2.0)
    assert not verdict.holds, "its interval covers the prediction, but the mean is more than 1 % off"


def test_a_row_that_misses_by_chance_is_tried_again_and_says_so() -> None:
    def measure(seed: int) -> dict[str, float]:
        return {"q": (2.1 if seed < 1004 else 1.995) + seed % 2 / 100, "r": 2.0 + (seed % 2 - 0.5) / 100}

    lucky, first = judge(Oracle("o", "", "", "", lambda: {"q": 2.0, "r": 2.0}, measure, runs=4))
    assert (lucky.told, first.told) == ("holds, at the second try", "holds")
    exact, _ = judge(Oracle("o", "", "", "", lambda: {"q": 1.995, "r": 2.0}, measure, runs=4, exact=True))
    assert exact.told == "OFF", "about what is exact there is no chance"


def too_wide(page: str) -> list[str]:
    """The rows whose interval reaches farther than 1.2 % of the prediction: it would cover nearly anything."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    bounds = [(row, *map(float, row[4].split(" - "))) for row in rows if row[4] != "exact"]
    assert bounds
    return [row[1] for row, low, high in bounds if high - low > 2 * 0.012 * float(row[2])]


def test_the_intervals_are_narrow_enough_to_say_something() -> None:
    assert too_wide(PAGE) == []
    head = "| oracle | quantity | predicted | simulated | 99 % interval | error | |"
    assert too_wide(f"{head}\n| o | q | 1.5 | 1.5 | 1.4 - 1.6 | +0.00% | holds |") == ["q"]

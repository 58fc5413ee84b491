"""The answers are the same wherever they are computed, and whatever goes wrong loses no run but its own."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Mapping
from contextlib import closing

import numpy as np
import pytest

from sim import SimulationError
from sim.planning import Dask, Processes, ThisProcess, grid, open_workers
from sim.planning.task import Measure, Outcome, Setting, Task, carry_out, fingerprint, key
from sim.planning.workers import KILLED, Workers
from tests.support.measures import Counted, broken, deadly, linear

TASKS = grid.tasks(grid.configurations({"x": [1, 2, 3, 4], "y": [0.5]}), [1, 2])


def answers(workers: Workers, tasks: list[Task] = TASKS) -> list[Outcome]:
    """The outcomes in the order of the tasks."""
    with workers:
        return sorted(workers.run(tasks), key=lambda outcome: tasks.index(outcome.task))


def test_processes_answer_as_this_process_does() -> None:
    assert answers(Processes(linear, 2)) == answers(ThisProcess(linear))
    assert multiprocessing.active_children() == []


def test_failures_are_told_by_name_and_lose_no_other_run() -> None:
    found = answers(Processes(broken, 2))
    assert found == answers(ThisProcess(broken))
    failed = {outcome.task.name: outcome.failure for outcome in found if outcome.figures is None}
    assert len(failed) == 4
    assert failed["x=2, y=0.5, seed 1"] == "x is 2"
    assert failed["x=3, y=0.5, seed 2"].startswith("ZeroDivisionError: division by zero (a defect, at measures.py:")


def test_a_killed_process_loses_its_own_run_only() -> None:
    found = answers(Processes(deadly, 2))
    assert {outcome.task.name for outcome in found if outcome.failure == KILLED} == {
        "x=2, y=0.5, seed 1",
        "x=2, y=0.5, seed 2",
    }
    assert [outcome for outcome in found if outcome.figures] == [
        outcome for outcome in answers(ThisProcess(linear)) if dict(outcome.task.settings)["x"] != 2
    ]


def slow(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
    """Takes a minute but for the first."""
    if settings["x"] != 1:
        time.sleep(60)
    return {}


def test_who_stops_reading_stops_the_processes() -> None:
    began_s = time.monotonic()
    with Processes(slow, 2) as workers:
        with closing(workers.run(TASKS)) as outcomes:
            assert next(outcomes).task == TASKS[0]
        assert multiprocessing.active_children() == []
    assert time.monotonic() - began_s < 30


def test_a_measure_that_no_process_can_import_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    hidden = type("Hidden", (Counted,), {"__module__": "nowhere"})
    with pytest.raises(SimulationError, match="its measure must be importable"):
        answers(Processes(_Unpickled(hidden.__name__), 2))
    capfd.readouterr()


class _Unpickled:
    """Can be pickled, and not be read again."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[object, ...]:
        return _refuse, (self._name,)

    def __call__(self, settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
        return {}


def _refuse(name: str) -> Measure:
    raise ImportError(name)


def test_how_many_processes() -> None:
    assert isinstance(open_workers(linear, 1), ThisProcess)
    assert isinstance(open_workers(linear, 3), Processes)
    assert isinstance(open_workers(linear, dask="tcp://127.0.0.1:1"), Dask)
    with pytest.raises(SimulationError, match="one process at least, not 0"):
        open_workers(linear, 0)


def test_numbers_of_numpy_become_plain_ones() -> None:
    def measured(_settings: Mapping[str, Setting], _seed: int) -> dict[str, int | float]:
        return {"a": 3, "b": np.float64(0.5), "c": math.inf}

    figures = carry_out(measured, Task(0, (), 1)).figures
    assert figures == {"a": 3, "b": 0.5, "c": math.inf}
    assert [type(value) for value in figures.values()] == [int, float, float]


def test_a_run_is_known_by_measure_settings_and_seed() -> None:
    task = Task(0, (("a", 1), ("b", "x")), 3)
    assert key("m", task) == key("m", Task(5, (("b", "x"), ("a", 1)), 3))
    others = [Task(0, (("a", 2), ("b", "x")), 3), Task(0, (("a", "1"), ("b", "x")), 3), Task(0, task.settings, 4)]
    assert len({key("m", task), key("n", task), *(key("m", other) for other in others)}) == 5
    assert fingerprint(linear) == "linear"

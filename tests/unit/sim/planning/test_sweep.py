"""Sweeps: the same bytes from whoever computes them, kept as they go, resumed, and told as tables."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from sim import SimulationError, statistics
from sim.planning import Dask, Outcome, Processes, Task, ThisProcess, sweep
from sim.planning.journal import Journal
from sim.planning.workers import Workers
from tests.support.measures import Counted, broken, linear, noise

GRID = {"x": [3, 1, 2], "y": [0.5, 4]}
SEEDS = [5, 6, 7]


def written(workers: Workers, directory: Path) -> dict[str, bytes]:
    """The tables that a sweep writes."""
    with workers:
        files = sweep(workers, GRID, SEEDS).write(directory)
    return {path.name: path.read_bytes() for path in files}


@contextmanager
def dask(*, processes: bool) -> Iterator[str]:
    """A Dask cluster on this machine; the address of its scheduler."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=None, host="127.0.0.1", protocol="tcp"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.usefixtures("dask_threads")
def test_the_same_bytes_whoever_computes(tmp_path: Path) -> None:
    here = written(ThisProcess(linear), tmp_path / "here")
    assert sorted(here) == ["means.csv", "means.parquet", "runs.csv", "runs.parquet"]
    assert written(Processes(linear, 2), tmp_path / "processes") == here
    with dask(processes=True) as address:
        assert written(Dask(linear, address), tmp_path / "dask") == here


@pytest.mark.usefixtures("dask_threads")
def test_dask_tells_failures_by_name_and_loses_no_other_run() -> None:
    with dask(processes=False) as address, Dask(broken, address) as workers:
        found = sweep(workers, {"x": [1, 2, 3]}, [1])
    with ThisProcess(broken) as workers:
        assert found.outcomes == sweep(workers, {"x": [1, 2, 3]}, [1]).outcomes
    assert [outcome.task.name for outcome in found.failures] == ["x=2, seed 1", "x=3, seed 1"]


def test_where_no_dask_scheduler_is_that_is_told() -> None:
    with pytest.raises(SimulationError, match=r"no Dask scheduler with workers answers at tcp://127\.0\.0\.1:1: "):
        Dask(linear, "tcp://127.0.0.1:1").__enter__()
    with pytest.raises(SimulationError, match=r"no Dask scheduler with workers answers at nonsense: "):
        Dask(linear, "nonsense").__enter__()


def test_tables_in_the_order_of_the_grid() -> None:
    found = sweep(ThisProcess(linear), GRID, SEEDS)
    runs, means = found.runs(), found.means()
    assert list(runs.columns) == ["configuration", "x", "y", "seed", "sum", "seed_too"]
    assert list(runs["configuration"]) == [number for number in range(6) for _ in SEEDS]
    assert list(runs["seed"]) == SEEDS * 6
    assert runs.dtypes.astype(str).to_dict() == {
        "configuration": "int64",
        "x": "int64",
        "y": "float64",
        "seed": "int64",
        "sum": "float64",
        "seed_too": "int64",
    }
    assert list(means["x"]) == [3, 3, 1, 1, 2, 2]
    row = means.iloc[3]
    expected = statistics.replications([1 + 4 + noise(seed) for seed in SEEDS])
    assert (row["sum"], row["sum_low"], row["sum_high"]) == pytest.approx((expected.mean, expected.low, expected.high))
    assert row["seeds"] == 3


def test_with_one_seed_there_is_no_interval() -> None:
    means = sweep(ThisProcess(linear), {"x": [1]}, [1]).means()
    assert math.isnan(means["sum_low"][0])
    assert means["sum"][0] == pytest.approx(1 + noise(1))


def test_settings_of_several_kinds_are_text(tmp_path: Path) -> None:
    found = sweep(ThisProcess(lambda _settings, _seed: {"n": 1}), {"memory": [8192, "16 GB", None]}, [1])
    found.write(tmp_path)
    assert list(pd.read_parquet(tmp_path / "runs.parquet")["memory"]) == ["8192", "16 GB", ""]


def test_a_sweep_whose_runs_all_failed_has_empty_tables(tmp_path: Path) -> None:
    found = sweep(ThisProcess(broken), {"x": [2, 3]}, [1])
    found.write(tmp_path)
    assert len(found.failures) == 2
    assert list(pd.read_csv(tmp_path / "runs.csv").columns) == ["configuration", "x", "seed"]


class Stopped:
    """This process, where somebody presses Ctrl-C after some runs."""

    def __init__(self, within: ThisProcess, after: int) -> None:
        self._within = within
        self._after = after

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        for number, outcome in enumerate(self._within.run(tasks)):
            if number == self._after:
                raise KeyboardInterrupt
            yield outcome


def test_what_was_done_is_kept_and_a_sweep_goes_on_from_there(tmp_path: Path) -> None:
    measure = Counted(tmp_path / "runs.txt")
    whole = sweep(ThisProcess(linear), GRID, SEEDS)
    with Journal(tmp_path / "out" / "journal.jsonl", measure) as journal:
        stopped = sweep(Stopped(ThisProcess(measure), 7), GRID, SEEDS, journal=journal)
    assert (stopped.interrupted, len(stopped.outcomes), stopped.size) == (True, 7, 18)
    assert set(stopped.runs()["configuration"]) == set(range(6)), "all configurations come early"
    with (tmp_path / "out" / "journal.jsonl").open("ab") as file:
        file.write(b'{"key":"torn')  # as when the machine goes down
    heard: list[Outcome] = []
    with Journal(tmp_path / "out" / "journal.jsonl", measure) as journal:
        found = sweep(ThisProcess(measure), GRID, SEEDS, journal=journal, told=heard.append)
    assert (found.interrupted, found.reused, found.strangers, len(heard)) == (False, 7, 0, 18)
    assert measure.runs == 19, "only the run that was under way is run again"
    assert found.outcomes == whole.outcomes
    pd.testing.assert_frame_equal(found.means(), whole.means())


def test_another_scenario_is_noticed(tmp_path: Path) -> None:
    journal_file = tmp_path / "journal.jsonl"
    for fingerprint, reused, strangers in (("a", 0, 0), ("b", 0, 18), ("a", 18, 18)):
        measure = Counted(tmp_path / "runs.txt", fingerprint)
        with Journal(journal_file, measure) as journal:
            found = sweep(ThisProcess(measure), GRID, SEEDS, journal=journal)
        assert (found.reused, found.strangers) == (reused, strangers)
    assert measure.runs == 36


def test_failed_runs_are_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Journal(tmp_path / "journal.jsonl", broken) as journal:
            found = sweep(ThisProcess(broken), {"x": [1, 2]}, [1], journal=journal)
        assert len(found.failures) == 1
    assert found.reused == 1


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("hello\n")
    with pytest.raises(SimulationError, match=r"journal\.jsonl:1: is no journal of runs"):
        Journal(tmp_path / "journal.jsonl", linear).__enter__()
    with pytest.raises(SimulationError, match="can't be used: Is a directory"):
        Journal(tmp_path, linear).__enter__()


def test_a_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(SimulationError, match="can't be written to"):
        sweep(ThisProcess(linear), {"x": [1]}, [1]).write(tmp_path / "out")

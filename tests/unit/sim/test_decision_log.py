"""A simulation's decision log: the invoker's replay accepts it, and reading it gives the simulation back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from invoker.policy import policyset
from invoker.policy.events import StemCells
from invoker.policy.pausing import FixedGrace
from invoker.policy.types import MILLISECOND_NS, PrewarmKey
from invoker.replay import replay
from sim import Engine, Failures, Node, PoissonWorkload, Result, SimFunction, SimulationError, Workload, simulate
from sim.frames import summary
from sim.latency import Constant, Exponential, Lognormal
from sim.traces import decisions
from sim.traces.recorded import RecordedWorkload, recorded

MS = MILLISECOND_NS
FUNCTIONS = tuple(SimFunction(name=f"ns/f{n}", memory_mb=128 + 128 * (n % 2)) for n in range(5))
WORKLOAD = PoissonWorkload(FUNCTIONS, (4.0, 2.0, 1.0, 1.0, 0.5), 1500, 1)
NODE = Node(
    cold=Lognormal(200.0 * MS, 0.2),
    run=Exponential(80.0 * MS),
    logs=Constant(0),
    failures=Failures(start=0.02, init=0.02, run=0.02, pause=0.02, thaw=0.02),
    stock=(StemCells(PrewarmKey("python:3", 128), 1),),
)
POLICY = msgspec.structs.replace(policyset.default(768), pausing=FixedGrace(30 * MS), queue_limit=8)


def logged(path: Path, engine: Engine = "fast") -> Result:
    return simulate(WORKLOAD, NODE, POLICY, 3, engine=engine, decision_log=path)


def rows(workload: Workload) -> list[tuple[int, int, int]]:
    return [row for block in workload.blocks() for row in zip(block.at_ns, block.function, block.run_ns, strict=True)]


@pytest.mark.parametrize("engine", ["fast", "simpy"])
def test_the_invoker_replays_it_identically(tmp_path: Path, engine: Engine) -> None:
    result = logged(tmp_path / "log.jsonl", engine)
    report = replay([tmp_path / "log.jsonl"])
    assert report.identical, report.difference
    assert (report.steps, report.invocations, report.cut_short) == (result.steps, 1500, False)


def test_writing_it_changes_nothing(tmp_path: Path) -> None:
    assert logged(tmp_path / "log.jsonl").decision_hash == simulate(WORKLOAD, NODE, POLICY, 3).decision_hash


def test_reading_it_gives_the_simulation_back(tmp_path: Path) -> None:
    result = logged(tmp_path / "log.jsonl")
    run = recorded(tmp_path / "log.jsonl")
    again = run.result(POLICY)
    assert min(result.kinds.values()) > 10, "every way to a container is to occur"
    assert result.outcomes["failed"] > 10
    assert result.outcomes["refused: queue full"] > 10
    assert again.columns is not None
    assert result.columns is not None
    names = [function.name for function in run.functions.known]
    assert [names[n] for n in again.columns.function] == [f"ns/ns/f{n}@0.0.1" for n in result.columns.function]
    for name in ("arrived_ns", "dispatched_ns", "began_ns", "ended_ns", "kind", "outcome"):
        assert getattr(again.columns, name) == getattr(result.columns, name), name
    for figure in ("ended_ns", "memory_mb_ns", "removals", "starts", "steps", "kinds", "outcomes"):
        assert getattr(again, figure) == getattr(result, figure), figure
    assert run.stock == NODE.stock
    assert summary(again)["mean_memory_mb"] == summary(result)["mean_memory_mb"]


def test_its_workload_is_that_of_the_trace_reader(tmp_path: Path) -> None:
    logged(tmp_path / "log.jsonl")
    run = recorded(tmp_path / "log.jsonl")
    with decisions.read(tmp_path / "log.jsonl") as trace:
        first_ns = run.columns.arrived_ns[0]
        mine = RecordedWorkload(run, tuple(run.functions.known))
        assert [(at - first_ns, function, ran) for at, function, ran in rows(mine)] == rows(trace)
        assert trace.functions == mine.functions


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"nowhere/log.jsonl can't be written: No such file or directory"):
        logged(tmp_path / "nowhere" / "log.jsonl")
    with pytest.raises(SimulationError, match=r"/dev/full can't be written: No space left on device"):
        logged(Path("/dev/full"))

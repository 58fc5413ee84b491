"""What if: the recording as it was, the model beside it, and variants that differ where they should."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from invoker.policy import PolicySet, policyset
from invoker.policy.events import StemCells
from invoker.policy.keepalive import Oracle
from invoker.policy.pausing import FixedGrace
from invoker.policy.types import MILLISECOND_NS, PrewarmKey
from sim import Node, PoissonWorkload, Result, SimFunction, SimulationError, simulate
from sim.latency import Constant, Exponential
from sim.traces import TraceError
from sim.whatif import Variant, WhatIf, changed, figures, what_if

MS = MILLISECOND_NS
FUNCTIONS = tuple(SimFunction(name=f"ns/f{n}", memory_mb=128 + 128 * (n % 2)) for n in range(8))
WORKLOAD = PoissonWorkload(FUNCTIONS, (4.0, 2.0, 1.0, 1.0, 0.5, 0.5, 0.2, 0.2), 2000, 1)
NODE = Node(
    cold=Constant(200 * MS),
    run=Exponential(80.0 * MS),
    remove=Constant(50 * MS),
    slowdown=(),
    stock=(StemCells(PrewarmKey("python:3", 128), 1),),
)
POLICY = msgspec.structs.replace(policyset.default(1024), pausing=FixedGrace(50 * MS))


def with_memory(memory_mb: int) -> PolicySet:
    return msgspec.structs.replace(POLICY, capacity_mb=memory_mb)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "log.jsonl"
    simulate(WORKLOAD, NODE, POLICY, 5, decision_log=path)
    return path


@pytest.fixture(scope="module")
def found(log: Path) -> WhatIf:
    oracle = msgspec.structs.replace(POLICY, keep_alive=Oracle())
    tried = [Variant("small", with_memory(512)), Variant("large", with_memory(8192)), Variant("oracle", oracle)]
    return what_if(log, tried)


def test_the_first_column_is_what_happened(found: WhatIf) -> None:
    real = simulate(WORKLOAD, NODE, POLICY, 5)
    recorded = found.columns[0]
    assert recorded.name == "recorded"
    assert recorded.figures["cold"] == real.kinds["cold"]
    assert recorded.figures["thawed"] == real.kinds["thawed"] > 0
    assert recorded.figures["evictions"] == real.removals["evicted"] > 0
    assert recorded.figures["wait_p99_ms"] == real.wait_ns(0.99) / 1e6
    assert recorded.figures["mean_memory_mb"] == pytest.approx(real.mean_memory_mb)
    assert (recorded.changed, recorded.changed_by_policy) == (None, None)


def test_the_second_column_is_close_to_it(found: WhatIf) -> None:
    """All latencies are constants here but the runs, which are the recorded ones: the model's error is almost none."""
    recorded, simulated = found.columns[:2]
    assert simulated.name == "simulated"
    assert simulated.changed is not None
    assert simulated.changed <= 20
    for name, value in recorded.figures.items():
        assert simulated.figures[name] == pytest.approx(value, rel=0.05, abs=5), name


def test_variants_differ_as_they_should(found: WhatIf) -> None:
    simulated, small, large, oracle = (column.figures for column in found.columns[1:])
    assert small["cold"] > simulated["cold"] > large["cold"]
    assert large["evictions"] == 0
    assert small["mean_memory_mb"] < simulated["mean_memory_mb"]
    assert oracle["cold"] < simulated["cold"], "who knows the future has fewer"
    by_policy = [column.changed_by_policy for column in found.columns[2:]]
    assert all(count is not None and count > 50 for count in by_policy)
    assert len(found.results) == 5


def test_the_same_seed_gives_the_same_columns(log: Path, found: WhatIf) -> None:
    assert what_if(log).columns == found.columns[:2]
    assert what_if(log, seed=2).columns[0] == found.columns[0]


def test_changed_counts_what_was_settled_in_both(found: WhatIf) -> None:
    real, simulated = found.results[:2]
    assert changed(real, real) == 0
    assert simulated.columns is not None
    assert real.columns is not None
    kinds = zip(real.columns.kind, simulated.columns.kind, strict=True)
    assert changed(real, simulated) == sum(one != other for one, other in kinds)
    streaming = simulate(WORKLOAD, NODE, POLICY, 5, streaming=True)
    with pytest.raises(SimulationError, match="without `streaming`"):
        changed(real, streaming)


def test_an_unfinished_log_is_simulated_to_the_end(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    recorded, simulated = what_if(tmp_path / "cut.jsonl").results
    assert recorded.outcomes["unsettled"] > 0
    assert simulated.outcomes["unsettled"] == 0
    assert simulated.invocations == recorded.invocations


def test_figures_have_their_units_in_their_names(found: WhatIf) -> None:
    result: Result = found.results[1]
    told = figures(result)
    assert told["latency_p50_ms"] == result.latency_ns(0.5) / 1e6
    assert told["starts"] == result.starts
    assert set(told) == {
        *("cold", "prewarm", "warm", "thawed", "refused", "evictions", "starts", "mean_memory_mb"),
        *("wait_p50_ms", "wait_p99_ms", "latency_p50_ms", "latency_p99_ms"),
    }


def test_what_is_not_one_whole_run_is_told(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    later = tmp_path / "decisions-simulated-5-00002.jsonl"
    later.write_bytes(lines[0].replace(b'"part":1', b'"part":2') + b"".join(lines[100:]))
    with pytest.raises(TraceError, match="is part 2 of its run, and what was before it is missing"):
        what_if(later)
    (tmp_path / "decisions-other-00001.jsonl").write_bytes(lines[0].replace(b"simulated-5", b"other"))
    with pytest.raises(TraceError, match="decision logs of 2 runs; name the first file of one"):
        what_if(tmp_path)

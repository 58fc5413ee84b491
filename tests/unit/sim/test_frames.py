"""Frames hold what the result holds, under names that are documented, with exact integers beside floats for people."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from invoker.policy import policyset
from invoker.policy.types import MILLISECOND_NS, SECOND_NS
from sim import (
    Cluster,
    Failures,
    ListWorkload,
    Member,
    Node,
    Outage,
    PoissonWorkload,
    Result,
    SimFunction,
    SimulationError,
    frames,
    simulate,
    simulate_cluster,
)
from sim.latency import Constant, Exponential
from sim.recorder import KINDS, OUTCOMES
from sim.workload import DRAWN

FUNCTIONS = (
    SimFunction(name="a/f", memory_mb=256),
    SimFunction(name="a/never"),
    SimFunction(name="b/large", memory_mb=4096),
)


@pytest.fixture(scope="module")
def busy() -> Result:
    functions = tuple(SimFunction(name=f"ns/f{i}", run=Exponential(0.3 * SECOND_NS)) for i in range(6))
    workload = PoissonWorkload(functions, (0.1, 0.5, 1, 2, 4, 8), 2000, 1)
    node = Node(failures=Failures(run=0.02, start=0.02))
    return simulate(workload, node, msgspec.structs.replace(policyset.default(1024), queue_limit=8), 3)


def _small() -> Result:
    rows = [(0, 0, DRAWN), (SECOND_NS, 0, 20 * MILLISECOND_NS), (2 * SECOND_NS, 2, DRAWN)]
    node = Node(cold=Constant(200 * MILLISECOND_NS), init=Constant(10 * MILLISECOND_NS), slowdown=())
    return simulate(ListWorkload(FUNCTIONS, rows), node, policyset.default(1024), 1)


def test_a_row_for_each_invocation() -> None:
    frame = frames.invocations(_small())
    assert list(frame.columns) == list(frames.INVOCATION_COLUMNS)
    assert list(frame["function"]) == ["a/f", "a/f", "b/large"]
    assert list(frame["kind"]) == ["cold", "thawed", "none"]
    assert list(frame["outcome"]) == ["ok", "ok", "refused: too large"]
    assert frame["wait_ms"].tolist()[:2] == [200.0, 0.06]
    assert frame["init_ms"].tolist()[:2] == [10.0, 0.0]
    assert frame["latency_ms"].tolist()[:2] == [310.0, 20.06]
    assert frame.loc[2, ["wait_ms", "init_ms", "run_ms", "latency_ms"]].isna().all()
    assert frame["ended_ns"].tolist() == [310_000_000, 1_020_060_000, 2_000_000_000]
    assert list(frame["kind"].cat.categories) == list(KINDS)
    assert list(frame["outcome"].cat.categories) == list(OUTCOMES)


def test_a_row_for_each_function_that_was_invoked() -> None:
    frame = frames.functions(_small()).set_index("function")
    assert list(frame.index) == ["a/f", "b/large"]
    assert frame.loc["a/f", ["invocations", "ran", "cold", "thawed", "memory_mb"]].tolist() == [2, 2, 1, 1, 256]
    assert frame.loc["b/large", ["invocations", "ran", "refused", "memory_mb"]].tolist() == [1, 0, 1, 4096]
    assert frame.loc["b/large", ["cold_share", "p99_ms", "mean_ms", "wait_mean_ms"]].isna().all()


def test_columns_are_those_documented_and_of_their_types(busy: Result) -> None:
    for frame, columns in (
        (frames.invocations(busy), frames.INVOCATION_COLUMNS),
        (frames.functions(busy), frames.FUNCTION_COLUMNS),
    ):
        assert list(frame.columns) == list(columns)
        for name, meaning in columns.items():
            told = meaning.partition(":")[0].partition(",")[0]
            if told in ("int64", "float64", "category"):
                assert str(frame[name].dtype) == told, name


def test_functions_add_up_to_the_whole(busy: Result) -> None:
    frame, figures = frames.functions(busy), frames.summary(busy)
    assert figures["failed"] > 0
    assert figures["refused"] > 0
    for name in ("invocations", "ran", "cold", "prewarm", "warm", "thawed", "failed", "refused"):
        assert frame[name].sum() == figures[name], name
    assert np.average(frame["mean_ms"], weights=frame["ran"]) == pytest.approx(figures["mean_ms"])


def test_quantiles_of_a_function_are_the_results_own() -> None:
    only = (SimFunction(name="ns/f", run=Exponential(0.3 * SECOND_NS)),)
    result = simulate(PoissonWorkload(only, (5.0,), 501, 1), Node(), policyset.default(2048), 1)
    row, figures = frames.functions(result).iloc[0], frames.summary(result)
    assert (row["p50_ms"], row["p99_ms"], row["wait_p99_ms"]) == (
        figures["p50_ms"],
        figures["p99_ms"],
        figures["wait_p99_ms"],
    )


def test_a_summary_has_the_documented_figures_from_rows_and_from_sums(busy: Result) -> None:
    assert list(frames.summary(busy)) == list(frames.SUMMARY_FIGURES)
    functions = (SimFunction(name="ns/f", run=Exponential(0.3 * SECOND_NS)),)
    workload = PoissonWorkload(functions, (4.0,), 3000, 1)
    rows = frames.summary(simulate(workload, Node(), policyset.default(1024), 1))
    sums = frames.summary(simulate(workload, Node(), policyset.default(1024), 1, streaming=True))
    for name, value in rows.items():
        assert sums[name] == (pytest.approx(value, rel=0.032) if "p" in name and name.endswith("_ms") else value), name


def test_sums_have_no_rows() -> None:
    result = simulate(ListWorkload(FUNCTIONS, [(0, 0, DRAWN)]), Node(), policyset.default(1024), 1, streaming=True)
    with pytest.raises(SimulationError, match="without `streaming`"):
        frames.invocations(result)


def test_nothing_is_no_mistake() -> None:
    result = simulate(ListWorkload(FUNCTIONS, []), Node(), policyset.default(1024), 1)
    assert frames.invocations(result).empty
    assert frames.functions(result).empty
    assert not any(frames.summary(result).values())


def test_a_frame_survives_parquet(busy: Result, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = frames.invocations(busy)
    frame.to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)


def test_a_cluster_has_more_columns_and_figures() -> None:
    functions = tuple(SimFunction(name=f"ns/f{i}", run=Exponential(0.2 * SECOND_NS)) for i in range(6))
    workload = PoissonWorkload(functions, (5.0,) * 6, 900, 1)
    cluster = Cluster(nodes=(Member(), Member(outages=(Outage(at_ns=10 * SECOND_NS),))), controllers=2)
    result = simulate_cluster(workload, cluster, policyset.default(1024), 1)
    rows, by_function, figures = frames.invocations(result), frames.functions(result), frames.summary(result)
    assert list(rows.columns) == [*frames.INVOCATION_COLUMNS, *frames.CLUSTER_COLUMNS]
    for name, meaning in frames.CLUSTER_COLUMNS.items():
        assert str(rows[name].dtype) == meaning.partition(":")[0].partition(",")[0], name
    assert list(figures) == [*frames.SUMMARY_FIGURES, *frames.CLUSTER_FIGURES]
    assert figures["lost"] == result.lost == by_function["lost"].sum() > 0
    assert by_function["refused"].sum() == figures["refused"]
    assert (rows["outcome"].str.startswith("lost")).sum() == figures["lost"]
    assert rows.loc[rows["path"] == "topic"].shape[0] == result.paths["topic"] > 0
    assert figures["memory_share"] == figures["mean_memory_mb"] / 2048
    assert set(rows["node"]) == {0, 1}

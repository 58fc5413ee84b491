"""Workloads made of workloads, and by processes."""

from __future__ import annotations

import numpy as np
import pytest

from sim.generator.compose import Faster, Head, Merged, Modulated, State
from sim.generator.processes import Bursts, poisson
from sim.workload import SimFunction, Workload

SECOND_NS = 1_000_000_000


def functions(*names: str) -> list[SimFunction]:
    return [SimFunction(name=f"ns/{name}") for name in names]


def instants(workload: Workload) -> np.ndarray:
    """All instants, in seconds."""
    return np.concatenate([np.frombuffer(block.at_ns, np.int64) for block in workload.blocks()]) / SECOND_NS


STEADY = poisson(functions("a", "b"), [30.0, 10.0], [0.1, 0.2], duration_s=500.0, seed=3)


def test_poisson_arrivals_have_their_rate_and_variance() -> None:
    at_s = instants(STEADY)
    counts = np.bincount(at_s.astype(int), minlength=500)
    assert counts.mean() == pytest.approx(40.0, rel=0.03)
    assert counts.var() == pytest.approx(40.0, rel=0.2)


def test_a_replay_at_a_factor_keeps_all_but_time() -> None:
    assert instants(Faster(STEADY, 4.0)) == pytest.approx(instants(STEADY) / 4, abs=1e-9)
    with pytest.raises(ValueError, match="factor"):
        Faster(STEADY, 0.0)


def test_a_head_ends_at_either_limit() -> None:
    assert len(instants(Head(STEADY, invocations=123))) == 123
    assert instants(Head(STEADY, duration_s=7.0)).tolist() == [at for at in instants(STEADY).tolist() if at < 7.0]
    assert len(instants(Head(STEADY, invocations=10**9, duration_s=1.0))) < 100
    assert list(Head(STEADY, invocations=0).blocks()) == []


def test_merged_workloads_keep_their_functions_and_the_order_of_time() -> None:
    other = poisson(functions("c"), [20.0], [0.1], duration_s=300.0, seed=4)
    merged = Merged(STEADY, other)
    assert [one.name for one in merged.functions] == ["ns/a", "ns/b", "ns/c"]
    at_s = instants(merged)
    assert at_s.tolist() == sorted([*instants(STEADY).tolist(), *instants(other).tolist()])
    called = sum(sum(1 for which in block.function if which == 2) for block in merged.blocks())
    assert called == len(instants(other))
    with pytest.raises(ValueError, match="same name"):
        Merged(STEADY, STEADY)


def test_a_modulated_workload_is_burstier_and_as_frequent() -> None:
    steady = poisson(functions("a"), [40.0], [0.1], duration_s=3000.0, seed=6)
    at_s = instants(Modulated(steady, [State(2.0, 5.0), State(0.0, 5.0)], seed=6))
    assert np.all(np.diff(at_s) >= 0)
    assert len(at_s) / at_s[-1] == pytest.approx(40.0, rel=0.1)
    counts = np.bincount(at_s.astype(int))
    assert counts.var() / counts.mean() > 10
    assert np.mean(counts == 0) > 0.25
    with pytest.raises(ValueError, match="states"):
        Modulated(steady, [State(0.0, 1.0)], seed=1)


def test_bursts_come_whole_and_in_order_even_where_they_overlap() -> None:
    bursts = Bursts(functions("a", "b"), [0.5, 0.25], every_s=10.0, size=50, width_s=30.0, duration_s=10_000.0, seed=2)
    at_s = instants(bursts)
    assert np.all(np.diff(at_s) >= 0)
    assert at_s[-1] < 10_000.0
    assert len(at_s) == pytest.approx(50_000, rel=0.1)
    runs = {(which, run) for block in bursts.blocks() for which, run in zip(block.function, block.run_ns, strict=True)}
    assert runs == {(0, SECOND_NS // 2), (1, SECOND_NS // 4)}

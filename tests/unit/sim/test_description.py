"""The figures of a workload against figures worked out by hand, and against what the generator was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from sim import ListWorkload, PoissonWorkload, SimFunction
from sim.description import describe
from sim.generator.azurelike import AzureLike
from sim.scenario.views import Watched
from sim.workload import DRAWN

S = 1_000_000_000


def test_a_small_workload_by_hand() -> None:
    functions = (
        SimFunction(name="clock", memory_mb=128),
        SimFunction(name="rare", memory_mb=512),
        SimFunction(name="no"),
    )
    rows = [(at * 2 * S, 0, S) for at in range(21)] + [(7 * S, 1, DRAWN)]
    found = describe(ListWorkload(functions, rows))
    assert (found.functions, found.called, found.invocations, found.length_s) == (3, 2, 22, 40.0)
    assert found.rate_per_s == 22 / 40
    assert found.busiest_share == {"1": 21 / 22}
    assert found.drawn_share == 1 / 22
    assert (found.run_ms["p50"], found.run_ms["mean"], found.run_ms["max"]) == (1000, 1000, 1000)
    assert found.gap_cv["max"] == pytest.approx(0, abs=1e-6)
    assert (found.memory_mb["p10"], found.memory_mb["p50"], found.memory_mb["max"]) == (128, 256, 512)
    assert (found.invocations_of_function["p10"], found.invocations_of_function["max"]) == (1, 21)
    assert (found.hour_share, found.swing, found.triggers) == ([], None, {})


def test_poisson_gaps_vary_by_one_and_blocks_make_no_difference() -> None:
    workload = PoissonWorkload(tuple(SimFunction(name=f"f{i}") for i in range(4)), (1.0, 2.0, 3.0, 4.0), 40_000, 1)
    found = describe(workload)
    assert found.gap_cv["p10"] == pytest.approx(1, abs=0.03)
    assert found.gap_cv["max"] == pytest.approx(1, abs=0.03)
    again = describe(Watched(workload, lambda _at_ns: True))
    assert again.gap_cv == pytest.approx(found.gap_cv)
    assert again.invocations_of_function == found.invocations_of_function


def test_quantiles_of_runs_are_right_to_three_percent() -> None:
    runs = [1 + round(10 ** (at / 1000)) for at in range(10_000)]
    found = describe(ListWorkload((SimFunction(name="f"),), [(at, 0, run) for at, run in enumerate(runs)]))
    for name, share in (("p10", 0.1), ("p50", 0.5), ("p99", 0.99)):
        exact = np.quantile(runs, share, method="inverted_cdf")
        assert exact <= found.run_ms[name] * 1e6 <= exact * 1.033
    assert found.run_ms["mean"] * 1e6 == pytest.approx(np.mean(runs))


def test_the_generators_day_is_found_again() -> None:
    spec = AzureLike(functions=400, duration_s=2 * 86_400, load=0.02, seed=1)
    found = describe(spec.build())
    assert len(found.hour_share) == 24
    assert sum(found.hour_share) == pytest.approx(1)
    assert 12 <= found.hour_share.index(max(found.hour_share)) <= 16
    assert found.swing is not None
    assert 2 < found.swing < 8
    assert sum(of for of, _ in found.triggers.values()) == pytest.approx(1)
    assert sum(of for _, of in found.triggers.values()) == pytest.approx(1)
    assert found.triggers["http"][0] == pytest.approx(0.55, abs=0.05)


def test_an_empty_workload_has_nothing_to_tell() -> None:
    found = describe(ListWorkload((SimFunction(name="f"),), []))
    assert (found.invocations, found.rate_per_s, found.run_ms, found.busiest_share) == (0, 0.0, {}, {})

"""Paired differences, what they are worth, and the share of what is possible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from sim import SimulationError, statistics
from sim.planning import Comparison, Difference, ScenarioMeasure, ThisProcess, compare, keep_alive_variants, sweep
from sim.planning.task import Setting
from sim.scenario import of_settings
from tests.support.measures import broken, noise

SEEDS = [1, 2, 3, 4, 5]
COLD = {"first": 0.5, "half": 0.3, "none": 0.5, "oracle": 0.1}


def policies(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
    """Cold shares with much luck in common, and a little of their own."""
    name = str(settings["name"])
    own = noise(seed * 100 + len(name)) / 1000
    return {"cold_share": COLD[name] + noise(seed) / 5 + own, "throughput_per_s": 100 - COLD[name] * 10 + own}


def compared(*names: str, seeds: list[int] = SEEDS) -> Comparison:
    found = sweep(ThisProcess(policies), [(("name", name),) for name in names], seeds)
    return compare(found, names, ["cold_share", "throughput_per_s"])


def test_differences_are_paired_seed_by_seed() -> None:
    found = compared("first", "half")
    cold = next(each for each in found.differences if each.figure == "cold_share")
    pairs = [policies({"name": "half"}, s)["cold_share"] - policies({"name": "first"}, s)["cold_share"] for s in SEEDS]
    assert cold.interval == statistics.replications(pairs)
    assert cold.interval is not None
    assert cold.interval.half_width < 0.002, "what the seeds have in common cancels out"
    assert cold.mean - cold.first == pytest.approx(-0.2, abs=0.002)


def test_what_can_be_said_of_a_difference() -> None:
    found = compared("first", "half", "none")
    assert {(each.variant, each.figure): each.outlook for each in found.differences} == {
        ("half", "cold_share"): "better",
        ("half", "throughput_per_s"): "better",
        ("none", "cold_share"): "no difference seen",
        ("none", "throughput_per_s"): "no difference seen",
    }
    assert {each.outlook for each in compared("half", "first").differences} == {"worse"}


def test_of_many_figures_neither_is_better() -> None:
    sure = statistics.replications([1, 1.1, 1.2, 1.1])
    outlooks = [Difference("b", name, 1, 2, sure).outlook for name in ("p99_ms", "starts", "ran", "cold")]
    assert outlooks == ["worse", "more", "better", "worse"]


def test_with_one_seed_nothing_can_be_said() -> None:
    found = compared("first", "half", seeds=[1])
    assert {(each.interval, each.outlook) for each in found.differences} == {(None, "no difference seen")}
    assert math.isnan(found.frame()["difference_low"][0])


def test_the_share_of_the_oracles_gain() -> None:
    shares = compared("first", "half", "oracle").oracle_share
    assert shares["first"].mean == shares["first"].half_width == 0
    assert shares["half"].mean == pytest.approx(0.5, abs=0.005)
    assert 0 < shares["half"].half_width < 0.01
    assert (shares["oracle"].low, shares["oracle"].high) == pytest.approx((1, 1))


def test_where_the_oracle_gains_nothing_there_is_no_share() -> None:
    assert not compared("first", "half").oracle_share
    assert not compared("oracle", "half").oracle_share
    found = sweep(ThisProcess(policies), [(("name", "first"),), (("name", "none"),)], SEEDS)
    assert not compare(found, ["first", "oracle"], ["cold_share"]).oracle_share


def test_only_seeds_count_under_which_all_ran() -> None:
    found = sweep(ThisProcess(policies), [(("name", "first"),), (("name", "half"),)], SEEDS)
    found.outcomes.pop()
    assert compare(found, ["first", "half"], ["cold_share"]).seeds == 4
    failed = sweep(ThisProcess(broken), [(("x", 1),), (("x", 2),)], SEEDS)
    with pytest.raises(SimulationError, match="no seed under which all variants ran"):
        compare(failed, ["a", "b"], ["sum"])
    with pytest.raises(SimulationError, match="did you mean cold_share"):
        compare(found, ["first", "half"], ["cold_shar"])


def test_the_table_of_differences(tmp_path: Path) -> None:
    found = compared("first", "half")
    files = found.write(tmp_path)
    assert [path.name for path in files] == ["differences.parquet", "differences.csv"]
    pd.testing.assert_frame_equal(pd.read_parquet(files[0]), found.frame())
    assert list(found.frame()["variant"]) == ["half", "half"]


def test_the_scenarios_own_policy_keeps_its_parameters() -> None:
    assert keep_alive_variants(["lru-ttl", "size"], "lru-ttl") == [
        ("lru-ttl", ()),
        ("size", (("policy.keep_alive", "size"),)),
    ]
    with pytest.raises(SimulationError, match="named twice"):
        keep_alive_variants(["size", "size"], "lru-ttl")


def test_policies_of_a_scenario_on_common_random_numbers() -> None:
    workload = {"type": "poisson", "functions": 20, "rate_per_s": 10, "duration": "2 min", "run": "200 ms"}
    measure = ScenarioMeasure(of_settings({"workload": workload, "policy": {"memory": "3 GB"}}))
    variants = keep_alive_variants(["lru-ttl", "greedy-dual", "oracle"], "lru-ttl")
    names = [name for name, _ in variants]
    found = compare(sweep(ThisProcess(measure), [of for _, of in variants], [1, 2, 3, 4, 5, 6]), names)
    cold = {each.variant: each for each in found.differences if each.figure == "cold_share"}
    assert cold["oracle"].outlook == "better"
    assert found.oracle_share["oracle"].mean == pytest.approx(1)
    assert found.oracle_share["greedy-dual"].mean < 1

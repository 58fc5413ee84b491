"""Intervals: known values, and that they cover what they should as often as they say."""

from __future__ import annotations

import math
import random

import pytest

from sim import statistics as st


def test_replications_by_students_t() -> None:
    # t(0.975, 9 degrees of freedom) = 2.2622, from the tables; mean 5.5, standard deviation 3.0277
    interval = st.replications([float(value) for value in range(1, 11)], 0.95)
    assert (interval.mean, interval.n, interval.level) == (5.5, 10, 0.95)
    assert interval.half_width == pytest.approx(2.2622 * 3.02765 / math.sqrt(10), rel=1e-4)
    assert interval.covers(7.0)
    assert not interval.covers(8.0)
    assert interval.relative == pytest.approx(interval.half_width / 5.5)


def test_values_that_are_all_alike_leave_no_doubt() -> None:
    interval = st.replications([3.0, 3.0, 3.0])
    assert (interval.low, interval.high, interval.relative) == (3.0, 3.0, 0.0)
    assert st.replications([-1.0, 1.0]).relative == math.inf


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_value_has_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match="two values at least"):
        st.replications(values)


def test_pairs_cancel_what_both_share() -> None:
    source = random.Random(1)
    common = [source.gauss(0, 10) for _ in range(20)]
    mine = [value + 1 + source.gauss(0, 0.1) for value in common]
    difference = st.paired(mine, common)
    assert difference.covers(1.0)
    assert difference.half_width < 0.1
    with pytest.raises(ValueError, match="zip"):
        st.paired(mine, common[1:])


def test_wilsons_share() -> None:
    # Agresti and Coull's example of 0 successes in 10 tries: the interval at 95 % is 0 to 0.278
    interval = st.share(0, 10, 0.95)
    assert (interval.mean, interval.low) == (0.0, 0.0)
    assert interval.high == pytest.approx(0.2775, abs=1e-3)
    assert st.share(10, 10).high == 1.0
    with pytest.raises(ValueError, match="3 of 2"):
        st.share(3, 2)


def test_a_quantile_lies_between_two_of_the_values() -> None:
    # Ranks of the median of 100 values at 95 %: 40 and 61 (Conover's table)
    interval = st.quantile([float(value) for value in range(1, 101)], 0.5, 0.95)
    assert (interval.mean, interval.low, interval.high) == (50.0, 40.0, 61.0)
    with pytest.raises(ValueError, match="too few"):
        st.quantile([1.0, 2.0, 3.0], 0.99)


def _autoregressive(source: random.Random, count: int, memory: float) -> list[float]:
    values, value = [], 0.0
    for _ in range(count):
        value = memory * value + source.gauss(0, 1)
        values.append(value)
    return values


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_batch_means_cover_the_truth_as_often_as_they_say(memory: float) -> None:
    source = random.Random(7)
    runs = 100
    covered = sum(st.batch_means(_autoregressive(source, 2000, memory), 0.95).covers(0.0) for _ in range(runs))
    assert 0.87 * runs <= covered <= runs  # 0.95 of them, less what 100 runs may miss by chance and the cut's own bias


def test_batches_grow_where_neighbours_are_alike() -> None:
    source = random.Random(3)
    assert st.batch_means(_autoregressive(source, 4000, 0.0)).n == 256
    assert st.batch_means(_autoregressive(source, 4000, 0.98)).n <= 64
    with pytest.raises(ValueError, match="20 values at least"):
        st.batch_means([1.0] * 19)


def test_replications_go_on_until_they_are_precise() -> None:
    source = random.Random(5)
    interval = st.until_precise(lambda _: source.gauss(10, 1), 0.05)
    assert interval.relative <= 0.05
    assert 5 <= interval.n < 100
    assert st.until_precise(lambda _: source.gauss(0, 1), 0.01, at_most=20).n == 20


def test_the_warm_up_is_cut_off() -> None:
    assert st.warmed([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.2) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert st.warmed([1, 2], 0.0) == [1, 2]
    with pytest.raises(ValueError, match="a share from 0"):
        st.warmed([1], 1.0)

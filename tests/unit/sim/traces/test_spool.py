"""The spool: order of time, order of adding within an instant, whatever spills to disk; and what is left behind."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from sim.traces import chance, spread
from sim.traces.spool import Spool


@pytest.mark.parametrize("held_rows_max", [10, 257, 100_000])
@pytest.mark.parametrize("different", [1, 7, 10_000])
def test_rows_come_in_order_and_ties_as_added(held_rows_max: int, different: int) -> None:
    source = random.Random(f"{held_rows_max}/{different}")
    spool = Spool(held_rows_max)
    added: list[tuple[int, int]] = []
    for _ in range(60):
        keys = [source.randrange(different) for _ in range(source.randrange(40))]
        places = list(range(len(added), len(added) + len(keys)))
        added += zip(keys, places, strict=True)
        columns = [np.array(column, np.int64) for column in (keys, places, places, places)]
        spool.add(*columns)
    for _ in range(2):
        found = [(key, place) for chunk in spool.chunks() for key, place, _, _ in chunk.tolist()]
        assert found == sorted(added)
    spool.close()


def test_closing_gives_the_file_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool(4)
    spool.add(*[np.arange(100, dtype=np.int64)] * 4)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    spool.close()
    spool.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("rule", ["uniform", "even", "start"])
def test_a_buckets_invocations_stay_inside_it(rule: spread.Spread) -> None:
    count = 1000
    key = np.repeat(chance.keys(3, 1, 1), count)
    start, counts = np.full(count, 120_000, np.int64), np.full(count, count, np.int64)
    at = spread.instants(rule, start, 60_000, np.arange(count), counts, key)
    assert at.min() >= 120_000
    assert at.max() < 180_000
    gaps = np.diff(np.sort(at))
    assert set(gaps.tolist()) == {60} if rule != "uniform" else gaps.std() == pytest.approx(60, rel=0.15)


def test_durations_follow_their_quantiles() -> None:
    quantiles = np.array([[0, 10, 250, 500, 750, 990, 1000]], np.int64) * 1_000_000
    words = chance.draws(np.repeat(chance.keys(1, 2, 1), 100_000), np.arange(100_000))
    runs = spread.durations(quantiles, np.zeros(100_000, np.int64), words) / 1e9
    found = np.quantile(runs, [0.01, 0.25, 0.5, 0.75, 0.99])
    assert found.tolist() == pytest.approx([0.01, 0.25, 0.5, 0.75, 0.99], abs=0.006)

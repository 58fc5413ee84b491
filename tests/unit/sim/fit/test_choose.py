"""Which latency is chosen for spans, and that it is theirs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.fit.choose import KS_CRITICAL, SAMPLES_MAX, choose, quantile, thinned
from sim.latency import Constant, Empirical, Exponential, Gamma, Latency, Lognormal, Weibull
from sim.rng import sequence

MS = 1e6


def drawn(latency: Latency, count: int = 2000) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    source = sequence(7, "spans")
    return np.array([latency.draw(source) for _ in range(count)], np.int64)


@pytest.mark.parametrize(
    "latency",
    [Exponential(80 * MS), Lognormal(250 * MS, 0.3), Weibull(50 * MS, 2.5), Gamma(10 * MS, 4.0)],
    ids=lambda latency: type(latency).__name__,
)
def test_a_known_distribution_is_found_again(latency: Latency) -> None:
    found = choose(drawn(latency), "best")
    assert type(found.latency) is type(latency)
    for name in latency.__struct_fields__:
        assert getattr(found.latency, name) == pytest.approx(getattr(latency, name), rel=0.08)
    assert found.ks is not None
    assert found.ks < KS_CRITICAL / math.sqrt(2000)
    assert found.n == 2000


def test_what_no_distribution_fits_stays_samples() -> None:
    spans = np.concatenate([drawn(Lognormal(5 * MS, 0.1)), drawn(Lognormal(400 * MS, 0.1))])
    best, fitted = choose(spans, "best"), choose(spans, "fitted")
    assert isinstance(best.latency, Empirical)
    assert not isinstance(fitted.latency, Empirical)
    assert best.ks is not None
    assert fitted.ks is not None
    assert best.ks <= 0.5 / SAMPLES_MAX + 1e-6 < 0.1 < fitted.ks


def test_what_hardly_varies_is_a_constant() -> None:
    assert choose(np.full(50, 3000), "samples").latency == Constant(3000)
    assert choose(np.full(50, 0), "fitted").latency == Constant(0)
    almost = choose(np.array([1_000_000, 1_002_000, 1_004_000]), "best")
    assert (almost.latency, almost.ks) == (Constant(1_002_000), None)
    assert isinstance(choose(np.array([100, 200, 300]), "samples").latency, Empirical)


@pytest.mark.parametrize("how", ["best", "samples", "fitted"])
def test_few_spans_with_zeros_among_them_are_no_trouble(how: str) -> None:
    found = choose(np.array([0, 0, 5, 1000]), how)  # type: ignore[arg-type]
    assert (found.n, found.p50_ns, found.p99_ns) == (4, 0, 1000)


def test_the_order_of_spans_is_no_matter() -> None:
    spans = drawn(Gamma(10 * MS, 0.5))
    assert choose(spans) == choose(spans[::-1]) == choose(np.sort(spans))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=400), st.integers(1, 50))
def test_thinning_moves_no_quantile_by_more_than_half_a_sample(spans: list[int], most: int) -> None:
    ordered = np.sort(np.array(spans, np.int64))
    kept = thinned(ordered, most)
    assert len(kept) == min(most, len(spans))
    if len(kept) < len(spans):
        half = 0.5 / len(kept)
        for at, value in enumerate(kept.tolist()):
            share = (at + 0.5) / len(kept)
            assert quantile(ordered, max(0.0, share - half)) <= value <= quantile(ordered, min(1.0, share + half))

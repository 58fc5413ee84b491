"""Latencies: means and shapes as the formulas say, data in and out, and no nonsense taken."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import msgspec
import pytest

from sim.latency import Constant, Empirical, Exponential, Gamma, Latency, Lognormal, Weibull
from sim.rng import Stream, sequence

SECOND = 1_000_000_000
ALL: list[Latency] = [
    Constant(5),
    Exponential(SECOND),
    Lognormal(SECOND, 0.7),
    Weibull(SECOND, 1.7),
    Gamma(SECOND, 2.5),
    Gamma(SECOND, 0.4),
    Empirical((1, 5, 9)),
]
DRAWS = 40_000


@pytest.mark.parametrize("latency", ALL, ids=str)
def test_the_mean_is_the_formulas(latency: Latency) -> None:
    numbers = sequence(11, str(latency))
    draws = [latency.draw(numbers) for _ in range(DRAWS)]
    assert all(type(draw) is int and draw >= 0 for draw in draws)
    error = statistics.pstdev(draws) / math.sqrt(DRAWS)
    assert abs(statistics.fmean(draws) - latency.mean_ns) <= 3.3 * error + 1e-9


def _exponential(x: float) -> float:
    return 1 - math.exp(-x)


def _lognormal(x: float) -> float:
    return statistics.NormalDist().cdf(math.log(x) / 0.7)


def _weibull(x: float) -> float:
    return 1 - math.exp(-(x**1.7))


def _erlang_2(x: float) -> float:
    return 1 - math.exp(-x) * (1 + x)


@pytest.mark.parametrize(
    ("latency", "cdf"),
    [
        (Exponential(SECOND), _exponential),
        (Lognormal(SECOND, 0.7), _lognormal),
        (Weibull(SECOND, 1.7), _weibull),
        (Gamma(SECOND, 2.0), _erlang_2),
    ],
    ids=lambda value: str(value) if isinstance(value, msgspec.Struct) else "",
)
def test_the_shape_is_the_formulas(latency: Latency, cdf: Callable[[float], float]) -> None:
    stream = Stream(5, "shape")
    draws = sorted(latency.draw(stream.at(k)) / SECOND for k in range(DRAWS))
    distance = max(abs((k + 0.5) / DRAWS - cdf(draw)) for k, draw in enumerate(draws))
    assert distance < 1.95 / math.sqrt(DRAWS)  # Kolmogorov and Smirnov's bound at 99.9 %


@pytest.mark.parametrize("latency", ALL, ids=str)
def test_a_latency_is_data(latency: Latency) -> None:
    assert msgspec.json.decode(msgspec.json.encode(latency), type=Latency) == latency


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"type":"constant","ns":-1}',
        b'{"type":"exponential","mean_ns":0}',
        b'{"type":"lognormal","median_ns":1,"sigma":-1}',
        b'{"type":"weibull","scale_ns":1,"shape":0}',
        b'{"type":"gamma","scale_ns":0,"shape":1}',
        b'{"type":"empirical","samples_ns":[]}',
        b'{"type":"exponential","mean_ns":1,"sigma":2}',
        b'{"type":"gaussian","mean_ns":1}',
    ],
)
def test_nonsense_is_refused_with_its_reason(wrong: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=Latency)

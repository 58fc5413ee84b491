"""◇ Latencies: how long things take, as data: constants, fitted distributions, or samples that were measured.

Parameters are in ns, a draw is a whole number of ns. Exponentials and logarithms come from the machine's C library,
whose last bit may differ between machines: a draw then differs by a nanosecond once in about 10 million draws of a
second. On one machine, and between Pythons on it, a seed gives the same draws to the bit.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias

import msgspec

from sim.rng import Source

_NORMAL = NormalDist()
_TINY = 2.0**-54


def _normal(source: Source) -> float:
    """A standard normal number from one uniform one."""
    return _NORMAL.inv_cdf(source.random() + _TINY)


class _Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: parameters are checked where they are made or read."""

    def _positive(self, **parameters: float) -> None:
        for name, value in parameters.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{type(self).__name__}: {name} must be positive and finite, not {value}")


class Constant(_Latency, frozen=True, tag="constant"):
    """Always `ns`."""

    ns: int

    def __post_init__(self) -> None:
        if self.ns < 0:
            raise ValueError(f"Constant: ns must not be negative, as {self.ns} is")

    def draw(self, source: Source) -> int:
        """A latency in ns."""
        return self.ns

    @property
    def mean_ns(self) -> float:
        """The expected latency."""
        return float(self.ns)


class Exponential(_Latency, frozen=True, tag="exponential"):
    """Exponential with mean `mean_ns`."""

    mean_ns: float

    def __post_init__(self) -> None:
        self._positive(mean_ns=self.mean_ns)

    def draw(self, source: Source) -> int:
        """A latency in ns."""
        return round(-math.log(1.0 - source.random()) * self.mean_ns)


class Lognormal(_Latency, frozen=True, tag="lognormal"):
    """Lognormal: `median_ns * exp(sigma * Z)`, so its logarithm has the mean ln(median_ns)."""

    median_ns: float
    sigma: float

    def __post_init__(self) -> None:
        self._positive(median_ns=self.median_ns, sigma=self.sigma)

    def draw(self, source: Source) -> int:
        """A latency in ns."""
        return round(self.median_ns * math.exp(self.sigma * _normal(source)))

    @property
    def mean_ns(self) -> float:
        """The expected latency."""
        return self.median_ns * math.exp(self.sigma * self.sigma / 2)


class Weibull(_Latency, frozen=True, tag="weibull"):
    """Weibull: a shape under 1 has a heavy tail, 1 is exponential, above 1 it clusters around the scale."""

    scale_ns: float
    shape: float

    def __post_init__(self) -> None:
        self._positive(scale_ns=self.scale_ns, shape=self.shape)

    def draw(self, source: Source) -> int:
        """A latency in ns."""
        return round(self.scale_ns * (-math.log(1.0 - source.random())) ** (1.0 / self.shape))

    @property
    def mean_ns(self) -> float:
        """The expected latency."""
        return self.scale_ns * math.gamma(1.0 + 1.0 / self.shape)


class Gamma(_Latency, frozen=True, tag="gamma"):
    """Gamma with mean `shape * scale_ns`; drawn as Marsaglia and Tsang do (2000), a handful of numbers a draw."""

    scale_ns: float
    shape: float

    def __post_init__(self) -> None:
        self._positive(scale_ns=self.scale_ns, shape=self.shape)

    def draw(self, source: Source) -> int:
        """A latency in ns."""
        lifted = self.shape if self.shape >= 1.0 else self.shape + 1.0
        d = lifted - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            z = _normal(source)
            v = (1.0 + c * z) ** 3
            if v > 0.0 and math.log(1.0 - source.random()) < 0.5 * z * z + d - d * v + d * math.log(v):
                break
        boost = 1.0 if lifted == self.shape else (1.0 - source.random()) ** (1.0 / self.shape)
        return round(self.scale_ns * d * v * boost)

    @property
    def mean_ns(self) -> float:
        """The expected latency."""
        return self.scale_ns * self.shape


class Empirical(_Latency, frozen=True, tag="empirical"):
    """One of the samples, each as likely: what was measured, with nothing assumed about its shape."""

    samples_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.samples_ns or min(self.samples_ns) < 0:
            raise ValueError("Empirical: samples_ns must hold at least one sample, and none below 0")

    def draw(self, source: Source) -> int:
        """A latency in ns."""
        return self.samples_ns[int(source.random() * len(self.samples_ns))]

    @property
    def mean_ns(self) -> float:
        """The expected latency."""
        return sum(self.samples_ns) / len(self.samples_ns)


Latency: TypeAlias = Constant | Exponential | Lognormal | Weibull | Gamma | Empirical
"""What the simulator takes wherever something takes time."""

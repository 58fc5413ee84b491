"""◇ What is published of a cloud's functions, as distributions that can be inverted in closed form.

Azure, July 2019 (Shahrad et al., USENIX ATC 2020, and its data set): popularity, triggers, functions of an app, and the
variation of gaps, as points of their distribution functions; durations and memory as the fitted laws in use for them.
Of the tail of popularity the points were set so that the busiest thousandth and hundredth of the functions have the
shares that were published (some 67 % and 92 % of all invocations).
"""

from __future__ import annotations

import bisect
import math
from statistics import NormalDist
from typing import Protocol

import msgspec

_NORMAL = NormalDist()


class Marginal(Protocol):
    """A distribution: its function, and the inverse of that."""

    def cdf(self, x: float) -> float:
        """The share of at most x."""
        ...

    def quantile(self, u: float) -> float:
        """The least x of which the share is at least u, for 0 < u < 1."""
        ...


class Points(msgspec.Struct, frozen=True):
    """Straight lines between published points (x, share of at most x), over x or over its logarithm.

    A first share above 0 is an atom at the first x.
    """

    points: tuple[tuple[float, float], ...]
    log: bool = True

    def cdf(self, x: float) -> float:
        """The share of at most x."""
        if x < self.points[0][0]:
            return 0.0
        at = bisect.bisect_right(self.points, x, key=lambda point: point[0])
        if at == len(self.points):
            return 1.0
        (x0, u0), (x1, u1) = self.points[at - 1], self.points[at]
        part = math.log(x / x0) / math.log(x1 / x0) if self.log else (x - x0) / (x1 - x0)
        return u0 + (u1 - u0) * part

    def quantile(self, u: float) -> float:
        """The value below which the share u lies."""
        at = bisect.bisect_left(self.points, u, key=lambda point: point[1])
        if at == 0:
            return self.points[0][0]
        (x0, u0), (x1, u1) = self.points[at - 1], self.points[at]
        part = (u - u0) / (u1 - u0)
        return x0 * (x1 / x0) ** part if self.log else x0 + (x1 - x0) * part


class Lognormal(msgspec.Struct, frozen=True):
    """exp(mu + sigma Z), at most `most`."""

    mu: float
    sigma: float
    most: float

    def cdf(self, x: float) -> float:
        """The share of at most x."""
        return 1.0 if x >= self.most else _NORMAL.cdf((math.log(x) - self.mu) / self.sigma)

    def quantile(self, u: float) -> float:
        """The value below which the share u lies."""
        return min(self.most, math.exp(self.mu + self.sigma * _NORMAL.inv_cdf(u)))


class Burr(msgspec.Struct, frozen=True):
    """Burr XII: 1 - (1 + (x / scale)**c)**-k, at most `most`."""

    c: float
    k: float
    scale: float
    most: float

    def cdf(self, x: float) -> float:
        """The share of at most x."""
        return 1.0 if x >= self.most else 1.0 - (1.0 + (x / self.scale) ** self.c) ** -self.k

    def quantile(self, u: float) -> float:
        """The value below which the share u lies."""
        return min(self.most, self.scale * ((1.0 - u) ** (-1.0 / self.k) - 1.0) ** (1.0 / self.c))


FUNCTION_PER_DAY = Points(
    (
        *((1 / 14, 0.0), (1, 0.34), (10, 0.56), (24, 0.64), (288, 0.83), (1440, 0.93), (1e4, 0.97)),
        *((86_400, 0.99), (9e5, 0.999), (3e7, 1.0)),
    )
)
"""Invocations a day of a function."""
APP_PER_DAY = Points(
    (
        *((1 / 14, 0.0), (1, 0.20), (10, 0.38), (24, 0.45), (288, 0.67), (1440, 0.83), (1e4, 0.93)),
        *((86_400, 0.98), (9e5, 0.996), (3e7, 1.0)),
    )
)
"""Invocations a day of an app."""
RUN_S = Lognormal(-0.38, 2.36, 600.0)
"""Mean duration of a function's runs, in seconds; none is longer than 10 minutes."""
APP_MEMORY_MB = Burr(11.652, 0.221, 107.083, 4096.0)
"""Memory of an app, in MB."""
GAP_CV = Points(((0.0, 0.20), (1.0, 0.57), (2.0, 0.72), (4.0, 0.86), (10.0, 0.95), (30.0, 1.0)), log=False)
"""Coefficient of variation of the gaps between an app's invocations; 0 for a fifth of them."""
APP_SIZES = (
    *((1, 1, 0.54), (2, 2, 0.16), (3, 3, 0.10), (4, 5, 0.08), (6, 10, 0.07)),
    *((11, 99, 0.0496), (100, 300, 0.0004)),
)
"""Functions of an app: (from, to, share of the apps)."""
TRIGGERS = {
    "http": (0.550, 0.359),
    "queue": (0.152, 0.335),
    "event": (0.022, 0.247),
    "orchestration": (0.069, 0.023),
    "timer": (0.156, 0.020),
    "storage": (0.028, 0.007),
    "others": (0.023, 0.009),
}
"""Of each trigger: share of the functions, share of the invocations."""
SWING = 0.5
"""Half of the load is constant, half follows the hour of the day: the peak has three times the trough."""


def app_size(u: float) -> int:
    """The number of functions of the app at the share u: even within a published range, over the logarithm past 10."""
    for low, high, share in APP_SIZES:
        if u < share:
            part = u / share
            if low > 10:
                return int(low * ((high + 1) / low) ** part)
            return low + int(part * (high - low + 1))
        u -= share
    return APP_SIZES[-1][1]


def app_size_cdf(size: int) -> float:
    """The share of apps of at most so many functions, at the published ranges' ends."""
    return sum(share for _, high, share in APP_SIZES if high <= size)

"""◇ Confidence intervals: what a simulated figure is worth.

Runs with different seeds are independent, so their figures are (`replications`, `paired`). What one run gives over time
is not; it is cut into batches long enough to be nearly so (`batch_means`). The start of a run, when nothing is warm
yet, belongs to no interval: cut it off first (`warmed`), and say so.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# (scipy has no types)

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist, fmean, stdev
from typing import TypeVar

import msgspec

LEVEL = 0.99
BATCHES_LEAST, BATCHES_MOST = 10, 256
"""How many batches a run is cut into: fewer make a wide interval, more are too short to be independent."""

Value = TypeVar("Value")


class Interval(msgspec.Struct, frozen=True):
    """An estimate from `n` values, and where the true one lies with confidence `level` (0.99: in 99 runs of 100)."""

    mean: float
    low: float
    high: float
    level: float
    n: int

    def covers(self, value: float) -> bool:
        """Whether the value is within the interval."""
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def relative(self) -> float:
        """The half width over the estimate's size; infinite for an estimate of 0 that is not exact."""
        if not self.half_width:
            return 0.0
        return self.half_width / abs(self.mean) if self.mean else math.inf


def replications(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean of independent values, by Student's t. Raises ValueError for fewer than two."""
    count = len(values)
    if count < 2:
        raise ValueError(f"an interval takes two values at least, and here {'is 1' if count else 'are none'}")
    mean = fmean(values)
    half = _student(level, count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, level, count)


def paired(mine: Sequence[float], theirs: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean of `mine - theirs`, value by value, where both met the same chance (common random numbers): what both
    share cancels out, and the interval is the smaller for it."""
    return replications([a - b for a, b in zip(mine, theirs, strict=True)], level)


def batch_means(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean of values that one run gave in this order, whose neighbours are alike.

    The run is cut into 256 batches, or so few that each has 2 values; while the means of neighbouring batches are
    correlated (lag 1, more than chance would have it in 1 of 20), there are half as many, down to 10. What doesn't fill
    a batch is left out at the front. Raises ValueError for fewer than 20 values.
    """
    if len(values) < 2 * BATCHES_LEAST:
        raise ValueError(f"batch means take {2 * BATCHES_LEAST} values at least, not {len(values)}")
    batches = min(BATCHES_MOST, len(values) // 2)
    while True:
        size = len(values) // batches
        rest = len(values) - size * batches
        means = [fmean(values[at : at + size]) for at in range(rest, len(values), size)]
        if batches // 2 < BATCHES_LEAST or _lag_1(means) < NormalDist().inv_cdf(0.95) / math.sqrt(batches):
            return replications(means, level)
        batches //= 2


def share(successes: int, count: int, level: float = LEVEL) -> Interval:
    """The share of `count` independent tries that succeeded, by Wilson (1927): good also near 0 and 1."""
    if not 0 <= successes <= count or not count:
        raise ValueError(f"a share is of at least one try and at most all of them, not {successes} of {count}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    found = successes / count
    middle = (found + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(found * (1 - found) / count + z * z / (4 * count * count))
    low = middle - half if successes else 0.0
    high = middle + half if successes < count else 1.0
    return Interval(found, low, high, level, count)


def quantile(values: Sequence[float], at: float, level: float = LEVEL) -> Interval:
    """The quantile of independent values, between two of them in order (binomial ranks, no law assumed).

    Raises ValueError where so few values have no such interval.
    """
    from scipy.special import bdtrik

    ordered = sorted(values)
    count = len(ordered)
    low = math.ceil(float(bdtrik((1 - level) / 2, count, at)))
    high = math.ceil(float(bdtrik((1 + level) / 2, count, at))) + 1
    if low < 1 or high > count:
        raise ValueError(f"{count} values are too few for an interval of the quantile {at:g} at {level:.0%}")
    return Interval(ordered[max(0, math.ceil(at * count) - 1)], ordered[low - 1], ordered[high - 1], level, count)


def until_precise(
    draw: Callable[[int], float], relative: float, level: float = LEVEL, *, at_least: int = 5, at_most: int = 100
) -> Interval:
    """Replications 0, 1, ... until the interval's half width is within `relative` of the mean, or there are `at_most`:
    whether it was reached is in the interval."""
    values = [draw(number) for number in range(at_least)]
    while (interval := replications(values, level)).relative > relative and len(values) < at_most:
        values.append(draw(len(values)))
    return interval


def warmed(values: Sequence[Value], cut: float = 0.1) -> Sequence[Value]:
    """What is left of a run without its first share, while which it isn't as it will be."""
    if not 0 <= cut < 1:
        raise ValueError(f"a warm-up is a share from 0 to less than 1 of a run, not {cut:g}")
    return values[round(len(values) * cut) :]


def _student(level: float, freedom: int) -> float:
    from scipy.special import stdtrit  # scipy.stats has the same, and takes a second to load

    return float(stdtrit(freedom, (1 + level) / 2))


def _lag_1(values: Sequence[float]) -> float:
    """The correlation of neighbours."""
    mean = fmean(values)
    squares = sum((value - mean) ** 2 for value in values)
    return sum((a - mean) * (b - mean) for a, b in pairwise(values)) / squares if squares else 0.0

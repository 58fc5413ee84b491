"""◇ Where inside its minute an invocation lies, when a trace only says how many there were.

The trace can't tell, so the reader must choose, and the choice shows in every cold start of a second function in the
minute. Three rules:

- `uniform` (the default): each falls anywhere, independently: what a Poisson process does when its count is known.
- `even`: equal gaps, from a phase of the function's own in each bucket.
- `start`: equal gaps, the first at the bucket's beginning (all functions burst together at the full minute).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from sim.traces import chance
from sim.traces.chance import Whole, Words

Spread = Literal["uniform", "even", "start"]

QUANTILES = (0, 1, 25, 50, 75, 99, 100)
"""The percentiles at which a trace tells a function's durations."""
_POINTS = np.array([percent * (1 << 32) // 100 for percent in QUANTILES], np.int64)


def instants(rule: Spread, start_ns: Whole, width_ns: int, position: Whole, count: Whole, key: Words) -> Whole:
    """The instant of invocation `position` of the `count` in the bucket that begins at `start_ns`.

    All of equal length; `key` is the function's in this bucket. At most 2**22 invocations a bucket of an hour, so that
    the products fit.
    """
    if rule == "start":
        return start_ns + position * width_ns // count
    if rule == "even":
        return start_ns + (position * width_ns + chance.below(key, width_ns)) // count
    return start_ns + chance.below(chance.draws(key, position), width_ns)


def durations(quantiles_ns: Whole, function: Whole, words: Words) -> Whole:
    """A duration for each draw, on straight lines between the function's quantiles (its row of `quantiles_ns`)."""
    bits = chance.bits32(words)
    cell = np.searchsorted(_POINTS, bits, "right") - 1
    part = ((bits - _POINTS[cell]) << 16) // (_POINTS[cell + 1] - _POINTS[cell])
    low = quantiles_ns[function, cell]
    return low + (((quantiles_ns[function, cell + 1] - low) * part) >> 16)

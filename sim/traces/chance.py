"""◇ Chance without a state: the n-th draw of a function is a hash of (seed, function, n).

So what is drawn does not depend on the size of blocks, on the order in which functions are served, or on other
functions being there. Only integers take part: every machine draws the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Whole = NDArray[np.int64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mixed(words: Words) -> Words:
    """The words, each scattered over all 64 bits (the finisher of Steele, Lea and Flood's SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def keys(seed: int, stream: int, count: int) -> Words:
    """A key for each of `count` functions; other seeds and streams give unrelated keys."""
    start = np.full(count, seed % (1 << 64), np.uint64)
    start = mixed(start + np.uint64(stream) * np.ones(count, np.uint64) * _STEP)
    return mixed(start + np.arange(1, count + 1, dtype=np.uint64) * _STEP)


def draws(key: Words, position: Whole) -> Words:
    """The draw at each position (counted from 0) of the sequence with each key: 64 uniform bits."""
    return mixed(key + (position.astype(np.uint64) + np.uint64(1)) * _STEP)


def below(words: Words, limit: int) -> Whole:
    """Uniform whole numbers from 0 to limit - 1, where limit is at most 2**40 (so the bias is below 2**-24)."""
    return (words % np.uint64(limit)).astype(np.int64)


def bits32(words: Words) -> Whole:
    """The upper 32 bits: uniform from 0 to 2**32 - 1."""
    return (words >> np.uint64(32)).astype(np.int64)


def interpolated(table: Whole, words: Words) -> Whole:
    """Draws from a distribution whose quantiles at 0, 1/m .. 1 are `table` (m + 1 of them, m a power of two)."""
    cells = len(table) - 1
    shift = 32 - (cells.bit_length() - 1)
    bits = bits32(words)
    cell = bits >> shift
    part = (bits & ((1 << shift) - 1)) >> max(0, shift - 16)
    low = table[cell]
    return low + (((table[cell + 1] - low) * part) >> min(shift, 16))

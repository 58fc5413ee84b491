"""◇ Chance, made of names: every source of it has a stream of its own, derived from one seed.

A draw that is added somewhere moves no other stream. Streams are used in two ways, and both give the same numbers
whatever the policies do, so that two policies can be compared on the same luck (common random numbers):

- `sequence` is read in an order that the workload alone gives, as the durations of a function's runs.
- `Stream.at(k)` is asked for the k-th thing, as the cold start of invocation k, whether it happens or not.

The numbers are the same on every CPython from 3.11 on, and don't depend on PYTHONHASHSEED.
"""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Protocol

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: successive states of splitmix64
_TO_UNIT = 2.0**-53


class Source(Protocol):
    """Where uniform numbers come from: a `random.Random` or a `Stream`."""

    def random(self) -> float:
        """The next number in [0, 1)."""
        ...


def _digest(seed: int, name: str, size_bytes: int) -> int:
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=size_bytes).digest(), "big")


def sequence(seed: int, name: str) -> random.Random:
    """The stream `name` of the seed, to be read from the front. Takes 10 µs and 2.5 kB; a number takes 40 ns."""
    return random.Random(_digest(seed, name, 16))


def _mix(number: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea, Flood, 2014): each bit of 64 depends on all of them."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


class Stream:
    """The stream `name` of the seed, as a table of sequences: `at(k)` turns it to the k-th. A number takes 0.4 µs."""

    __slots__ = ("_key", "_state")

    def __init__(self, seed: int, name: str) -> None:
        self._key = _digest(seed, name, 8)
        self._state = self._key

    def at(self, index: int) -> Stream:
        """This stream, turned to the beginning of its sequence `index` (from 0)."""
        self._state = _mix(self._key ^ _mix((index * _STEP + _STEP) & _MASK))
        return self

    def random(self) -> float:
        """The next number of the sequence, in [0, 1), with 53 bits."""
        self._state = (self._state + _STEP) & _MASK
        return (_mix(self._state) >> 11) * _TO_UNIT

    def bits(self, index: int) -> int:
        """The number `index` (from 0) of 64 bits, each value as likely: a single one for each thing, in half the time
        of `at`. Not to be used beside it."""
        return _mix((self._key + index * _STEP) & _MASK)

"""◇ Arrivals of many functions at once, each a renewal process of its own rate and variation.

The gap's law, of mean 1, follows from its coefficient of variation: 0 a constant; below 1 a constant plus an
exponential; 1 an exponential; above 1 one of two exponentials, with balanced means. The first arrival is
drawn as if the process had run for ever. The day's swing bends time: a load that follows the hour is a steady one, read
on another clock.

Tables are rounded to 2**-20 and everything after is made of single additions, multiplications, divisions, square roots
and roundings, which every machine does alike: a seed gives the same arrivals, whatever the C library.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sim.generator.marginals import SWING
from sim.traces import chance
from sim.traces.chance import Whole, Words
from sim.workload import Block, SimFunction

Reals = NDArray[np.float64]

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
PEAK_HOUR = 14
WINDOW_INVOCATIONS = 1 << 16
"""Invocations expected of the stretch of time that is drawn at once."""
GAP_NS_MAX = 10 * 366 * DAY_NS
RUN_SIGMA = 0.5
"""A run's duration varies about its function's mean by a lognormal factor of this sigma."""

_GRAIN = 1 << 20
_CELLS = 4096
_GAPS, _FIRSTS, _PHASES, _RUNS, _FIRST_PHASES = 11, 12, 13, 14, 15
_NORMAL = NormalDist()


def _exponential_table() -> Whole:
    """Quantiles of the exponential; the last cell is as long as gives its mean."""
    nodes = [-math.log1p(-at / _CELLS) for at in range(_CELLS)]
    nodes.append(nodes[-1] + 2.0)
    return np.array([round(node * _GRAIN) for node in nodes], np.int64)


def _run_table() -> Whole:
    """Quantiles of the factor of a run, of mean 1."""
    shares = [min(max(at / _CELLS, 0.25 / _CELLS), 1 - 0.25 / _CELLS) for at in range(_CELLS + 1)]
    nodes = [math.exp(RUN_SIGMA * _NORMAL.inv_cdf(share)) for share in shares]
    mean = (sum(nodes) - (nodes[0] + nodes[-1]) / 2) / _CELLS
    return np.array([round(node / mean * _GRAIN) for node in nodes], np.int64)


def _clock() -> tuple[list[int], list[int]]:
    """For each hour of the day: the load in 1/1024 of the mean, and the load's sum up to its begin, in ns."""
    loads = [round(1024 * (1 + SWING * math.cos(2 * math.pi * (hour - PEAK_HOUR) / 24))) for hour in range(24)]
    loads[PEAK_HOUR] += 24 * 1024 - sum(loads)
    sums = [0]
    for load in loads:
        sums.append(sums[-1] + load * (HOUR_NS // 1024) + load * (HOUR_NS % 1024) // 1024)
    return loads, sums


EXPONENTIAL = _exponential_table()
RUN_FACTOR = _run_table()
_LOADS, _SUMS = _clock()
_LOAD_OF_HOUR = np.array(_LOADS, np.int64)
_SUM_AT_HOUR = np.array(_SUMS[:-1], np.int64)
_SWING_DAY_NS = _SUMS[-1]


def bent(steady_ns: Whole) -> Whole:
    """Instants of a steady load to those of one that follows the hour of the day; never falling."""
    day, rest = steady_ns // _SWING_DAY_NS, steady_ns % _SWING_DAY_NS
    hour = np.searchsorted(_SUM_AT_HOUR, rest, "right") - 1
    into = np.minimum((rest - _SUM_AT_HOUR[hour]) * 1024 // _LOAD_OF_HOUR[hour], HOUR_NS - 1)
    return day * DAY_NS + hour * HOUR_NS + into


class Renewal:
    """Arrivals of functions as a workload.

    `per_s`: each function's rate; `gap_cv`: the variation of its gaps; `run_ns`: its mean run; `swings`: whether its
    load follows the hour of the day. `duration_s` ends the workload.
    """

    def __init__(
        self,
        functions: Sequence[SimFunction],
        *,
        per_s: Sequence[float],
        gap_cv: Sequence[float],
        run_ns: Sequence[float],
        swings: Sequence[bool],
        duration_s: float,
        seed: int,
    ) -> None:
        if not functions or min(per_s) <= 0 or min(gap_cv) < 0 or min(run_ns) < 0 or duration_s <= 0:
            raise ValueError("arrivals need functions, rates and a duration above 0, and no cv or run below 0")
        self.functions = tuple(functions)
        self._end_ns = round(duration_s * SECOND_NS)
        self._mean_ns: Reals = SECOND_NS / np.array(per_s, np.float64)
        self._cv: Reals = np.array(gap_cv, np.float64)
        self._run_ns: Reals = np.array(run_ns, np.float64)
        self._swings = np.array(swings, np.bool_)
        square = np.maximum(self._cv, 1.0) ** 2
        self._often: Reals = 0.5 * (1.0 + np.sqrt((square - 1.0) / (square + 1.0)))
        self._window_ns = max(1, min(DAY_NS, round(WINDOW_INVOCATIONS / float(np.sum(1.0 / self._mean_ns)))))
        count = len(self.functions)
        self._keys = {
            stream: chance.keys(seed, stream, count) for stream in (_GAPS, _FIRSTS, _PHASES, _RUNS, _FIRST_PHASES)
        }

    def blocks(self) -> Iterator[Block]:
        """The invocations, in the order of time; at one instant, in the order of functions."""
        coming = self._firsts()
        drawn = np.zeros(len(coming), np.int64)
        begin_ns = 0
        while begin_ns < self._end_ns:
            begin_ns = min(begin_ns + self._window_ns, self._end_ns)
            at_ns, function, position = self._until(begin_ns, coming, drawn)
            if not len(at_ns):
                continue
            order = np.lexsort((position, function, at_ns))
            at_ns, function, position = at_ns[order], function[order], position[order]
            factor = chance.interpolated(RUN_FACTOR, chance.draws(self._keys[_RUNS][function], position))
            run_ns = np.rint(self._run_ns[function] * (factor / _GRAIN)).astype(np.int64)
            yield Block(
                array("q", at_ns.tobytes()),
                array("I", function.astype(np.uint32).tobytes()),
                array("q", run_ns.tobytes()),
            )

    def _firsts(self) -> Whole:
        """Each function's first arrival: the rest of a gap that was running when the workload began."""
        nowhere = np.zeros(len(self.functions), np.int64)
        word = chance.draws(self._keys[_FIRSTS], nowhere)
        phase = _unit(chance.draws(self._keys[_FIRST_PHASES], nowhere))
        exponential = chance.interpolated(EXPONENTIAL, word) / _GRAIN
        fixed = 1.0 - np.minimum(self._cv, 1.0)
        steady = np.where(phase < fixed, _unit(word) * fixed, fixed + np.minimum(self._cv, 1.0) * exponential)
        rare = np.where(phase < 0.5, 0.5 / self._often, 0.5 / (1.0 - self._often))
        rest = np.where(self._cv > 1.0, exponential * rare, steady)
        return np.minimum(np.rint(self._mean_ns * rest), GAP_NS_MAX).astype(np.int64)

    def _gaps(self, function: Whole, position: Whole) -> Whole:
        exponential = chance.interpolated(EXPONENTIAL, chance.draws(self._keys[_GAPS][function], position)) / _GRAIN
        cv = np.minimum(self._cv[function], 1.0)
        gap = (1.0 - cv) + cv * exponential
        varied = np.flatnonzero(self._cv[function] > 1.0)
        often = self._often[function[varied]]
        phase = _unit(chance.draws(self._keys[_PHASES][function[varied]], position[varied]))
        gap[varied] = exponential[varied] * np.where(phase < often, 0.5 / often, 0.5 / (1.0 - often))
        return np.minimum(np.rint(self._mean_ns[function] * gap), GAP_NS_MAX).astype(np.int64)

    def _until(self, end_ns: int, coming: Whole, drawn: Whole) -> tuple[Whole, Whole, Whole]:
        """(instant, function, position) of the arrivals before `end_ns`, in no order; `coming` and `drawn` move on.

        `coming` is on the function's own clock: the steady one for a function that swings.
        """
        bound = np.where(self._swings, _steady(end_ns), end_ns)
        found: list[tuple[Whole, Whole, Whole]] = []
        while len(active := np.flatnonzero(coming < bound)):
            expected = (bound[active] - coming[active]) / self._mean_ns[active]
            ask = np.minimum(expected * 1.05 + 4.0, 1 << 20).astype(np.int64)
            row = np.repeat(np.arange(len(active)), ask)
            function = active[row]
            place = np.arange(len(row)) - np.repeat(np.cumsum(ask) - ask, ask)
            position = drawn[function] + place
            gaps = self._gaps(function, position)
            sums = np.cumsum(gaps)  # may wrap around, as its differences do
            last = np.cumsum(ask) - 1
            before = sums - gaps
            at_ns = coming[function] + (before - before[last - ask + 1][row])
            kept = at_ns < bound[function]
            found.append((at_ns[kept], function[kept], position[kept]))
            used = np.bincount(row[kept], minlength=len(active))
            final = last - ask + used  # the last kept of each
            coming[active] = at_ns[final] + gaps[final]
            drawn[active] += used
        if not found:
            return coming[:0], coming[:0], coming[:0]
        at_ns, function, position = (np.concatenate(columns) for columns in zip(*found, strict=True))
        swings = self._swings[function]
        at_ns[swings] = bent(at_ns[swings])
        return at_ns, function, position


def _steady(instant_ns: int) -> int:
    """The instant on the steady clock whose bent instant is not before `instant_ns`, and is the first such."""
    day, rest = divmod(instant_ns, DAY_NS)
    hour, into = divmod(rest, HOUR_NS)
    return day * _SWING_DAY_NS + _SUMS[hour] + -(-into * _LOADS[hour] // 1024)


def _unit(words: Words) -> Reals:
    """Uniform in [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

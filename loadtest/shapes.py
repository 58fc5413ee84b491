"""◇ How many users there are at each moment of a load: a number from a time, so that it can be drawn and tested."""

from __future__ import annotations

from math import ceil, cos, pi
from typing import Literal, TypeAlias, get_args

ShapeName: TypeAlias = Literal["constant", "ramp", "spike", "sawtooth", "diurnal"]
SHAPES: tuple[str, ...] = get_args(ShapeName)

SPIKE_BEGINS, SPIKE_ENDS = 0.4, 0.6
"""Parts of the period between which a spike stands."""
LOW = 0.1
"""What part of the peak there is beside a spike, and in the middle of the night."""


def users_at(shape: str, at_s: float, *, peak: int, period_s: float) -> int:
    """Users at `at_s` seconds since the beginning, 1 to `peak`.

    constant: the peak. ramp: from one to the peak within a period, which is how a knee is found. spike: a tenth, and
    the peak for a fifth in the middle of the period. sawtooth: ramps one after the other. diurnal: a cosine from a
    tenth to the peak and back, a day being the period.
    """
    part, phase = (at_s / period_s, at_s % period_s / period_s) if period_s > 0 else (1.0, 0.0)
    match shape:
        case "constant":
            share = 1.0
        case "ramp":
            share = part
        case "spike":
            share = 1.0 if SPIKE_BEGINS <= phase < SPIKE_ENDS else LOW
        case "sawtooth":
            share = phase
        case "diurnal":
            share = LOW + (1 - LOW) * (1 - cos(2 * pi * phase)) / 2
        case _:
            raise ValueError(f"there is no shape {shape!r}; there are {', '.join(SHAPES)}")
    return min(peak, max(1, ceil(share * peak)))

"""The shapes of a load, as numbers of users over time."""

from __future__ import annotations

import pytest

from loadtest.shapes import SHAPES, users_at

PEAK, PERIOD_S = 100, 100.0


def users(shape: str) -> list[int]:
    return [users_at(shape, at_s, peak=PEAK, period_s=PERIOD_S) for at_s in range(201)]


@pytest.mark.parametrize("shape", SHAPES)
def test_there_is_always_somebody_and_never_more_than_the_peak(shape: str) -> None:
    assert min(users(shape)) >= 1
    assert max(users(shape)) <= PEAK
    assert max(users(shape)) >= PEAK - 1
    assert users_at(shape, 1.0, peak=1, period_s=0) == 1


def test_each_has_its_form() -> None:
    assert set(users("constant")) == {PEAK}
    assert users("ramp")[:101:50] == [1, 50, 100]
    assert users("ramp")[200] == 100
    spike = users("spike")
    assert (spike[39], spike[40], spike[59], spike[60]) == (10, 100, 100, 10)
    assert spike[:100] == spike[100:200]
    sawtooth = users("sawtooth")
    assert (sawtooth[99], sawtooth[100], sawtooth[150]) == (99, 1, 50)
    diurnal = users("diurnal")
    assert (diurnal[0], diurnal[50], diurnal[100]) == (10, 100, 10)
    assert abs(diurnal[25] - diurnal[75]) <= 1


def test_an_unknown_one_is_told() -> None:
    with pytest.raises(ValueError, match="sawtooth"):
        users_at("square", 0, peak=1, period_s=1)

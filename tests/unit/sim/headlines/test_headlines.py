"""Headlines: each runs in small, and its verdict follows from its interval."""

from __future__ import annotations

import msgspec
import pytest

from sim.headlines import HEADLINES, Headline, Measured, Row, find
from sim.headlines.greedydual import GreedyDualAgainstTtl
from sim.headlines.histogram import HistogramAgainstFixed
from sim.headlines.placement import HikuAgainstLeastConnections, Load, RandomLoadUpdateAgainstHashing
from sim.statistics import Interval

SHORT = Load(functions=60, minutes=1.0)
SMALL: dict[str, Headline] = {
    "hybrid-histogram": HistogramAgainstFixed(apps=60, days=2.0),
    "greedy-dual": GreedyDualAgainstTtl(functions=60, hours=2.0),
    "ch-rlu": RandomLoadUpdateAgainstHashing(load=SHORT),
    "hiku": HikuAgainstLeastConnections(load=SHORT),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_headline_in_small(name: str) -> None:
    headline = SMALL[name]
    first, again = headline.measure(1), headline.measure(1)
    assert first == again, "the same seed, the same figures"
    assert first != headline.measure(2)
    assert headline.bounds.keys() <= first.ratios.keys()
    assert all(ratio > 0 for ratio in first.ratios.values())
    assert headline.claim
    assert headline.setting
    assert headline.remark


def test_the_small_ones_are_those_that_there_are() -> None:
    assert SMALL.keys() == HEADLINES.keys()


class Written(msgspec.Struct, frozen=True):
    """A headline whose figures are written down."""

    ratios: tuple[float, ...]
    claim: str = "claim"
    setting: str = "setting"
    remark: str = "remark"

    @property
    def bounds(self) -> dict[str, float]:
        return {"ratio": 2.0}

    def measure(self, seed: int) -> Measured:
        return Measured({"seed": float(seed)}, {"ratio": self.ratios[seed]})


def test_ratios_are_averaged_geometrically() -> None:
    counted: list[float] = []
    finding = find("written", Written((1.0, 4.0, 1.0, 4.0)), (0, 1, 2, 3), done=counted.append)
    seed, ratio = finding.rows
    assert (seed.figure, seed.interval.mean, seed.verdict) == ("seed", 1.5, None)
    assert ratio.interval.mean == pytest.approx(2.0)
    assert ratio.verdict == "in doubt"
    assert counted == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="two seeds"):
        find("written", Written((1.0,)), (0,))


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(2.0, 3.0, "reproduced"), (1.0, 2.0, "in doubt"), (1.0, 1.9, "not reproduced")]
)
def test_the_verdict(low: float, high: float, verdict: str) -> None:
    assert Row("ratio", Interval((low + high) / 2, low, high, 0.99, 5), 2.0).verdict == verdict

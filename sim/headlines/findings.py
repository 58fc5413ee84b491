"""◆ How a headline is tried: on several seeds, in processes, with an interval for each figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Literal, Protocol

import msgspec

from sim.statistics import Interval, replications

LEVEL = 0.99
SEEDS = tuple(range(1, 9))

Verdict = Literal["reproduced", "in doubt", "not reproduced"]


class Measured(msgspec.Struct, frozen=True):
    """One seed's figures by name, the same names for each seed; `ratios`, all positive, are averaged geometrically."""

    figures: dict[str, float]
    ratios: dict[str, float]


class Headline(Protocol):
    """One claim."""

    @property
    def claim(self) -> str:
        """What the paper says, with the paper."""
        ...

    @property
    def setting(self) -> str:
        """What is simulated here, in words."""
        ...

    @property
    def bounds(self) -> dict[str, float]:
        """The ratios that the claim is about, and what each has to reach at least."""
        ...

    @property
    def remark(self) -> str:
        """What to know of the result: where it holds, and why not elsewhere."""
        ...

    def measure(self, seed: int) -> Measured:
        """Simulate once."""
        ...


class Row(msgspec.Struct, frozen=True):
    """One figure: its interval over the seeds, and the bound that it has to reach, where the claim has one."""

    figure: str
    interval: Interval
    at_least: float | None

    @property
    def verdict(self) -> Verdict | None:
        """What the interval says of the bound; None without one."""
        if self.at_least is None:
            return None
        if self.interval.low >= self.at_least:
            return "reproduced"
        return "in doubt" if self.interval.high >= self.at_least else "not reproduced"


class Finding(msgspec.Struct, frozen=True):
    """What came of a headline."""

    name: str
    claim: str
    setting: str
    remark: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]


def find(
    name: str,
    headline: Headline,
    seeds: Sequence[int] = SEEDS,
    *,
    jobs: int = 1,
    done: Callable[[float], None] = lambda _count: None,
) -> Finding:
    """Try a headline on these seeds, `jobs` at a time; `done` is told how many are. Raises ValueError below 2 seeds."""
    if len(seeds) < 2:
        raise ValueError("an interval takes two seeds at least")
    measured: list[Measured] = []
    for one in _measured(headline, seeds, jobs):
        measured.append(one)
        done(len(measured))
    rows = [
        Row(name, replications([one.figures[name] for one in measured], LEVEL), None) for name in measured[0].figures
    ]
    rows += [
        Row(name, _geometric([one.ratios[name] for one in measured]), headline.bounds.get(name))
        for name in measured[0].ratios
    ]
    return Finding(name, headline.claim, headline.setting, headline.remark, tuple(seeds), tuple(rows))


def _geometric(ratios: Sequence[float]) -> Interval:
    """The geometric mean with its interval: twice as good and half as good cancel out."""
    log = replications([math.log(ratio) for ratio in ratios], LEVEL)
    return msgspec.structs.replace(log, mean=math.exp(log.mean), low=math.exp(log.low), high=math.exp(log.high))


def _measured(headline: Headline, seeds: Sequence[int], jobs: int) -> Iterator[Measured]:
    if jobs == 1:
        yield from map(headline.measure, seeds)
        return
    with ProcessPoolExecutor(min(jobs, len(seeds)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(headline.measure, seeds)

"""◆ Counters and histograms of the hot path, which one thread writes.

prometheus_client's own take a lock for each bucket and sum, since any thread may use them: some ten microseconds for
what an activation counts. These cost a tenth; the library still names, checks and prints them. Only the loop's thread
may count; a scrape in another thread copies, so that each histogram it shows is whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]


class Counter:
    """One series that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """One more."""
        self.value += 1


class Histogram:
    """One series of observations; `bounds` are the buckets' upper ends, ascending, infinity left out."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value into its bucket."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """(upper end, observations up to it) for each bucket, and the sum of all values."""
        counts, total = self._counts.copy(), self._sum
        buckets: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip([*self._bounds, float("inf")], counts, strict=True):
            seen += count
            buckets.append((floatToGoString(bound), seen))
        return buckets, total


class Tallies(Collector):
    """Makes the series and shows them to a registry."""

    def __init__(self) -> None:
        self._counters: list[tuple[str, str, str | None, dict[str, Counter]]] = []
        self._histograms: list[tuple[str, str, Histogram]] = []

    def counter(self, name: str, what: str) -> Counter:
        """A counter without a label; `_total` is added to its name when shown."""
        made = Counter()
        self._counters.append((name, what, None, {"": made}))
        return made

    def counters(self, name: str, what: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        """Counters of one name, by the values of its label."""
        made = {value: Counter() for value in values}
        self._counters.append((name, what, label, made))
        return made

    def histogram(self, name: str, what: str, bounds: Sequence[float]) -> Histogram:
        """A histogram without a label."""
        made = Histogram(bounds)
        self._histograms.append((name, what, made))
        return made

    def collect(self) -> Iterable[Metric]:
        for name, what, label, series in self._counters:
            counter = CounterMetricFamily(name, what, labels=[] if label is None else [label])
            for value, one in series.items():
                counter.add_metric([] if label is None else [value], one.value)
            yield counter
        for name, what, histogram in self._histograms:
            buckets, total = histogram.cumulated()
            family = HistogramMetricFamily(name, what)
            family.add_metric([], buckets, total)
            yield family

"""◇ The hybrid histogram: from how long functions usually rest, when to let go of them and when to be ready again."""

from __future__ import annotations

import msgspec

from invoker.policy.container import Container
from invoker.policy.function import Function, Stem
from invoker.policy.keepalive.base import Amount, KeepAlive, Length, Percent, Whole
from invoker.policy.keepalive.foresight import Memory, Window, Windows
from invoker.policy.keepalive.recency import LeastRecentlyUsed
from invoker.policy.types import MINUTE_NS


class HybridHistogram(msgspec.Struct, frozen=True, tag="hybrid-histogram"):
    """The hybrid histogram policy (Shahrad et al., "Serverless in the Wild", ATC 2020), for each function.

    A rest is the span from the end of a function's last activation until the next one arrives. Rests fill a histogram
    of `bins` of `bin_ns`. After an activation: where the histogram says something (its bins' counts vary: the CV of the
    counts is at least `cv_min_percent`), its `head_percent` quantile, rounded down to a bin and less `margin_percent`,
    is the time for which the function may be gone, and its `tail_percent` quantile, rounded up and more
    `margin_percent`, when to give it up. A head of 0: the container stays all the while. Otherwise it goes at once, and
    one is started again at the head.

    Fewer than `samples_min` rests, or a flat histogram: it stays for the histogram's whole range. At least
    `beyond_percent` of rests beyond the range: the next rest is forecast, and a container stands ready from
    `forecast_margin_percent` before to as much after it. The paper forecasts with ARIMA; here stands an exponentially
    weighted mean of the rests beyond the range (weight 1/4), in whole numbers, as ARIMA's fit differs in its last
    digits between machines, and a decision must not.

    What is started ahead has no code yet (see `foresight`): it spares the start, not the initialisation. At most
    `functions_max` functions are remembered. Under pressure, least recently used goes first.
    """

    bin_ns: Amount = MINUTE_NS
    bins: Length = 240
    head_percent: Percent = 5
    tail_percent: Percent = 99
    margin_percent: Percent = 10
    cv_min_percent: Whole = 200
    samples_min: Amount = 10
    beyond_percent: Percent = 50
    forecast_margin_percent: Percent = 15
    functions_max: Amount = 10_000

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _HybridHistogram(self)


class Histogram:
    """Counts by bin. A Fenwick tree: adding and finding a quantile are O(log bins)."""

    __slots__ = ("_counts", "_size", "_squares", "_tree", "total")

    def __init__(self, bins: int) -> None:
        self.total = 0
        self._size = 1 << (bins - 1).bit_length()
        self._tree = [0] * (self._size + 1)
        self._counts: dict[int, int] = {}
        self._squares = 0

    def add(self, index: int) -> None:
        """One more in the bin."""
        count = self._counts.get(index, 0)
        self._counts[index] = count + 1
        self._squares += 2 * count + 1
        self.total += 1
        at = index + 1
        while at <= self._size:
            self._tree[at] += 1
            at += at & -at

    def quantile(self, percent: int) -> int:
        """The first bin up to which at least `percent` of all lie (at least one); there is one at least."""
        left = max(1, -(-self.total * percent // 100))
        at, step = 0, self._size
        while step:
            if at + step <= self._size and self._tree[at + step] < left:
                at += step
                left -= self._tree[at]
            step >>= 1
        return at

    def varies(self, bins: int, cv_min_percent: int) -> bool:
        """Whether the standard deviation of the bins' counts is at least so many percent of their mean."""
        return 10_000 * (bins * self._squares - self.total**2) >= cv_min_percent**2 * self.total**2


class _History:
    """What is remembered of a function. `ended_ns` -1: it is not at rest."""

    __slots__ = ("beyond", "ended_ns", "forecast_ns", "histogram", "window")

    def __init__(self, bins: int) -> None:
        self.histogram = Histogram(bins)
        self.beyond = 0
        self.forecast_ns = 0
        self.ended_ns = -1
        self.window: Window | None = None


class _HybridHistogram(KeepAlive):
    foresees = True

    def __init__(self, spec: HybridHistogram) -> None:
        self._spec = spec
        self._range_ns = spec.bins * spec.bin_ns
        self._windows = Windows()
        self._memory: Memory[_History] = Memory(spec.functions_max, self._windows)
        self._order = LeastRecentlyUsed(0)

    def arrived(self, function: Function, now_ns: int) -> None:
        history = self._memory.get(function.key)
        if history is None or history.ended_ns < 0:
            return
        self._windows.call_off(history.window)
        history.window = None
        rest_ns = now_ns - history.ended_ns
        history.ended_ns = -1
        if rest_ns < self._range_ns:
            history.histogram.add(rest_ns // self._spec.bin_ns)
            return
        history.forecast_ns = (3 * history.forecast_ns + rest_ns) // 4 if history.beyond else rest_ns
        history.beyond += 1

    def idle(self, container: Container, now_ns: int) -> int:
        self._order.idle(container, now_ns)
        function = container.function
        assert function is not None
        history = self._memory.get(function.key)
        if history is None:
            history = self._memory.put(function.key, _History(self._spec.bins))
        away_ns, until_ns = self._spans(history)
        if not (function.active or function.waiting or function.starting):
            history.ended_ns = now_ns
            self._windows.call_off(history.window)
            history.window = self._windows.plan(function.stem, now_ns + away_ns, now_ns + until_ns) if away_ns else None
        return max(1, now_ns) if away_ns else now_ns + until_ns

    def taken(self, container: Container) -> None:
        self._order.taken(container)

    def victim(self) -> Container | None:
        return self._order.victim()

    def next_ns(self) -> int:
        return self._windows.next_ns()

    def foresee(self, now_ns: int) -> list[Stem]:
        return self._windows.turn(now_ns)

    def _spans(self, history: _History) -> tuple[int, int]:
        """From the end of an activation: for how long the function may be gone (0: it stays), and when to give up."""
        spec, histogram = self._spec, history.histogram
        rests = histogram.total + history.beyond
        if history.beyond and 100 * history.beyond >= spec.beyond_percent * rests:
            margin_ns = history.forecast_ns * spec.forecast_margin_percent // 100
            return history.forecast_ns - margin_ns, history.forecast_ns + margin_ns
        if rests < spec.samples_min or not histogram.varies(spec.bins, spec.cv_min_percent):
            return 0, self._range_ns
        head_ns = histogram.quantile(spec.head_percent) * spec.bin_ns
        tail_ns = (histogram.quantile(spec.tail_percent) + 1) * spec.bin_ns
        return head_ns * (100 - spec.margin_percent) // 100, tail_ns * (100 + spec.margin_percent) // 100

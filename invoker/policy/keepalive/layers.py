"""◇ Layers of warmth: a container with its code is let go of before the readiness of its runtime is."""

from __future__ import annotations

from collections import deque

import msgspec

from invoker.policy.container import Container
from invoker.policy.function import Function, Stem
from invoker.policy.keepalive.base import Amount, KeepAlive, Length, Permille, SpanNs
from invoker.policy.keepalive.foresight import Memory, Window, Windows
from invoker.policy.keepalive.recency import LeastRecentlyUsed
from invoker.policy.types import MILLISECOND_NS, MINUTE_NS, SECOND_NS, PrewarmKey


class RainbowCake(msgspec.Struct, frozen=True, tag="rainbowcake"):
    """In the manner of RainbowCake (Yu et al., ASPLOS 2024), with the two of its three layers that this heart has.

    The *user* layer is a container with a function's code; the *language* layer one of a runtime and size that knows no
    code, for whichever function comes. A bare layer under all runtimes does not exist here, nor can a container that
    ran user code be stripped of it again: when a function's last container expires, a new one without code is started
    in its place, which costs a start in the background where the original peels a layer off.

    Each layer's time to keep is `gap_percent` of the mean gap between its last `hits` arrivals (161 is the 0.8 quantile
    of an exponential law), at least `shortest_ns` and at most what its start is worth: the more it costs to make and
    the less memory it takes, the longer. That bound is `start ms * weight / (1000 - weight) / memory MB` seconds with
    `weight` = `startup_permille`, never below `shortest_ns`. A layer with fewer than two arrivals keeps `default_ns`.
    At most `functions_max` functions are remembered. Under pressure, least recently used goes first.
    """

    gap_percent: Amount = 161
    hits: Length = 6
    shortest_ns: SpanNs = MINUTE_NS
    default_ns: SpanNs = 10 * MINUTE_NS
    startup_permille: Permille = 996
    functions_max: Amount = 10_000

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _RainbowCake(self)


class _Layer:
    """The instants of the last arrivals at a layer, and the window of the layer below."""

    __slots__ = ("hits_ns", "window")

    def __init__(self, hits: int) -> None:
        self.hits_ns: deque[int] = deque(maxlen=hits)
        self.window: Window | None = None


class _RainbowCake(KeepAlive):
    foresees = True

    def __init__(self, spec: RainbowCake) -> None:
        self._spec = spec
        self._windows = Windows()
        self._users: Memory[_Layer] = Memory(spec.functions_max, self._windows)
        self._languages: dict[PrewarmKey, _Layer] = {}
        self._order = LeastRecentlyUsed(0)

    def arrived(self, function: Function, now_ns: int) -> None:
        user = self._users.get(function.key)
        if user is None:
            user = self._users.put(function.key, _Layer(self._spec.hits))
        self._windows.call_off(user.window)
        user.window = None
        user.hits_ns.append(now_ns)
        self._language(function.stem.key).hits_ns.append(now_ns)

    def idle(self, container: Container, now_ns: int) -> int:
        self._order.idle(container, now_ns)
        function = container.function
        assert function is not None
        user = self._users.get(function.key)
        if user is None:  # forgotten, while it ran
            user = self._users.put(function.key, _Layer(self._spec.hits))
        expires_ns = now_ns + max(1, self._keep_ns(user, function.cost_ns, function.memory_mb))
        if not (function.active or function.waiting or function.starting):
            language = self._language(function.stem.key)
            keep_ns = self._keep_ns(language, container.start_ns, container.memory_mb)
            self._windows.call_off(user.window)
            user.window = self._windows.plan(function.stem, expires_ns, expires_ns + keep_ns)
        return expires_ns

    def taken(self, container: Container) -> None:
        self._order.taken(container)

    def victim(self) -> Container | None:
        return self._order.victim()

    def next_ns(self) -> int:
        return self._windows.next_ns()

    def foresee(self, now_ns: int) -> list[Stem]:
        return self._windows.turn(now_ns)

    def _language(self, key: PrewarmKey) -> _Layer:
        return self._languages.setdefault(key, _Layer(self._spec.hits))

    def _keep_ns(self, layer: _Layer, start_ns: int, memory_mb: int) -> int:
        spec, hits_ns = self._spec, layer.hits_ns
        if len(hits_ns) < 2:
            return spec.default_ns
        wished_ns = (hits_ns[-1] - hits_ns[0]) * spec.gap_percent // (100 * (len(hits_ns) - 1))
        worth = start_ns * spec.startup_permille  # ceil(worth / (1000 - permille) / MB) is the bound's seconds
        bound_s = -(-worth // ((1000 - spec.startup_permille) * memory_mb * MILLISECOND_NS))
        return max(spec.shortest_ns, min(wished_ns, bound_s * SECOND_NS))

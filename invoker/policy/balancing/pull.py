"""◇ Pull: invokers that have done with something say so, and are given the next that suits them."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush

import msgspec

from invoker.policy.balancing.balancer import NOWHERE, Balancer, Indifferent
from invoker.policy.balancing.cluster import Cluster, Overflow, Request

_Action = tuple[str, str, str, int]


class Hiku(msgspec.Struct, frozen=True, tag="hiku"):
    """Pull-based scheduling (Akbari and Hauswirth, "Hiku", 2025).

    An invoker that has run an action has an idle container of it, and offers that. An arrival takes the offer of the
    invoker that had the fewest activations when it offered; where there is none, the invoker with the fewest now, one
    of equals by the request's number. An eviction takes an offer back, where the invokers tell of evictions.
    """

    offers_max: int = 100_000

    def build(self) -> Balancer:
        """The balancer, with a state of its own."""
        return _Hiku(self)


class JoinIdleQueue(msgspec.Struct, frozen=True, tag="jiq"):
    """Join-Idle-Queue (Lu et al., Performance Evaluation 2011): an invoker with fewer than `idle_below` activations
    stands in a queue; an arrival takes the first, or any usable one by the request's number where nobody stands."""

    idle_below: int = 1

    def build(self) -> Balancer:
        """The balancer, with a state of its own."""
        return _JoinIdleQueue(self)


class _Offers(msgspec.Struct, eq=False):
    """Of one action: a heap of (active then, count, invoker), and how many offers of each invoker hold. What an
    eviction took back stays in the heap until it comes up."""

    heap: list[tuple[int, int, int]] = []
    held: dict[int, int] = {}


class _Hiku(Indifferent):
    """`_actions` are in the order of their last offer: past the limit the one without for longest is forgotten."""

    def __init__(self, spec: Hiku) -> None:
        self._max = spec.offers_max
        self._actions: OrderedDict[_Action, _Offers] = OrderedDict()
        self._entries = 0
        self._count = 0

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        index = self._offered(request, cluster)
        if index is not None:
            return cluster.door(index, request)
        least = cluster.loads.least()
        return cluster.door(least[request.chance % len(least)], request) if least else NOWHERE

    def acknowledged(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""
        if not cluster.invokers[invoker].usable:
            return
        key = _key(request)
        offers = self._actions.get(key)
        if offers is None:
            offers = self._actions[key] = _Offers()
        else:
            self._actions.move_to_end(key)
        self._count += 1
        heappush(offers.heap, (cluster.invokers[invoker].active, self._count, invoker))
        offers.held[invoker] = offers.held.get(invoker, 0) + 1
        self._entries += 1
        while self._entries > self._max:
            self._entries -= len(self._actions.popitem(last=False)[1].heap)

    def turned(self, invoker: int, usable: bool, cluster: Cluster) -> None:
        """See Balancer. Whoever was away comes back without containers."""
        if not usable:
            for offers in self._actions.values():
                offers.held.pop(invoker, None)

    def evicted(self, request: Request, invoker: int) -> None:
        """See Balancer."""
        offers = self._actions.get(_key(request))
        if offers is not None and invoker in offers.held:
            _take_back(offers, invoker)

    def _offered(self, request: Request, cluster: Cluster) -> int | None:
        key = _key(request)
        offers = self._actions.get(key)
        if offers is None:
            return None
        found = None
        while offers.heap and found is None:
            invoker = heappop(offers.heap)[2]
            self._entries -= 1
            if invoker in offers.held:
                _take_back(offers, invoker)
                found = invoker
        if not offers.heap:
            del self._actions[key]
        return found


def _key(request: Request) -> _Action:
    """Who may share a container, as far as a controller sees it."""
    return request.namespace, request.action, request.version, request.memory_mb


def _take_back(offers: _Offers, invoker: int) -> None:
    offers.held[invoker] -= 1
    if not offers.held[invoker]:
        del offers.held[invoker]


class _JoinIdleQueue(Indifferent):
    def __init__(self, spec: JoinIdleQueue) -> None:
        self._below = max(1, spec.idle_below)
        self._idle: OrderedDict[int, None] = OrderedDict()

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        if self._idle:
            return cluster.door(next(iter(self._idle)), request)
        usable = cluster.usable
        return cluster.door(usable[request.chance % len(usable)], request) if usable else NOWHERE

    def sent(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""
        self._review(invoker, cluster, again=True)

    def acknowledged(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""
        self._review(invoker, cluster)

    def timed_out(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""
        self._review(invoker, cluster)

    def turned(self, invoker: int, usable: bool, cluster: Cluster) -> None:
        """See Balancer."""
        self._review(invoker, cluster)

    def _review(self, invoker: int, cluster: Cluster, again: bool = False) -> None:
        """Whether the invoker stands in the queue; `again`: at its end."""
        seen = cluster.invokers[invoker]
        if not (seen.usable and seen.active < self._below):
            self._idle.pop(invoker, None)
        else:
            self._idle[invoker] = None
            if again:
                self._idle.move_to_end(invoker)

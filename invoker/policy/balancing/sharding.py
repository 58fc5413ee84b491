"""◇ The reference's balancer: each action has a home, and a path through the others from there.

Every controller takes the same path without asking the others, so an action's containers gather where they are used
again. The price: a controller knows only its own share of each invoker.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from math import ceil, floor, gcd

import msgspec

from invoker.policy.balancing.balancer import NOWHERE, Balancer, Indifferent
from invoker.policy.balancing.cluster import Cluster, Overflow, Request


class Sharding(msgspec.Struct, frozen=True, tag="sharding"):
    """OpenWhisk's ShardingContainerPoolBalancer.

    The home is the hash of namespace and action; while the share of an invoker has no room, the path goes on by a step
    that the hash chooses among numbers coprime to the count of invokers, and visits the first two twice. Where none has
    room, any usable one is overloaded, by the request's number. Actions with images of the user's own have invokers
    apart, the last `blackbox_fraction` of all; where there are few invokers the two parts overlap.

    The fractions are floats, as in the reference; a product of two doubles, rounded up or down, is the same everywhere.
    A placement costs up to two probes more than there are invokers.
    """

    managed_fraction: float = 0.9
    blackbox_fraction: float = 0.1

    def build(self) -> Balancer:
        """The balancer."""
        return _Sharding(self)


def java_hash(text: str) -> int:
    """`String.hashCode` of the JVM: over UTF-16 units, base 31, a signed 32-bit number."""
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for position in range(0, len(units), 2):
        value = (31 * value + (units[position] << 8 | units[position + 1])) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


@lru_cache(maxsize=65_536)
def home_hash(namespace: str, action: str) -> int:
    """The number from which home and step follow; `namespace` invokes, `action` is `namespace[/package]/name`."""
    return abs(java_hash(namespace) ^ java_hash(action))


@lru_cache(maxsize=256)
def step_sizes(count: int) -> tuple[int, ...]:
    """Numbers up to `count` that are coprime to it and to each other, ascending: steps that visit all of `count`."""
    kept: list[int] = []
    for size in range(1, count + 1):
        if gcd(size, count) == 1 and all(gcd(size, other) == 1 for other in kept):
            kept.append(size)
    return tuple(kept)


def forced_timeout_ms(limit_ms: int) -> int:
    """How long the reference waits for an acknowledgement of an activation with this time limit, until it gives up."""
    return 2 * max(limit_ms, 60_000) + 60_000


class _Sharding(Indifferent):
    def __init__(self, spec: Sharding) -> None:
        self._managed = min(1.0, max(0.0, spec.managed_fraction))
        self._blackbox = max(1.0 - self._managed, min(1.0, spec.blackbox_fraction))

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        first, end = self.part(len(cluster.invokers), request.blackbox)
        count = end - first
        if not count:
            return NOWHERE
        number = home_hash(request.namespace, request.action)
        steps = step_sizes(count)
        place, step = number % count, steps[number % len(steps)]
        for _ in range(count + 2):
            invoker = cluster.invokers[first + place]
            if invoker.usable and invoker.slots.fits(request):
                return first + place
            place = (place + step) % count
        low, high = bisect_left(cluster.usable, first), bisect_left(cluster.usable, end)
        return Overflow(cluster.usable[low + request.chance % (high - low)]) if high > low else NOWHERE

    def part(self, count: int, blackbox: bool) -> tuple[int, int]:
        """(first, end) of the invokers for such actions, of `count` in all."""
        if not count:
            return 0, 0
        if blackbox:
            return count - max(1, floor(count * self._blackbox)), count
        return 0, max(1, ceil(count * self._managed))

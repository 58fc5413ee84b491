"""◇ The interface of a balancer, and the simple ones: they look at nothing, or only at how much was sent where."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

import msgspec

from invoker.policy.balancing.cluster import Cluster, Overflow, Request

NOWHERE = Overflow(None)
"""No invoker is usable: the activation can't be placed."""


class Balancer(Protocol):
    """What a controller asks of a balancer, and tells it. `cluster` is always up to date when a method is called."""

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        """The invoker to send to by HTTP, or where to send by a topic."""
        ...

    def sent(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """The activation was sent to the invoker, by whichever way."""
        ...

    def acknowledged(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """The invoker has done with it."""
        ...

    def timed_out(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """No acknowledgement came in time: it counts as done, though the invoker may still be at it."""
        ...

    def turned(self, invoker: int, usable: bool, cluster: Cluster) -> None:
        """The invoker became usable, or is not any more."""
        ...

    def evicted(self, request: Request, invoker: int) -> None:
        """An idle container of the request's action was removed from the invoker; few systems tell."""
        ...


class Indifferent:
    """Learns nothing from what happens."""

    def sent(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""

    def acknowledged(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""

    def timed_out(self, now_ns: int, request: Request, invoker: int, cluster: Cluster) -> None:
        """See Balancer."""

    def turned(self, invoker: int, usable: bool, cluster: Cluster) -> None:
        """See Balancer."""

    def evicted(self, request: Request, invoker: int) -> None:
        """See Balancer."""


class RoundRobin(msgspec.Struct, frozen=True, tag="round-robin"):
    """The next usable invoker each time, in the order of their numbers."""

    def build(self) -> Balancer:
        """The balancer, with a state of its own."""
        return _RoundRobin()


class Random(msgspec.Struct, frozen=True, tag="random"):
    """Any usable invoker, by the request's number."""

    def build(self) -> Balancer:
        """The balancer."""
        return _PowerOfChoices(1)


class PowerOfChoices(msgspec.Struct, frozen=True, tag="power-of-d"):
    """The one with the fewest activations of `choices` usable invokers, drawn by the request's number (Mitzenmacher,
    IEEE TPDS 2001). Of equals, the one drawn first."""

    choices: int = 2

    def build(self) -> Balancer:
        """The balancer."""
        return _PowerOfChoices(max(1, self.choices))


class LeastLoaded(msgspec.Struct, frozen=True, tag="least-loaded"):
    """The usable invoker with the fewest activations (least connections); one of equals by the request's number."""

    def build(self) -> Balancer:
        """The balancer."""
        return _LeastLoaded()


class _RoundRobin(Indifferent):
    def __init__(self) -> None:
        self._last = -1

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        usable = cluster.usable
        if not usable:
            return NOWHERE
        self._last = usable[bisect_right(usable, self._last) % len(usable)]
        return cluster.door(self._last, request)


class _PowerOfChoices(Indifferent):
    """Several indexes are had from one number by dividing it; they differ, and 64 bits are plenty for a few."""

    def __init__(self, choices: int) -> None:
        self._choices = choices

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        usable = cluster.usable
        if not usable:
            return NOWHERE
        left, chance = len(usable), request.chance
        drawn: list[int] = []
        for _ in range(min(self._choices, left)):
            chance, position = divmod(chance, left)
            for before in sorted(drawn):  # skip those drawn already
                position += position >= before
            drawn.append(position)
            left -= 1
        best = min((usable[position] for position in drawn), key=lambda index: cluster.invokers[index].active)
        return cluster.door(best, request)


class _LeastLoaded(Indifferent):
    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        least = cluster.loads.least()
        return cluster.door(least[request.chance % len(least)], request) if least else NOWHERE

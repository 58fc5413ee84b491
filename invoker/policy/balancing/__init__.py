"""◇ Balancing: which invoker a controller sends an activation to, and by which way.

A balancer is a pure object like every policy here: time and chance come with the call. It answers with an invoker, to
be sent to by HTTP, or with an Overflow: no room is believed to be there, so the activation goes to the invoker's topic,
where it waits until the node reads on (the contract's section 1). `Controller` holds a balancer and the view it judges
by; a simulator has one for each controller, each of which knows only what it sent itself.

Every balancer is a spec with a tag (the name in a configuration) and `build()`. `sharding` is what the reference
controller does; the others are for comparison, and for controllers that choose to. A placement costs O(1) or
O(log n), except where a path through the invokers is the algorithm; then it is as long as invokers are full.
"""

from __future__ import annotations

from typing import TypeAlias

from invoker.policy.balancing.balancer import (
    NOWHERE,
    Balancer,
    LeastLoaded,
    PowerOfChoices,
    Random,
    RoundRobin,
)
from invoker.policy.balancing.cluster import Cluster, Overflow, Request
from invoker.policy.balancing.hashing import BoundedLoad, RandomLoadUpdate
from invoker.policy.balancing.pull import Hiku, JoinIdleQueue
from invoker.policy.balancing.sharding import Sharding, forced_timeout_ms
from invoker.policy.types import ActivationId

AnyBalancer: TypeAlias = (
    Sharding
    | RoundRobin
    | Random
    | PowerOfChoices
    | LeastLoaded
    | BoundedLoad
    | RandomLoadUpdate
    | Hiku
    | JoinIdleQueue
)

__all__ = [
    "NOWHERE",
    "AnyBalancer",
    "Balancer",
    "BoundedLoad",
    "Cluster",
    "Controller",
    "Hiku",
    "JoinIdleQueue",
    "LeastLoaded",
    "Overflow",
    "PowerOfChoices",
    "Random",
    "RandomLoadUpdate",
    "Request",
    "RoundRobin",
    "Sharding",
    "forced_timeout_ms",
]


class Controller:
    """One controller: a balancer, and its view of the invokers. `controllers` is how many share the cluster."""

    def __init__(self, spec: AnyBalancer, controllers: int = 1) -> None:
        self.cluster = Cluster(controllers)
        self._balancer = spec.build()

    def join(self, index: int, memory_mb: int, cores: int = 1) -> None:
        """An invoker is heard of for the first time, and usable."""
        self.cluster.seen(index, memory_mb, cores)
        self.turn(index, usable=True)

    def turn(self, index: int, usable: bool) -> None:
        """An invoker became usable, or is not any more."""
        if self.cluster.set_usable(index, usable):
            self._balancer.turned(index, usable, self.cluster)

    def place(self, now_ns: int, request: Request) -> int | Overflow:
        """Where to send the activation (which counts as sent): by HTTP, by a topic, or NOWHERE.

        Its acknowledgement is awaited for `forced_timeout_ms(request.limit_ms)`; then `timed_out` is to be called.
        """
        if request.activation in self.cluster.sent:
            raise ValueError(f"activation {request.activation} is under way already")
        where = self._balancer.place(now_ns, request, self.cluster)
        index = where.invoker if isinstance(where, Overflow) else where
        if index is not None:
            self.cluster.take(request, index)
            self._balancer.sent(now_ns, request, index, self.cluster)
        return where

    def acknowledged(self, now_ns: int, activation: ActivationId) -> bool:
        """An acknowledgement came. False for a late one, of an activation that was given up."""
        entry = self.cluster.settle(activation)
        if entry is not None:
            self._balancer.acknowledged(now_ns, entry[1], entry[0], self.cluster)
        return entry is not None

    def timed_out(self, now_ns: int, activation: ActivationId) -> bool:
        """No acknowledgement came in time: the activation is given up. False where it was settled before."""
        entry = self.cluster.settle(activation)
        if entry is not None:
            self._balancer.timed_out(now_ns, entry[1], entry[0], self.cluster)
        return entry is not None

    def evicted(self, index: int, request: Request) -> None:
        """An invoker told that it removed an idle container, of the action of this request."""
        self._balancer.evicted(request, index)

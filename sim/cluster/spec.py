"""◇ A cluster as data: its nodes and when they are away, its controllers, and how long messages travel."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from invoker.policy import PolicySet
from invoker.policy.balancing import AnyBalancer, Sharding
from sim.latency import Constant, Latency
from sim.node import Node

Delivery: TypeAlias = Literal["at-most-once", "at-least-once"]


class Outage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node is away from `at_ns` on for `lasts_ns`; None: for good.

    It crashes, and what it had taken by HTTP is lost; or (`drain`) it is stopped in good order: it takes nothing new,
    what it has runs to its end, its containers are removed, and only then it is away.
    """

    at_ns: int
    lasts_ns: int | None = None
    drain: bool = False

    def __post_init__(self) -> None:
        if self.at_ns < 0 or (self.lasts_ns is not None and self.lasts_ns <= 0):
            raise ValueError("Outage: at_ns must not be negative, and lasts_ns is above 0, or none for one that lasts")


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node of a cluster. `node` and `policy` None: those of the simulation. `cores` is what controllers are told of
    its size beside its memory (only some balancers ask); 0: its `cpus`, or 1. It joins at `joins_ns`."""

    node: Node | None = None
    policy: PolicySet | None = None
    cores: int = 0
    joins_ns: int = 0
    outages: tuple[Outage, ...] = ()

    def __post_init__(self) -> None:
        if self.cores < 0 or self.joins_ns < 0:
            raise ValueError("Member: cores and joins_ns must not be negative")
        free_ns: int | None = self.joins_ns
        for outage in self.outages:
            if free_ns is None or outage.at_ns < free_ns:
                raise ValueError("Member: outages are in the order of time, don't overlap, and begin after joins_ns")
            free_ns = None if outage.lasts_ns is None else outage.at_ns + outage.lasts_ns


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long messages travel. The defaults are round numbers for one data centre, not measured.

    `http`: from a controller to a node; `answer`: the end of the answer's body, back. `publish`: from a controller into
    a topic; `fetch`: out of it, once the node reads; `completed`: an acknowledgement through the controller's topic.
    """

    http: Latency = Constant(500_000)
    answer: Latency = Constant(500_000)
    publish: Latency = Constant(3_000_000)
    fetch: Latency = Constant(2_000_000)
    completed: Latency = Constant(5_000_000)


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nodes and controllers. `nodes`: each of them, or how many that are all alike.

    `routing`: how callers come to a controller, in turn or by chance. `delivery`: what a crash does to messages read
    from a topic; at most once: they are lost, at least once: they are run again. `retries`: how often an activation is
    sent again that no node had taken. `limit_ms`: the time limit of the functions, by which a controller reckons how
    long it waits for an acknowledgement (`forced_timeout_ms`). `report_every_ns`: each node tells the controllers its
    load that often; 0: never.
    """

    nodes: int | tuple[Member, ...] = 4
    controllers: int = 1
    balancer: AnyBalancer = Sharding()
    routing: Literal["round-robin", "drawn"] = "round-robin"
    network: Network = Network()
    delivery: Delivery = "at-most-once"
    retries: int = 4
    limit_ms: int = 60_000
    report_every_ns: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= NODES_MAX or not 1 <= self.controllers <= CONTROLLERS_MAX:
            limits = f"1 to {NODES_MAX} nodes and 1 to {CONTROLLERS_MAX} controllers"
            raise ValueError(f"Cluster: there are {limits}, not {len(self.members)} and {self.controllers}")
        if not 0 <= self.retries <= RETRIES_MAX or self.limit_ms <= 0 or self.report_every_ns < 0:
            raise ValueError(
                f"Cluster: retries are 0 to {RETRIES_MAX}, limit_ms is above 0, report_every_ns is 0 or above"
            )

    @property
    def members(self) -> tuple[Member, ...]:
        """Each node."""
        return self.nodes if isinstance(self.nodes, tuple) else (Member(),) * min(self.nodes, NODES_MAX + 1)


NODES_MAX = 10_000
CONTROLLERS_MAX = 1_000
RETRIES_MAX = 100

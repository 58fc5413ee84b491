"""◇ What a cluster adds to chance: how long each message travels, and the numbers that balancers and callers draw.

Everything is drawn by the invocation's number and by how often it was sent, so it is the same under any balancer.
"""

from __future__ import annotations

from sim.cluster.columns import Errand
from sim.cluster.spec import RETRIES_MAX, Cluster
from sim.node import Drawn
from sim.rng import Stream

_SENDINGS = RETRIES_MAX + 1


class Links:
    """All kinds of messages of a cluster; and the numbers for balancers."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        network = cluster.network
        self.http = Drawn(network.http, seed, "http")
        self.answer = Drawn(network.answer, seed, "answer")
        self.publish = Drawn(network.publish, seed, "publish")
        self.completed = Drawn(network.completed, seed, "completed")
        self.fetches = [Drawn(network.fetch, seed, f"node {node}/fetch") for node in range(len(cluster.members))]
        self._chance = Stream(seed, "balancer")
        self._routes = Stream(seed, "routing")
        self._controllers = cluster.controllers
        self._in_turn = cluster.routing == "round-robin"

    def chance(self, errand: Errand) -> int:
        """The balancer's number for this sending, of 64 bits."""
        return self._chance.bits(errand.index * _SENDINGS + errand.retries)

    def controller(self, index: int) -> int:
        """The controller to which the caller of the invocation comes."""
        return (index if self._in_turn else self._routes.bits(index)) % self._controllers


def delay_ns(link: Drawn, errand: Errand) -> int:
    """How long the errand's message travels."""
    if link.constant_ns >= 0:
        return link.constant_ns
    return link.at_ns(errand.index * _SENDINGS + errand.retries)

"""◇ The cluster at work: desks and invokers on one kernel, and the network between them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b

import msgspec

from invoker.policy import PolicySet
from invoker.policy.balancing import Hiku
from invoker.policy.balancing import Request as Ask
from sim.body import requests
from sim.cluster.columns import HTTP, TOPIC, ClusterColumns, Errand
from sim.cluster.desk import Desk, News, Places, probe_function
from sim.cluster.invoker import Invoker
from sim.cluster.links import Links, delay_ns
from sim.cluster.spec import Cluster
from sim.errors import SimulationError
from sim.kernel import Kernel
from sim.node import Chance, Node, Request
from sim.workload import Workload

_HASH_PIECE = 128
"""How many placements are encoded at once: part of what the hash is of."""


class World:
    """Everything of one simulation; `run` it once. `overflows` are the spans (begin, end) in ns in which messages were
    in topics, or on their way there."""

    def __init__(
        self,
        kernel: Kernel,
        workload: Workload,
        cluster: Cluster,
        policy: PolicySet,
        node: Node,
        seed: int,
        hashing: bool,
    ) -> None:
        self.kernel = kernel
        self.cluster = cluster
        self.columns = ClusterColumns()
        self.links = Links(cluster, seed)
        self._functions = workload.functions
        everything = (*workload.functions, *(probe_function(number) for number in range(cluster.controllers)))
        self.places = Places(everything, cluster.limit_ms)
        self.tells_evictions = isinstance(cluster.balancer, Hiku)
        self.invokers: list[Invoker] = []
        for index, member in enumerate(cluster.members):
            own = member.node or node
            chance = Chance(own, everything, seed, f"node {index}")
            self.invokers.append(Invoker(self, index, member, own, member.policy or policy, chance, hashing))
        self.desks = [Desk(self, number) for number in range(cluster.controllers)]
        chance = Chance(node, workload.functions, seed)
        self._arrivals: Iterator[Request] = requests(workload, chance, self.columns)
        self._arriving = True
        self._alive = 0
        self._in_topics = 0
        self._overflowed_ns = 0
        self.overflows: list[tuple[int, int]] = []
        self._hash = blake2b(digest_size=16) if hashing else None
        self._gathered: list[tuple[int, int, int, int, int]] = []

    def run(self) -> None:
        """From the first invocation until nothing more is heard of any. Raises SimulationError where one never ends."""
        for invoker in self.invokers:
            invoker.begin()
        if self.cluster.report_every_ns:
            self.kernel.after(self.cluster.report_every_ns, self._report)
        self._expect()
        if not self.kernel.run():
            raise SimulationError(f"{self._alive} invocations wait for what will never happen")
        self.ended_ns = self.kernel.now_ns
        for invoker in self.invokers:
            invoker.close()
        if self._in_topics:
            self.overflows.append((self._overflowed_ns, self.ended_ns))

    def decision_hash(self) -> str:
        """32 hex digits of all placements and of all nodes' decisions; "" where no hash was wished."""
        if self._hash is None:
            return ""
        self._hash.update(msgspec.msgpack.encode(self._gathered))
        self._gathered.clear()
        whole = self._hash.copy()
        for invoker in self.invokers:
            whole.update(invoker.ledger.decision_hash.encode())
        return whole.hexdigest()

    def probe_function(self, controller: int) -> int:
        """The index of the controller's test action."""
        return len(self._functions) + controller

    # --- arrivals -----------------------------------------------------------------------------------------------

    def _expect(self) -> None:
        request = next(self._arrivals, None)
        if request is not None:
            self.kernel.after(request.arrived_ns - self.kernel.now_ns, partial(self._arrive, request))
            return
        self._arriving = False
        if not self._alive:
            self.kernel.stop()

    def _arrive(self, request: Request) -> None:
        self._alive += 1
        number = self.links.controller(request.index)
        self.desks[number].take(
            Errand(
                request.activation,
                request.index,
                request.function,
                request.arrived_ns,
                request.run_ns,
                controller=number,
            )
        )
        self._expect()

    def close(self, errand: Errand) -> None:
        """Nobody waits for news of the errand any more."""
        if not errand.closed:
            errand.closed = True
            self._alive -= 1
            if not (self._alive or self._arriving):
                self.kernel.stop()

    # --- the network --------------------------------------------------------------------------------------------

    def send(self, errand: Errand) -> None:
        """From a desk to a node, by the path that was chosen."""
        invoker, links = self.invokers[errand.node], self.links
        if self._hash is not None and not errand.probe:
            self._note(errand)
        if errand.path == HTTP:
            self.kernel.after(delay_ns(links.http, errand), partial(invoker.post, errand))
        else:
            self.into_topic(1)
            self.kernel.after(delay_ns(links.publish, errand), partial(invoker.publish, errand))

    def answer(self, errand: Errand, news: News) -> None:
        """From a node to the desk: the end of the answer, or of the connection; or a message to the desk's topic."""
        links = self.links
        link = links.completed if errand.path == TOPIC else links.answer
        self.kernel.after(delay_ns(link, errand), partial(self.desks[errand.controller].hear, errand, news))

    def evicted(self, node: int, controller: int, asked: Ask) -> None:
        """A node tells the desk that came last to an idle container that the container is removed."""
        self.kernel.after(self.links.answer.at_ns(0), partial(self.desks[controller].controller.evicted, node, asked))

    def _report(self) -> None:
        """Each node tells each desk its load."""
        for index, invoker in enumerate(self.invokers):
            if invoker.stands:
                for desk in self.desks:
                    desk.controller.cluster.report(index, invoker.load_milli)
        self.kernel.after(self.cluster.report_every_ns, self._report)

    def into_topic(self, count: int) -> None:
        """So many messages more (or fewer) are in a topic or on their way there."""
        before = self._in_topics
        self._in_topics += count
        if not before and self._in_topics:
            self._overflowed_ns = self.kernel.now_ns
        elif before and not self._in_topics:
            self.overflows.append((self._overflowed_ns, self.kernel.now_ns))

    def _note(self, errand: Errand) -> None:
        gathered = self._gathered
        gathered.append((self.kernel.now_ns, errand.index, errand.retries, errand.path, errand.node))
        if len(gathered) == _HASH_PIECE and self._hash is not None:
            self._hash.update(msgspec.msgpack.encode(gathered))
            gathered.clear()

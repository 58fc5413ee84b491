"""◇ A controller's desk: it places what arrives, hears what became of it, and judges the invokers by that.

The balancer and the judgement are those of `invoker.policy.balancing`; here stands only what a controller does with
their words. Each desk knows nothing but what it sent and what it heard.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from invoker.policy.balancing import Controller, Overflow, forced_timeout_ms
from invoker.policy.balancing import Request as Ask
from invoker.policy.balancing.supervision import Health, Supervisor
from invoker.policy.balancing.supervision import Result as Judged
from invoker.policy.types import MILLISECOND_NS, ActivationId
from sim.cluster.columns import HTTP, NOWHERE, TOPIC, UNREACHABLE, Errand
from sim.node import Request, warm_key
from sim.workload import SimFunction

if TYPE_CHECKING:
    from sim.cluster.world import World

News: TypeAlias = Literal["done", "system error", "broken", "turned away"]
"""What a controller hears of an activation: an acknowledgement, with or without a system error; the connection broke
after the node had taken it; the node did not take it, or could not be reached."""

PROBE_RUN_NS = MILLISECOND_NS
"""How long the run of a test action takes."""


def probe_function(controller: int) -> SimFunction:
    """The test action of a controller."""
    return SimFunction(name=f"whisk.system/invokerHealthTestAction{controller}", memory_mb=128)


class Places:
    """What controllers say of each function to their balancers."""

    def __init__(self, functions: tuple[SimFunction, ...], limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._rows = [
            (key.namespace, f"{key.path}/{key.name}", key.version, function.memory_mb, function.concurrency, blackbox)
            for function in functions
            for key, blackbox in [(warm_key(function.name), function.kind == "blackbox")]
        ]

    def ask(self, request: Request, chance: int) -> Ask:
        """The question where to send it."""
        namespace, action, version, memory_mb, concurrency, blackbox = self._rows[request.function]
        return Ask(
            activation=request.activation,
            namespace=namespace,
            action=action,
            version=version,
            memory_mb=memory_mb,
            concurrency=concurrency,
            blackbox=blackbox,
            limit_ms=self._limit_ms,
            chance=chance,
        )


class Desk:
    """The desk of the controller `number`. `awaited` are the sendings whose acknowledgement is awaited, in order, and
    until when; those settled since stay in it until they come up."""

    def __init__(self, world: World, number: int) -> None:
        cluster = world.cluster
        self.controller = Controller(cluster.balancer, cluster.controllers)
        self._world = world
        self._number = number
        self._probes = 0
        self._supervisors = [Supervisor() for _ in cluster.members]
        self._checks_ns = [-1] * len(cluster.members)
        self._patience_ns = forced_timeout_ms(cluster.limit_ms) * MILLISECOND_NS
        self._awaited: deque[tuple[int, Errand, int]] = deque()
        self._looking = False

    # --- activations --------------------------------------------------------------------------------------------

    def take(self, errand: Errand) -> None:
        """Place it, and send it there."""
        world = self._world
        now_ns = world.kernel.now_ns
        errand.asked = ask = world.places.ask(errand, world.links.chance(errand))
        where = self.controller.place(now_ns, ask)
        if isinstance(where, Overflow):
            if where.invoker is None:
                world.columns.missed(errand, now_ns, NOWHERE)
                world.close(errand)
                return
            errand.path, errand.node = TOPIC, where.invoker
        else:
            errand.path, errand.node = HTTP, where
        if not self._looking:
            self._looking = True
            world.kernel.after(self._patience_ns, self._look_at_awaited)
        self._awaited.append((now_ns + self._patience_ns, errand, errand.retries))
        world.send(errand)

    def hear(self, errand: Errand, news: News) -> None:
        """What became of it."""
        world = self._world
        now_ns = world.kernel.now_ns
        activation = errand.activation
        if news in ("broken", "turned away"):
            heeded = errand.probe or self.controller.timed_out(now_ns, activation)
        else:
            heeded = errand.probe or self.controller.acknowledged(now_ns, activation)
        if heeded:
            self._judge(errand.node, "success" if news == "done" else "system error")
            self._forget_settled()
        if errand.probe or errand.closed:
            return
        if news == "turned away" and errand.retries < world.cluster.retries:
            errand.retries += 1
            self.take(errand)
            return
        if news == "turned away":
            world.columns.missed(errand, now_ns, UNREACHABLE)
        world.columns.answered_ns[errand.index] = now_ns
        world.close(errand)

    def _forget_settled(self) -> None:
        awaited, sent = self._awaited, self.controller.cluster.sent
        while awaited:
            _, errand, retries = awaited[0]
            if errand.retries == retries and errand.activation in sent:
                return
            awaited.popleft()

    def _look_at_awaited(self) -> None:
        """Give up what was not acknowledged in time; look again when the next is due."""
        world, awaited = self._world, self._awaited
        now_ns = world.kernel.now_ns
        self._forget_settled()
        while awaited and awaited[0][0] <= now_ns:
            errand = awaited.popleft()[1]
            self.controller.timed_out(now_ns, errand.activation)
            world.columns.given_up[errand.index] = 1
            self._judge(errand.node, "timeout")
            self._forget_settled()
        self._looking = bool(awaited)
        if awaited:
            world.kernel.after(awaited[0][0] - now_ns, self._look_at_awaited)

    # --- invokers -----------------------------------------------------------------------------------------------

    def found(self, node: int, memory_mb: int, cores: int) -> None:
        """An invoker that was there, and fit, before the simulation began."""
        supervisor, now_ns = self._supervisors[node], self._world.kernel.now_ns
        supervisor.pinged(now_ns)
        supervisor.resulted(now_ns, "success")
        self.controller.join(node, memory_mb, cores)

    def pinged(self, node: int, memory_mb: int, cores: int, enabled: bool) -> None:
        """An invoker says that it is there, for the first time or again; not `enabled`: that it wants nothing."""
        self.controller.cluster.seen(node, memory_mb, cores)
        self._follow(node, self._supervisors[node].pinged(self._world.kernel.now_ns, enabled))

    def fell_silent(self, node: int) -> None:
        """The invoker has just said for the last time that it is there."""
        supervisor = self._supervisors[node]
        if supervisor.health is not Health.OFFLINE:
            supervisor.pinged(self._world.kernel.now_ns)
            self._plan_check(node)

    def _judge(self, node: int, result: Judged) -> None:
        supervisor = self._supervisors[node]
        before = supervisor.health
        test = supervisor.resulted(self._world.kernel.now_ns, result)
        if test or supervisor.health is not before:
            self._follow(node, test)

    def _follow(self, node: int, test: bool) -> None:
        """The judgement may have changed; `test`: a test action is due."""
        supervisor = self._supervisors[node]
        self.controller.turn(node, supervisor.usable)
        if test:
            self._probe(node)
        if supervisor.health in (Health.UNHEALTHY, Health.UNRESPONSIVE):
            self._plan_check(node)

    def _plan_check(self, node: int) -> None:
        """Look at the invoker when something is due; only the last plan counts."""
        next_ns = self._supervisors[node].next_ns
        if next_ns and self._checks_ns[node] != next_ns:
            self._checks_ns[node] = next_ns
            kernel = self._world.kernel
            kernel.after(next_ns - kernel.now_ns, partial(self._check, node, next_ns))

    def _check(self, node: int, planned_ns: int) -> None:
        """Pings of an invoker that stands are not sent one by one: at a check, the last is just in."""
        if self._checks_ns[node] != planned_ns:
            return
        self._checks_ns[node] = -1
        supervisor, now_ns = self._supervisors[node], self._world.kernel.now_ns
        stands = self._world.invokers[node].stands
        if stands:
            supervisor.pinged(now_ns)
        self._follow(node, supervisor.elapsed(now_ns))
        if not stands:
            self._plan_check(node)

    def _probe(self, node: int) -> None:
        """Send it a test action."""
        world = self._world
        self._probes += 1
        number = self._probes * world.cluster.controllers + self._number
        probe = Errand(
            ActivationId(f"probe-{number}"),
            -1 - number,
            world.probe_function(self._number),
            world.kernel.now_ns,
            PROBE_RUN_NS,
            controller=self._number,
            probe=True,
            node=node,
            path=HTTP,
        )
        world.send(probe)

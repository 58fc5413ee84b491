"""◇ An invoker of the cluster: the node's driver, its two doors, and its comings and goings.

By HTTP it takes whatever comes, as `invoker.intake` does; from its topic it reads as `invoker.kafka_intake` does: only
as much as the pool has room for, nothing while the pool holds it, in order.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from invoker.policy import PolicySet, Pool
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId, ContainerId
from sim.body import Ledger
from sim.cluster.columns import AWAY, HTTP, LEFT, TOPIC, Errand
from sim.cluster.links import delay_ns
from sim.cluster.spec import Member, Outage
from sim.cluster.topic import ANSWERS_LIMIT, Topic
from sim.driver import NodeDriver
from sim.kernel import Job, Kernel
from sim.node import Chance, Node, Request

if TYPE_CHECKING:
    from sim.cluster.world import World

IN_FLIGHT_MAX = 20_000
"""Activations taken by HTTP and not yet answered; more are turned away (the invoker's own limit)."""

_IDLE: tuple[act.RemoveReason, ...] = ("evicted", "expired", "pause failed", "unpause failed", "died")


class Life:
    """A kernel for as long as a node stands: what is due after that is never done."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.over = False

    @property
    def now_ns(self) -> int:
        """See `Kernel`."""
        return self._kernel.now_ns

    def after(self, delay_ns: int, job: Job) -> None:
        """See `Kernel`."""
        self._kernel.after(delay_ns, partial(self._unless_over, job))

    def stop(self) -> None:
        """See `Kernel`."""
        self._kernel.stop()

    def run(self) -> bool:
        """See `Kernel`."""
        return self._kernel.run()

    def _unless_over(self, job: Job) -> None:
        if not self.over:
            job()


class LivesLedger(Ledger):
    """The ledger of a node that may come back with an empty pool."""

    def reborn(self, now_ns: int, pool: Pool) -> None:
        """From now on it is that pool."""
        self._charge(now_ns)
        self._pool = pool
        self._charge(now_ns)


class _Driver(NodeDriver):
    """The node's driver, which tells the invoker what concerns its doors. `last` is who was in a container last."""

    def __init__(self, invoker: Invoker, kernel: Kernel, pool: Pool, node: Node, chance: Chance) -> None:
        super().__init__(kernel, pool, node, chance, invoker.world.columns, invoker.ledger)
        self._invoker = invoker
        self._last: dict[ContainerId, Errand] = {}
        if invoker.world.tells_evictions:
            self._carry_out |= {act.Dispatch: self._dispatch_noting, act.Remove: self._remove_telling}

    def _settled(self, request: Request, refusal: act.Refuse | None) -> None:
        assert isinstance(request, Errand)
        self._invoker.settled(request, refusal)

    def _dispatch_noting(self, action: act.Dispatch) -> None:
        self._last[action.container] = self._invoker.inside[action.activation]
        self._dispatch(action)

    def _remove_telling(self, action: act.Remove) -> None:
        self._remove(action)
        errand = self._last.pop(action.container, None)
        if errand is not None and errand.asked is not None and action.reason in _IDLE:
            self._invoker.world.evicted(self._invoker.index, errand.controller, errand.asked)

    def _hold(self, action: act.HoldIntake) -> None:
        super()._hold(action)
        self._invoker.hold(True)

    def _resume(self, action: act.ResumeIntake) -> None:
        self._invoker.hold(False)

    def _note_drained(self, action: act.Drained) -> None:
        self._invoker.drained()


class Invoker:
    """See the module. `inside` are the errands that it took and has not done with; `holds` the spans (begin, end) in ns
    in which its topic was not read as enough waited inside; `stands`: it can be reached, `closed`: it takes nothing."""

    def __init__(
        self, world: World, index: int, member: Member, node: Node, policy: PolicySet, chance: Chance, hashing: bool
    ) -> None:
        self.world = world
        self.index = index
        self.policy = policy
        self._member = member
        self._node = node
        self._chance = chance
        self._cores = member.cores or node.cpus or 1
        self._at_least_once = world.cluster.delivery == "at-least-once"
        self.ledger = LivesLedger(Pool(policy), hashing)
        self.inside: dict[ActivationId, Errand] = {}
        self.holds: list[tuple[int, int]] = []
        self.stands = self._closed = False
        self._outages = list(member.outages)
        self._outage: Outage | None = None
        self._topic = Topic(world.cluster.delivery)
        self._fetches = 0
        self._reset(world.kernel)

    def _reset(self, kernel: Kernel) -> None:
        """A process begins: an empty pool, nothing taken."""
        self._life = kernel
        self._pool = Pool(self.policy)
        self._driver = _Driver(self, kernel, self._pool, self._node, self._chance)
        self._by_http = 0
        self._in_flight = 0
        self._answering = 0
        self._held_ns = -1
        self._reading = False

    # --- comings and goings -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The simulation begins; the node stands already, or will join."""
        kernel = self.world.kernel
        for outage in self._outages:
            kernel.after(outage.at_ns, partial(self._go, outage))
        if self._member.joins_ns:
            kernel.after(self._member.joins_ns, self._come)
        else:
            self._rise()
            for desk in self.world.desks:
                desk.found(self.index, self.policy.capacity_mb, self._cores)

    def close(self) -> None:
        """The simulation ended."""
        self.hold(False)
        self.ledger.close(self.world.kernel.now_ns)

    def _rise(self) -> None:
        kernel = self.world.kernel
        self._reset(Life(kernel) if self._outages else kernel)
        self.ledger.reborn(kernel.now_ns, self._pool)
        self.stands, self._closed, self._outage = True, False, None
        self._driver.begin()

    def _come(self) -> None:
        """It joins, or is back: it says so, and reads on in its topic."""
        self._rise()
        for desk in self.world.desks:
            desk.pinged(self.index, self.policy.capacity_mb, self._cores, enabled=True)
        self._look()

    def _go(self, outage: Outage) -> None:
        if not self.stands or self._closed:  # it is away, or still being drained
            return
        self._outage = outage
        if not outage.drain:
            self._crash()
            return
        self._closed = True
        for desk in self.world.desks:
            desk.pinged(self.index, self.policy.capacity_mb, self._cores, enabled=False)
        self._driver.feed(ev.DrainRequested())

    def _crash(self) -> None:
        world = self.world
        now_ns = world.kernel.now_ns
        for errand in self.inside.values():
            if errand.probe:
                world.answer(errand, "broken")
            elif errand.path == HTTP:
                world.columns.missed(errand, now_ns, AWAY)
                world.answer(errand, "broken")
            elif not self._at_least_once:
                world.columns.missed(errand, now_ns, AWAY)
                world.close(errand)
        self._fall()
        for desk in world.desks:
            desk.fell_silent(self.index)

    def drained(self) -> None:
        """All that was taken has ended, and every container is removed; what was read is committed."""
        self._topic.commit()
        self._fall()

    def _fall(self) -> None:
        """It is away now."""
        kernel, outage = self.world.kernel, self._outage
        assert outage is not None
        self.stands = False
        self.hold(False)
        if isinstance(self._life, Life):
            self._life.over = True
        self.inside.clear()
        self._pool = Pool(self.policy)
        self.ledger.reborn(kernel.now_ns, self._pool)
        for errand in self._topic.rewind():
            errand.began_ns = errand.ended_ns = -1
            errand.cut = False
            errand.rereads += 1
            self.world.into_topic(1)
        if outage.lasts_ns is not None:
            kernel.after(max(0, outage.at_ns + outage.lasts_ns - kernel.now_ns), self._come)
            return
        for errand in self._topic.clear():
            self._leave(errand)

    # --- by HTTP ------------------------------------------------------------------------------------------------

    def post(self, errand: Errand) -> None:
        """A message arrives by HTTP."""
        if not self.stands or self._closed or self._by_http >= IN_FLIGHT_MAX:
            self.world.answer(errand, "turned away")
            return
        self._by_http += 1
        self._take(errand)

    # --- from the topic -----------------------------------------------------------------------------------------

    def publish(self, errand: Errand) -> None:
        """A message arrives in the topic."""
        outage = self._outage
        if not self.stands and outage is not None and outage.lasts_ns is None:
            self._leave(errand)
            return
        self._topic.append(errand)
        self._look()

    def hold(self, held: bool) -> None:
        """The pool's word: enough wait, or there is room again."""
        now_ns = self.world.kernel.now_ns
        if held:
            self._held_ns = now_ns
        elif self._held_ns >= 0:
            self.holds.append((self._held_ns, now_ns))
            self._held_ns = -1
            self._look()

    @property
    def free(self) -> int:
        """How many messages may be read now (see KafkaIntake.free)."""
        if self._held_ns >= 0:
            return 0
        limit = self.policy.intake_limit
        free = min(
            limit - len(self._pool.waiting),
            limit + len(self._pool.placed) - self._in_flight,
            ANSWERS_LIMIT - self._answering,
        )
        return min(free, self._topic.room) if self._at_least_once else free

    def _look(self) -> None:
        """Fetch what is in the topic now, as far as there is room for it."""
        if self._reading or not self._topic or not self.stands or self._closed:
            return
        free = self.free
        if free > 0:
            self._reading = True
            self._fetches += 1
            delay_ns = self.world.links.fetches[self.index].at_ns(self._fetches)
            self._life.after(delay_ns, partial(self._read, min(free, len(self._topic))))

    def _read(self, count: int) -> None:
        self._reading = False
        if self._closed:
            return
        for errand in self._topic.read(count):
            self.world.into_topic(-1)
            self._in_flight += 1
            self._take(errand)
        self._look()

    def _acknowledged(self, errand: Errand) -> None:
        """The broker has the acknowledgement of a message of the topic."""
        self._in_flight -= 1
        self._answering -= 1
        self._topic.through(errand)
        self._look()

    def _leave(self, errand: Errand) -> None:
        """Nobody will ever read it."""
        world = self.world
        world.into_topic(-1)
        if not errand.settled:
            world.columns.missed(errand, world.kernel.now_ns, LEFT)
            world.close(errand)

    # --- an activation ------------------------------------------------------------------------------------------

    def _take(self, errand: Errand) -> None:
        """From here on it is the node's affair."""
        errand.reached_ns = self.world.kernel.now_ns
        self.inside[errand.activation] = errand
        self._driver.acquire(errand)

    def settled(self, errand: Errand, refusal: act.Refuse | None) -> None:
        """The node has done with it; its acknowledgement goes out."""
        world = self.world
        del self.inside[errand.activation]
        if errand.path == TOPIC:
            self._answering += 1
            self._life.after(delay_ns(world.links.completed, errand), partial(self._acknowledged, errand))
        else:
            self._by_http -= 1
        world.answer(errand, "system error" if refusal is not None and refusal.fault == "platform" else "done")

    @property
    def load_milli(self) -> int:
        """Its activations that have a container, in thousandths of one for each core."""
        return 1000 * len(self._pool.placed) // self._cores

"""◇ Admission: who runs now, who waits, who is refused, and what is evicted for those who wait.

`Charged` is the one to run with. Memory is charged from Start until the container is really gone, so the node is never
overcommitted: who needs memory waits until a removal is done, first come, first served; so does who needs one start
more than the machine should have at a time. Two liberties make that quick:

- A container that comes free is used as it is by the oldest activation of its own function, even if others came
  earlier: reuse costs nothing, eviction and a cold start cost a lot. It ends when the head of the queue has waited
  for `patience_ns`.
- An activation whose cold start is still under way takes a container of its function that comes free meanwhile;
  the started one becomes stock. One that may expect such a container at once (`brief_ns`) has none started at first.

Where another queueing discipline than the first one's is chosen, "first" and "oldest" above are by its ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from invoker.policy import actions as act
from invoker.policy.container import Container, Input
from invoker.policy.events import Fault
from invoker.policy.function import Function, Invocation, Stem
from invoker.policy.queueing import Alarms, Line
from invoker.policy.types import ActivationId, PrewarmKey

if TYPE_CHECKING:
    from invoker.policy.pool import Pool


class Admission(Protocol):
    """What the pool asks of an admission policy."""

    heeds_deaths: bool
    """Whether an unused container that died is removed at once."""
    shares: bool
    """Whether a container may run more than one activation at a time."""
    counts_idle: bool
    """Whether it is to be told when a container is idle no more."""

    def arrived(self, function: Function, activation: ActivationId, budget_ns: int) -> None:
        """A new activation, not too large for the node; `budget_ns` as in InvocationArrived."""
        ...

    def replaced(self, function: Function, activation: ActivationId) -> None:
        """An accepted activation lost the container it waited for: it goes before all who wait."""
        ...

    def withdraw(self, invocation: Invocation) -> None:
        """A waiting activation waits no more."""
        ...

    def released(self, container: Container, function: Function, emptied: bool) -> None:
        """A good run ended. `emptied`: it was the only one, the container's state is IDLE, its record not yet."""
        ...

    def spoilt(self, container: Container) -> None:
        """The last activation left a tainted container, which is about to be sent away."""
        ...

    def lost(self, container: Container, reason: act.RemoveReason, fault: Fault) -> None:
        """A container for which activations waited can't serve again. It is REMOVING, and still its function's."""
        ...

    def left_idle(self, container: Container) -> None:
        """A container is idle no more."""
        ...

    def send_away(self, container: Container, reason: act.RemoveReason) -> None:
        """Ask for the removal of a container that is REMOVING."""
        ...

    def removed(self, container: Container) -> None:
        """A removal is done, well or badly."""
        ...

    def start_failed(self, container: Container, owned: bool) -> None:
        """A start failed; `owned`: it was for an activation."""
        ...

    def stock_started(self, container: Container) -> None:
        """A container without code is there, in state PREWARM."""
        ...

    def stock_fits(self, key: PrewarmKey) -> bool:
        """Whether a container may be started for stock."""
        ...

    def serve(self) -> None:
        """Memory may have come free."""
        ...

    def overdue(self) -> None:
        """The timer `queue` fired: some have waited for what did not come (`serve` follows)."""
        ...


class Charged:
    """See the module. `wanting` are those of all who wait that want a container started, in order, `wanting_mb` their
    memory; the others are patient until their alarm."""

    heeds_deaths = True
    shares = True
    counts_idle = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._discipline = pool.policies.queueing.build()
        self.wanting = Line(self._discipline.ranks)
        self.wanting_mb = 0
        self._by_stem: dict[Stem, Line] = {}
        self._alarms = Alarms()

    def arrived(self, function: Function, activation: ActivationId, budget_ns: int) -> None:
        pool = self._pool
        if pool.take_warm(function, activation):
            return
        invocation = Invocation(activation, function, pool.now_ns)
        patient = self._is_brief(function)
        if function.stem.ready:
            pool.take_ready(function.stem, invocation)
        elif not patient and not self.wanting and self._can_start(function.memory_mb):
            pool.start(function.stem.key, invocation)
        elif len(pool.waiting) >= pool.policies.queue_limit:
            pool.actions.append(act.Refuse(activation, "queue full"))
            pool.forget(function)
        else:
            invocation.rank = self._discipline.rank(function, pool.now_ns, budget_ns)
            self._enqueue(invocation, budget_ns)
            self._line(function.stem).join(invocation)
            if patient:
                self._alarm(pool.now_ns + self._brief_ns(function), invocation, last=False)
            else:
                self._want(invocation)
                self._serve_new(invocation)
            pool.gate_intake()

    def replaced(self, function: Function, activation: ActivationId) -> None:
        pool = self._pool
        if pool.take_warm(function, activation):
            return
        invocation = Invocation(activation, function, pool.now_ns)
        if function.stem.ready:
            pool.take_ready(function.stem, invocation)
            return
        if function.memory_mb > pool.policies.capacity_mb - pool.quarantined_mb:  # what it lost was the last room
            pool.actions.append(act.Refuse(activation, "too large"))
            return
        self._enqueue(invocation, 0)
        pool.waiting.move_to_end(activation, last=False)
        function.waiting.move_to_end(activation, last=False)
        self._line(function.stem).join_first(invocation)
        self.wanting.join_first(invocation)
        self.wanting_mb += function.memory_mb
        self.serve()
        pool.gate_intake()

    def withdraw(self, invocation: Invocation) -> None:
        pool, function = self._pool, invocation.function
        del pool.waiting[invocation.activation]
        del function.waiting[invocation.activation]
        self._line(function.stem).leave(invocation)
        if self.wanting.leave(invocation):
            self.wanting_mb -= function.memory_mb
        if not pool.waiting:
            self._discipline.emptied()
        pool.forget(function)

    def released(self, container: Container, function: Function, emptied: bool) -> None:
        pool = self._pool
        if emptied and not (pool.waiting or function.starting or pool.holding or pool.draining):
            pool.set_idle(container)  # nobody can want it: the way of nearly all
            return
        by: Input = "dispatch" if emptied else "join"
        if not (emptied and self._head_is_impatient(function)):
            while container.room > 0 and (activation := self._next_for(function)) is not None:
                container.move(by)
                pool.run_in(container, activation, "warm")
                by = "join"
        if by == "dispatch":
            pool.set_idle(container)
            if pool.draining:
                pool.remove_idle(container, "drain")
        self.serve()
        pool.gate_intake()

    def spoilt(self, container: Container) -> None:
        pass

    def lost(self, container: Container, reason: act.RemoveReason, fault: Fault) -> None:
        """Another container is found for those who waited, unless the loss is the function's own doing."""
        pool = self._pool
        function, claims = pool.part(container)
        pool.send_away(container, reason)
        for activation in claims:
            pool.settle(activation)
        for activation in claims:
            if fault == "platform":
                self.replaced(function, activation)
            else:
                pool.actions.append(act.Refuse(activation, "container lost", fault))
        pool.forget(function)

    def left_idle(self, container: Container) -> None:
        pass

    def send_away(self, container: Container, reason: act.RemoveReason) -> None:
        self._pool.actions.append(act.Remove(container.id, reason))

    def removed(self, container: Container) -> None:
        pass

    def start_failed(self, container: Container, owned: bool) -> None:
        pass

    def stock_started(self, container: Container) -> None:
        pool = self._pool
        invocation = self._line(pool.stem(container.stem)).head()
        if invocation is not None:
            function = invocation.function
            container.move("dispatch")
            pool.adopt(container, function)
            self.withdraw(invocation)
            pool.run_in(container, invocation.activation, "prewarm")
        else:
            pool.set_ready(container)
            if pool.draining:
                pool.remove_ready(container, "drain")

    def stock_fits(self, key: PrewarmKey) -> bool:
        return not self.wanting and self._can_start(key.memory_mb)

    def serve(self) -> None:
        pool = self._pool
        while (invocation := self.wanting.head()) is not None:
            function = invocation.function
            if not self._can_start(function.memory_mb):
                self._make_room()
                return
            function.containers += 1  # keeps the record while the activation changes places
            self.withdraw(invocation)
            function.containers -= 1
            self._discipline.served(invocation.rank)
            pool.start(function.stem.key, invocation)

    def _serve_new(self, newcomer: Invocation) -> None:
        """One more wants a start: it may fit where the one that was first until now does not."""
        if self.wanting.head() is newcomer:
            self.serve()
        else:
            self._make_room()

    def _can_start(self, memory_mb: int) -> bool:
        pool = self._pool
        return pool.charged_mb + memory_mb <= pool.policies.capacity_mb and pool.starting < pool.policies.starts_max

    def _enqueue(self, invocation: Invocation, budget_ns: int) -> None:
        pool, function = self._pool, invocation.function
        pool.waiting[invocation.activation] = invocation
        function.waiting[invocation.activation] = invocation
        pool.actions.append(act.Enqueue(invocation.activation))
        limit_ns = pool.policies.wait_limit_ns
        if limit_ns:
            self._alarm(pool.now_ns + min(limit_ns, budget_ns or limit_ns), invocation, last=True)

    def _line(self, stem: Stem) -> Line:
        """Those who wait and could use a container of the kind and size."""
        line = self._by_stem.get(stem)
        if line is None:
            line = self._by_stem[stem] = Line(self._discipline.ranks)
        return line

    def _alarm(self, at_ns: int, invocation: Invocation, last: bool) -> None:
        self._alarms.put(at_ns, invocation, last, self._pool.waiting)
        self._pool.arm("queue", at_ns)

    def _want(self, invocation: Invocation) -> None:
        self.wanting.join(invocation)
        self.wanting_mb += invocation.function.memory_mb

    def _is_brief(self, function: Function) -> bool:
        """Whether one more may expect a container of the function in time, by what its runs usually take."""
        ahead = len(function.waiting) + 1
        return 0 < function.run_ns * ahead <= self._brief_ns(function) * function.active

    def _brief_ns(self, function: Function) -> int:
        """How long a wait spares a start: what is set for all, or longer where the keep-alive policy says so."""
        return max(self._pool.policies.brief_ns, self._pool.keep_alive.patience_ns(function))

    def overdue(self) -> None:
        pool = self._pool
        while (alarm := self._alarms.next(pool.waiting)) is not None:
            at_ns, invocation, last = alarm
            if at_ns > pool.now_ns:
                pool.arm("queue", at_ns)
                return
            self._alarms.pop()
            if last:
                self.withdraw(invocation)
                pool.actions.append(act.Refuse(invocation.activation, "waited too long"))
            else:
                self._want(invocation)

    def _head_is_impatient(self, function: Function) -> bool:
        """The oldest waiting activation is another function's, waited long, and no memory is on its way to it."""
        pool = self._pool
        head = self.wanting.head()
        if head is None:
            return False
        if head.function is function or pool.now_ns - head.since_ns <= pool.policies.patience_ns:
            return False
        coming_mb = pool.policies.capacity_mb - pool.charged_mb + pool.removing_mb
        return coming_mb < head.function.memory_mb

    def _next_for(self, function: Function) -> ActivationId | None:
        """Who is to run in a container that came free: one that waits for a cold start, else the oldest waiting."""
        for activation, started in function.starting.items():
            if not started.claims:
                self._unbind(function, activation, started)
                return activation
        if not function.waiting:
            return None
        invocation = next(iter(function.waiting.values()))
        self.withdraw(invocation)
        return invocation.activation

    def _unbind(self, function: Function, activation: ActivationId, container: Container) -> None:
        """The activation gives up its cold start, which goes on for stock."""
        del function.starting[activation]
        self._pool.settle(activation)
        container.owner = None
        self._pool.part(container)
        self._pool.stem(container.stem).starting += 1

    def _make_room(self) -> None:
        """Evict until what is free or coming free is enough for all who wait: idle containers first, then stock."""
        pool = self._pool
        short_mb = self.wanting_mb - (pool.policies.capacity_mb - pool.charged_mb) - pool.removing_mb
        while short_mb > 0:
            victim = pool.keep_alive.victim()
            if victim is not None:
                pool.keep_alive.evicted(victim)
                pool.remove_idle(victim, "evicted")
            else:
                victim = self._oldest_stock()
                if victim is None:
                    return
                pool.remove_ready(victim, "evicted")
            short_mb -= victim.memory_mb

    def _oldest_stock(self) -> Container | None:
        for stem in self._pool.stems.values():
            for container in stem.ready.values():
                return container
        return None

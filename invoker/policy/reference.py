"""◇ Admission as the reference system does it (contract, section 13), its memory accounting exactly.

An activation first takes its memory from a budget, first come, first served. What it evicts counts as free at once,
while the removals go on beside it, one after the other; prewarmed containers count nowhere. So the node can be
overcommitted: this is what the reference does, kept for comparison and for a change-over without surprises.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from invoker.policy import actions as act
from invoker.policy.container import Container
from invoker.policy.events import Fault
from invoker.policy.function import Function, Invocation
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey

if TYPE_CHECKING:
    from invoker.policy.pool import Pool

REMOVALS_WAITING_MAX = 16
"""An activation that must evict more than this many ahead of the remover waits (contract, section 13.3)."""


class Reference:
    """See the module. `in_flight_mb` is the budget taken by activations, `idle_mb` the memory of idle containers.

    `_budget` and `_blocked` are both waiting in the pool's eyes: the first for memory, the second, which have theirs,
    for the remover.
    """

    heeds_deaths = False
    shares = False
    counts_idle = True

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.in_flight_mb = 0
        self.idle_mb = 0
        self._budget: deque[Invocation] = deque()
        self._blocked: deque[Invocation] = deque()
        self._doomed: deque[tuple[Container, act.RemoveReason]] = deque()
        self._removing: ContainerId | None = None

    def arrived(self, function: Function, activation: ActivationId, budget_ns: int) -> None:
        pool = self._pool
        invocation = Invocation(activation, function, pool.now_ns)
        if not self._budget and self._affords(function.memory_mb):
            self._admit(invocation)
        elif len(pool.waiting) >= pool.policies.queue_limit:
            pool.actions.append(act.Refuse(activation, "queue full"))
            pool.forget(function)
        else:
            self._wait(invocation, self._budget)

    def replaced(self, function: Function, activation: ActivationId) -> None:
        self._place(Invocation(activation, function, self._pool.now_ns))

    def withdraw(self, invocation: Invocation) -> None:
        if invocation in self._blocked:
            self._blocked.remove(invocation)
            self.in_flight_mb -= invocation.function.memory_mb
        else:
            self._budget.remove(invocation)
        self._stop_waiting(invocation)
        self._pool.forget(invocation.function)

    def released(self, container: Container, function: Function, emptied: bool) -> None:
        self.in_flight_mb -= function.memory_mb
        self.idle_mb += container.memory_mb
        self._pool.set_idle(container)
        if self._pool.draining:
            self._pool.remove_idle(container, "drain")
        self.serve()
        self._pool.gate_intake()

    def spoilt(self, container: Container) -> None:
        container.owed_mb = container.memory_mb

    def lost(self, container: Container, reason: act.RemoveReason, fault: Fault) -> None:
        """The activation ends in an error, and its memory is given back when the container is gone."""
        pool = self._pool
        function, claims = pool.part(container)
        container.owed_mb = container.memory_mb
        pool.send_away(container, reason)
        for activation in claims:
            pool.settle(activation)
            pool.actions.append(act.Refuse(activation, "container lost", fault))
        pool.forget(function)

    def left_idle(self, container: Container) -> None:
        self.idle_mb -= container.memory_mb

    def send_away(self, container: Container, reason: act.RemoveReason) -> None:
        if reason in ("evicted", "expired"):
            self._doomed.append((container, reason))
            self._remove_next()
        else:
            self._pool.actions.append(act.Remove(container.id, reason))

    def removed(self, container: Container) -> None:
        self.in_flight_mb -= container.owed_mb
        if container.id == self._removing:
            self._removing = None
            self._remove_next()

    def start_failed(self, container: Container, owned: bool) -> None:
        if owned:
            self.in_flight_mb -= container.memory_mb

    def stock_started(self, container: Container) -> None:
        self._pool.set_ready(container)
        if self._pool.draining:
            self._pool.remove_ready(container, "drain")

    def stock_fits(self, key: PrewarmKey) -> bool:
        return True

    def serve(self) -> None:
        while self._blocked and self._make_room():
            invocation = self._blocked.popleft()
            self._stop_waiting(invocation)
            self._provide(invocation)
        while self._budget and self._affords(self._budget[0].function.memory_mb):
            invocation = self._budget.popleft()
            self._stop_waiting(invocation)
            self._admit(invocation)

    @property
    def removals_waiting(self) -> int:
        """How many removals wait for the one under way."""
        return len(self._doomed)

    def overdue(self) -> None:
        pass

    def _affords(self, memory_mb: int) -> bool:
        return self.in_flight_mb + memory_mb <= self._pool.policies.capacity_mb

    def _wait(self, invocation: Invocation, queue: deque[Invocation]) -> None:
        queue.append(invocation)
        self._pool.waiting[invocation.activation] = invocation
        invocation.function.waiting[invocation.activation] = invocation
        self._pool.actions.append(act.Enqueue(invocation.activation))
        self._pool.gate_intake()

    def _stop_waiting(self, invocation: Invocation) -> None:
        del self._pool.waiting[invocation.activation]
        del invocation.function.waiting[invocation.activation]

    def _admit(self, invocation: Invocation) -> None:
        self.in_flight_mb += invocation.function.memory_mb
        self._place(invocation)

    def _place(self, invocation: Invocation) -> None:
        if self._pool.take_warm(invocation.function, invocation.activation):
            return
        if self._make_room():
            self._provide(invocation)
        else:
            self._wait(invocation, self._blocked)

    def _provide(self, invocation: Invocation) -> None:
        stem = invocation.function.stem
        if stem.ready:
            self._pool.take_ready(stem, invocation)
        else:
            self._pool.start(stem.key, invocation)

    def _make_room(self) -> bool:
        """Take out idle containers until the rest and what is in flight fit; False where the remover lags too far."""
        pool = self._pool
        while self.idle_mb + self.in_flight_mb > pool.policies.capacity_mb:
            victim = pool.keep_alive.victim()
            if victim is None:
                return True
            if len(self._doomed) >= REMOVALS_WAITING_MAX:
                return False
            pool.keep_alive.evicted(victim)
            pool.remove_idle(victim, "evicted")
        return True

    def _remove_next(self) -> None:
        if self._removing is None and self._doomed:
            container, reason = self._doomed.popleft()
            self._removing = container.id
            self._pool.actions.append(act.Remove(container.id, reason))

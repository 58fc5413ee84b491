"""◇ The pool of containers: its state, and the moves that admission policies and event handlers share.

`step` (in `invoker.policy.step`) feeds it one event at a time. `Pool` follows the lives of containers (the table in
`container`) and keeps the records; its `admission` decides who runs, waits or is refused, and what is evicted for whom
(`admission.Charged`, `reference.Reference`); keep-alive, pausing and prewarm are asked by both.
Decisions append to `actions`, which `step` returns.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TypeAlias

from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.admission import Admission, Charged
from invoker.policy.container import TRANSITIONS, Container, Input, State
from invoker.policy.deadlines import Deadlines
from invoker.policy.function import Function, Invocation, Stem
from invoker.policy.keepalive.base import KeepAlive
from invoker.policy.pausing import AdaptiveGrace, NeverPause
from invoker.policy.policyset import PolicySet
from invoker.policy.reference import Reference
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey

_IDLE, _PAUSING, _BUSY = State.IDLE, State.PAUSING, State.BUSY  # by themselves, since an Enum's look-up is slow
_DISPATCHED = TRANSITIONS[State.IDLE]["dispatch"]  # a row of the table, looked up once

Place: TypeAlias = tuple[Function, Container, int]
"""Where an activation is: its function, the container, and since when it is inside (ns), or NOT_INSIDE."""

NOT_INSIDE = -1
"""The activation's container is starting, or can't take it yet."""


class Pool:
    """The state of one node. Only `step` changes it; everything else may read it.

    `containers` are all that stand or may stand, quarantined ones included. `placed` are the activations that have a
    container, or a start under way; `waiting` are those that have none, in order of arrival.
    """

    def __init__(self, policies: PolicySet) -> None:
        self.policies = policies
        self.now_ns = 0
        self.actions: list[act.AnyAction] = []
        self.containers: dict[ContainerId, Container] = {}
        self.functions: dict[WarmKey, Function] = {}
        self.stems: dict[PrewarmKey, Stem] = {}
        self.placed: dict[ActivationId, Place] = {}
        self.waiting: OrderedDict[ActivationId, Invocation] = OrderedDict()
        self.charged_mb = 0
        self.removing_mb = 0
        self.quarantined = 0
        self.quarantined_mb = 0
        self.last_id = 0
        self.starting = 0
        self.holding = False
        self.draining = False
        self.drained = False
        self.armed: dict[ev.TimerName, int] = {}
        self.keep_alive = policies.keep_alive.build()
        self.pausing = policies.pausing
        self.prewarm = policies.prewarm.build()
        self.pauses = Deadlines()
        self.expiries = Deadlines()
        self.review_at_ns = 0
        self.admission: Admission = Charged(self) if policies.accounting == "charged" else Reference(self)
        # Whom there is nobody to tell: a call spared for each activation, for nearly all policies.
        self.foresees = self.keep_alive.foresees
        self.heeds_arrivals = _overrides(self.keep_alive, KeepAlive, "arrived")
        self._heeds_uses = (
            _overrides(self.keep_alive, KeepAlive, "used")
            or self.admission.counts_idle
            or isinstance(self.pausing, AdaptiveGrace)
        )
        self._freezes = not isinstance(self.pausing, NeverPause)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for container in self.containers.values():
            counts[container.state.value] = counts.get(container.state.value, 0) + 1
        told = " ".join(f"{state}={count}" for state, count in counts.items()) or "empty"
        memory = f"{self.charged_mb}/{self.policies.capacity_mb} MB"
        return f"<Pool {self.policies.accounting} {memory} {told} waiting={len(self.waiting)}>"

    # --- what the admission and the handlers share -------------------------------------------------------------

    def function(self, key: WarmKey, stem: PrewarmKey, concurrency: int) -> Function:
        """The record of a warm key, made where there is none."""
        function = self.functions.get(key)
        if function is None:
            shared = max(1, concurrency) if self.admission.shares else 1
            function = self.functions[key] = Function(key, self.stem(stem), stem.memory_mb, shared)
        return function

    def forget(self, function: Function) -> None:
        """Drop a function's record when nothing is left of it."""
        if not (function.containers or function.waiting or function.starting):
            self.functions.pop(function.key, None)

    def stem(self, key: PrewarmKey) -> Stem:
        """The record of a prewarm key, made where there is none."""
        stem = self.stems.get(key)
        if stem is None:
            stem = self.stems[key] = Stem(key)
        return stem

    def start(self, key: PrewarmKey, invocation: Invocation | None) -> Container:
        """Ask for a container, for an activation or for stock."""
        self.last_id += 1
        container = Container(ContainerId(self.last_id), key, key.memory_mb, self.now_ns)
        self.containers[container.id] = container
        self.charged_mb += key.memory_mb
        self.starting += 1
        if invocation is None:
            self.stem(key).starting += 1
            self.actions.append(act.Start(container.id, key))
            return container
        container.owner = invocation.activation
        function = invocation.function
        self.adopt(container, function)
        function.starting[invocation.activation] = container
        self.placed[invocation.activation] = (function, container, NOT_INSIDE)
        if container.concurrency > 1:
            function.roomy[container.id] = container
        self.prewarm.missed(key)
        self.actions.append(act.Start(container.id, key, invocation.activation))
        return container

    def adopt(self, container: Container, function: Function) -> None:
        """The container becomes one of the function's."""
        container.function = function
        container.concurrency = function.concurrency
        function.containers += 1

    def part(self, container: Container) -> tuple[Function, list[ActivationId]]:
        """The container is none of its function's any more. Returns the function, to be forgotten where it has nothing
        left, and the activations that waited for the container, to be placed anew."""
        function = container.function
        assert function is not None
        claims = list(container.claims)
        container.claims.clear()
        function.roomy.pop(container.id, None)
        function.containers -= 1
        container.function = None
        return function, claims

    def take_ready(self, stem: Stem, invocation: Invocation) -> None:
        """Hand the oldest prewarmed container of the stem to an activation."""
        container = stem.ready.popitem(last=False)[1]
        container.expiry.at_ns = 0
        container.move("dispatch")
        self.adopt(container, invocation.function)
        self.run_in(container, invocation.activation, "prewarm")
        self.restock(stem)

    def run_in(
        self, container: Container, activation: ActivationId, kind: act.StartKind, resumed: bool = False
    ) -> None:
        """Dispatch; the container's state allows it already."""
        function = container.function
        assert function is not None
        container.used_ns = now_ns = self.now_ns
        container.running += 1
        function.active += 1
        self.placed[activation] = (function, container, now_ns)
        if container.concurrency > 1:
            self._note_room(container, function)
        if self._heeds_uses:
            self.keep_alive.used(function)
        self.actions.append(act.Dispatch(activation, container.id, kind, resumed))

    def _note_room(self, container: Container, function: Function) -> None:
        if container.room > 0:
            function.roomy[container.id] = container
        else:
            function.roomy.pop(container.id, None)

    def take_warm(self, function: Function, activation: ActivationId) -> bool:
        """Give the activation a container that knows its code, where one has room: a shared one, else the last used.

        Most activations come this way, so calls are spared here."""
        if function.concurrency > 1 and function.roomy:
            self._take_shared(function, activation)
            return True
        if not function.idle:
            return False
        container = function.idle.popitem()[1]
        container.expiry.at_ns = 0
        if self._freezes:
            container.pause.at_ns = 0
        self.keep_alive.taken(container)
        if self._heeds_uses:
            self.pausing.reused(function, self.now_ns - container.idle_since_ns)
            self.admission.left_idle(container)
        if container.state is _IDLE:
            container.state = _DISPATCHED
            self.run_in(container, activation, "warm")
            return True
        if container.state is _PAUSING:
            container.move("claim")
        else:
            container.move("unpause")
            self.actions.append(act.Unpause(container.id))
        self._claim(container, function, activation)
        return True

    def _take_shared(self, function: Function, activation: ActivationId) -> None:
        container = next(reversed(function.roomy.values()))
        if container.state is _BUSY and container.initialized:
            container.move("join")
            self.run_in(container, activation, "warm")
        else:
            container.move("claim")
            self._claim(container, function, activation)

    def _claim(self, container: Container, function: Function, activation: ActivationId) -> None:
        container.claims[activation] = None
        self.placed[activation] = (function, container, NOT_INSIDE)
        if container.concurrency > 1:
            self._note_room(container, function)

    def set_idle(self, container: Container) -> None:
        """The container, in state IDLE, may be used again, be paused, be evicted, expire."""
        function = container.function
        assert function is not None
        if container.concurrency > 1:
            function.roomy.pop(container.id, None)
        container.idle_since_ns = now_ns = self.now_ns
        function.idle[container.id] = container
        expire_at_ns = self.keep_alive.idle(container, now_ns)
        if expire_at_ns:
            expiry = container.expiry
            if 0 < expiry.entry_ns <= expire_at_ns:
                expiry.at_ns = expire_at_ns  # put off, as nearly always: `schedule` without the call
            elif self.expiries.schedule(container.id, expiry, expire_at_ns):
                self.arm("expire", expire_at_ns)
        if self.foresees:
            self.arm_foresight()
        if self._freezes:
            grace_ns = self.pausing.grace_ns(function)
            if grace_ns >= 0 and self.pauses.schedule(container.id, container.pause, now_ns + grace_ns):
                self.arm("pause", now_ns + grace_ns)

    def remove_idle(self, container: Container, reason: act.RemoveReason, by: Input = "remove") -> None:
        """Remove a container that nobody uses: idle, pausing or paused without a claim."""
        container.move(by)
        function = container.function
        assert function is not None
        del function.idle[container.id]
        container.pause.at_ns = container.expiry.at_ns = 0
        self.keep_alive.taken(container)
        if self.admission.counts_idle:
            self.admission.left_idle(container)
        self.part(container)
        self.forget(function)
        self.send_away(container, reason)

    def remove_ready(self, container: Container, reason: act.RemoveReason, by: Input = "remove") -> None:
        """Remove a prewarmed container."""
        container.move(by)
        container.expiry.at_ns = 0
        del self.stem(container.stem).ready[container.id]
        self.send_away(container, reason)

    def send_away(self, container: Container, reason: act.RemoveReason) -> None:
        """Ask for the removal of a container that is REMOVING and nobody's."""
        self.removing_mb += container.memory_mb
        self.admission.send_away(container, reason)

    def settle(self, activation: ActivationId) -> None:
        """The activation has left the pool."""
        del self.placed[activation]

    def arm(self, timer: ev.TimerName, at_ns: int) -> None:
        """Make the timer fire at `at_ns` at the latest."""
        armed_ns = self.armed.get(timer)
        if armed_ns is None or at_ns < armed_ns:
            self.armed[timer] = at_ns
            self.actions.append(act.ArmTimer(timer, at_ns))

    def gate_intake(self) -> None:
        """Hold or resume reading, by how many wait; between the two marks nothing changes."""
        policies = self.policies
        if not self.holding:
            if len(self.waiting) >= policies.intake_limit:
                self.holding = True
                self.actions.append(act.HoldIntake())
        elif len(self.waiting) < policies.intake_limit and len(self.waiting) <= policies.resume_at:
            self.holding = False
            self.actions.append(act.ResumeIntake())

    # --- prewarm ------------------------------------------------------------------------------------------------

    def restock(self, stem: Stem) -> None:
        """Ask for what is wanted and neither stands nor starts."""
        if self.draining or stem.retry_at_ns > self.now_ns:
            return
        while len(stem.ready) + stem.starting < stem.target and self.admission.stock_fits(stem.key):
            self.start(stem.key, None)

    def restock_all(self) -> None:
        """Look at every stem; memory came free, or the wishes changed."""
        for stem in self.stems.values():
            if stem.target:
                self.restock(stem)

    def set_ready(self, container: Container) -> None:
        """A container without code stands ready; one too many gets a deadline."""
        stem = self.stem(container.stem)
        stem.ready[container.id] = container
        self.limit_surplus(stem, self.now_ns + self.policies.surplus_ns)

    def limit_surplus(self, stem: Stem, at_ns: int) -> None:
        """Who stands ready beyond what is wanted, the newest, goes at `at_ns` at the latest, if still too many then."""
        surplus = max(0, len(stem.ready) - stem.target)
        for container in itertools.islice(reversed(stem.ready.values()), surplus):
            expiry = container.expiry
            if expiry.at_ns and expiry.at_ns <= at_ns:
                if not self.foresees:  # then what is wanted never falls without a removal, and the others have theirs
                    return
            elif self.expiries.schedule(container.id, expiry, at_ns):
                self.arm("expire", at_ns)

    def arm_foresight(self) -> None:
        """Have the keep-alive policy called at the next instant for which it foresees something."""
        at_ns = self.keep_alive.next_ns()
        if at_ns and not self.draining:
            self.arm("stock", max(at_ns, self.now_ns))

    # --- drain --------------------------------------------------------------------------------------------------

    def finish_drain(self) -> None:
        """Say Drained once, when nothing is left but what can't be removed."""
        if self.drained or self.placed or self.waiting or len(self.containers) > self.quarantined:
            return
        self.drained = True
        for timer in list(self.armed):
            del self.armed[timer]
            self.actions.append(act.CancelTimer(timer))
        self.actions.append(act.Drained())


def _overrides(policy: object, base: type, method: str) -> bool:
    """Whether the policy has a method of its own where the base's does nothing."""
    return getattr(type(policy), method) is not getattr(base, method)

"""◇ The invokers as one controller sees them: who is fit, who has room, who is owed an answer since when.

The judgements are the policy's: a balancer's Controller places, a Supervisor for each invoker tells whether it is fit.
This joins the two, and keeps the list of forced timeouts. Time comes with each call and nothing is sent here: tests
that are due gather in `take_tests`, activations that were given up come out of `elapse`.

A balancer knows invokers by their place in an ascending list of instance numbers. With the numbers 0, 1, 2, ... that is
upstream's own index; with others there are no gaps that would never be filled.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from invoker.policy.balancing import AnyBalancer, Controller, Overflow, Request, forced_timeout_ms
from invoker.policy.balancing.supervision import SILENCE_NS, Health, Result, Supervisor
from invoker.policy.types import ActivationId

MS_NS = 1_000_000
TOPIC_SILENCE_NS = SILENCE_NS // 2
"""Without a ping on the topic for so long, answers to GET /ping are as good: Kafka may be away, and the invoker not."""


class Fleet:
    """All invokers. `memory_mb` by instance number, 0 where an invoker is to tell; `scale` times the forced timeout."""

    def __init__(self, memory_mb: dict[int, int], spec: AnyBalancer, *, controllers: int = 1, scale: float = 1) -> None:
        self._instances = sorted(memory_mb)
        self._ranks = {instance: rank for rank, instance in enumerate(self._instances)}
        self._memory_mb = dict(memory_mb)
        self._controller = Controller(spec, controllers)
        self._supervisors = [Supervisor() for _ in self._instances]
        self._heard: dict[int, tuple[int, bool]] = {}  # by the topic, when last: (instant, whether it was enabled)
        self._closed: set[int] = set()
        self._deadlines: list[tuple[int, ActivationId]] = []
        self._tests: list[int] = []
        self._scale = scale
        if all(memory_mb.values()):
            for rank, instance in enumerate(self._instances):
                self._controller.cluster.seen(rank, memory_mb[instance])

    # --- is it there, and does it work --------------------------------------------------------------------------

    def pinged(self, now_ns: int, instance: int, memory_mb: int, enabled: bool) -> bool:
        """A ping on the topic. False for an invoker that is not of this cluster."""
        if instance not in self._ranks:
            return False
        self._heard[instance] = (now_ns, enabled)
        self._memory_mb[instance] = self._memory_mb[instance] or memory_mb
        if instance not in self._closed:
            self._present(now_ns, instance, enabled)
        return True

    def answered(self, now_ns: int, instance: int) -> None:
        """It answered to GET /ping. Where it also pings by the topic that alone counts, for a ping tells whether the
        invoker is enabled. Of an invoker whose memory is not known this is not enough to send it anything."""
        self._closed.discard(instance)
        heard_ns, enabled = self._heard.get(instance, (now_ns - TOPIC_SILENCE_NS, True))
        if self._memory_mb[instance] and enabled and now_ns - heard_ns >= TOPIC_SILENCE_NS:
            self._present(now_ns, instance, True)

    def absent(self, now_ns: int, instance: int) -> bool:
        """Nobody listens at its address, or it wants nothing: unfit at once, without waiting for its silence, and until
        it answers there. Whether that is news."""
        news = instance not in self._closed
        self._closed.add(instance)
        self._heard.pop(instance, None)
        self._present(now_ns, instance, False)
        return news

    def tested(self, now_ns: int, instance: int, result: Result) -> None:
        """A test action has ended."""
        if instance in self._ranks:
            self._resulted(now_ns, instance, result)

    def take_tests(self) -> list[int]:
        """The instances that are to be sent a test action now."""
        tests, self._tests = self._tests, []
        return tests

    def healths(self) -> dict[int, Health]:
        """Of every instance."""
        return {instance: self._supervisors[rank].health for instance, rank in self._ranks.items()}

    def free_mb(self, instance: int) -> int | None:
        """What this controller believes to be free of its share; below 0 where it overloads. None: not known yet."""
        invokers = self._controller.cluster.invokers
        rank = self._ranks[instance]
        return invokers[rank].slots.free_mb if rank < len(invokers) else None

    # --- activations --------------------------------------------------------------------------------------------

    def place(self, now_ns: int, request: Request) -> tuple[int | None, bool]:
        """(instance to send to, whether by its topic); None: nowhere. It counts as sent, and its slot as taken."""
        where = self._controller.place(now_ns, request)
        rank = where.invoker if isinstance(where, Overflow) else where
        if rank is None:
            return None, True
        timeout_ns = int(forced_timeout_ms(request.limit_ms) * self._scale * MS_NS)
        heapq.heappush(self._deadlines, (now_ns + timeout_ns, request.activation))
        return self._instances[rank], isinstance(where, Overflow)

    def returned(self, now_ns: int, activation: ActivationId) -> None:
        """The invoker did not accept it: its slot is free, and that says nothing of the invoker's work."""
        self._controller.timed_out(now_ns, activation)

    def acknowledged(self, now_ns: int, activation: ActivationId, instance: int, system_error: bool) -> bool:
        """Its end was told: the slot is free. False for a late word of one that was given up."""
        if not self._controller.acknowledged(now_ns, activation):
            return False
        self._resulted(now_ns, instance, "system error" if system_error else "success")
        return True

    def lost(self, now_ns: int, activation: ActivationId, instance: int) -> None:
        """The invoker accepted it, and broke off before its end: it counts against the invoker."""
        if self._controller.timed_out(now_ns, activation):
            self._resulted(now_ns, instance, "system error")

    def elapse(self, now_ns: int) -> Iterable[ActivationId]:
        """Time has passed. The activations whose forced timeout is over; their slots are free from now on."""
        for rank, supervisor in enumerate(self._supervisors):
            if supervisor.next_ns and supervisor.next_ns <= now_ns:
                self._heed(rank, supervisor.elapsed(now_ns))
        given_up: list[ActivationId] = []
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            activation = heapq.heappop(self._deadlines)[1]
            entry = self._controller.cluster.sent.get(activation)
            if entry is not None:
                self._controller.timed_out(now_ns, activation)
                self._resulted(now_ns, self._instances[entry[0]], "timeout")
                given_up.append(activation)
        return given_up

    # --- inside -------------------------------------------------------------------------------------------------

    def _present(self, now_ns: int, instance: int, enabled: bool) -> None:
        rank = self._ranks[instance]
        if enabled:
            self._controller.cluster.seen(rank, self._memory_mb[instance])
        self._heed(rank, self._supervisors[rank].pinged(now_ns, enabled))

    def _resulted(self, now_ns: int, instance: int, result: Result) -> None:
        rank = self._ranks.get(instance)
        if rank is not None:
            self._heed(rank, self._supervisors[rank].resulted(now_ns, result))

    def _heed(self, rank: int, test: bool) -> None:
        """The supervisor has judged anew: tell the balancer, and note the test that it wants."""
        supervisor = self._supervisors[rank]
        if rank < len(self._controller.cluster.invokers):
            self._controller.turn(rank, supervisor.usable)
        if test:
            self._tests.append(self._instances[rank])

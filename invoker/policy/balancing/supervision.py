"""◇ Supervision: whether an invoker is fit to be sent to, as the reference's controller judges it.

An invoker says every second that it is there, and what becomes of activations says whether it works. One that isn't
known to work is sent test actions; only a healthy one is sent anything else. Results of tests count as all others do.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Literal, TypeAlias

from invoker.policy.types import MINUTE_NS, SECOND_NS

SILENCE_NS = 10 * SECOND_NS
"""After so long without any news an invoker counts as gone."""
TEST_PERIOD_NS = MINUTE_NS
"""Time between two test actions for one that isn't healthy."""
RESULTS_MAX = 10
"""So many last results are looked at."""
TOLERANCE = 3
"""So many of them may be bad in one way."""

Result: TypeAlias = Literal["success", "system error", "timeout"]
"""Of an activation; an acknowledgement that comes too late is none, for it counted as a timeout already."""


class Health(Enum):
    """What a controller thinks of an invoker; the values are the words of its read-out."""

    HEALTHY = "up"
    UNHEALTHY = "unhealthy"  # it answers with system errors, or has proved nothing yet
    UNRESPONSIVE = "unresponsive"  # it is there, and doesn't answer
    OFFLINE = "down"


class Supervisor:
    """The judgement of one invoker. Each method returns whether a test action is to be sent to it now; whoever drives
    it calls `elapsed` at `next_ns`, and tells a balancer when `usable` has changed."""

    def __init__(self) -> None:
        self.health = Health.OFFLINE
        self._results: deque[Result] = deque(maxlen=RESULTS_MAX)
        self._silent_ns = 0
        self._test_ns = 0

    @property
    def usable(self) -> bool:
        """Whether it may be sent to."""
        return self.health is Health.HEALTHY

    @property
    def next_ns(self) -> int:
        """The instant at which `elapsed` is due, 0 for none."""
        if self.health is Health.OFFLINE:
            return 0
        return min(self._silent_ns, self._test_ns) if self._test_ns else self._silent_ns

    def pinged(self, now_ns: int, enabled: bool = True) -> bool:
        """It says that it is there; not `enabled`: and that it wants nothing."""
        self._silent_ns = now_ns + SILENCE_NS
        if not enabled:
            return self._turn(Health.OFFLINE, now_ns)
        return self.health is Health.OFFLINE and self._turn(Health.UNHEALTHY, now_ns)

    def elapsed(self, now_ns: int) -> bool:
        """Time has passed: it may have been silent for too long, or be due for a test, which counts as news, too."""
        if self.health is Health.OFFLINE:
            return False
        if now_ns >= self._silent_ns:
            return self._turn(Health.OFFLINE, now_ns)
        if not self._test_ns or now_ns < self._test_ns:
            return False
        self._test_ns = now_ns + TEST_PERIOD_NS
        self._silent_ns = now_ns + SILENCE_NS
        return True

    def resulted(self, now_ns: int, result: Result) -> bool:
        """An activation sent to it came to this."""
        self._silent_ns = now_ns + SILENCE_NS
        self._results.append(result)
        again = result == "success" and self.health is Health.UNHEALTHY
        return self._turn(self._judge(result), now_ns) or again

    def _judge(self, last: Result) -> Health:
        if self.health is Health.OFFLINE or (self.health is Health.HEALTHY and last == "success"):
            return self.health
        if self._results.count("system error") > TOLERANCE:
            return Health.UNHEALTHY
        if self._results.count("timeout") > TOLERANCE:
            return Health.UNRESPONSIVE
        if last == "success":
            return Health.HEALTHY
        if len(self._results) > TOLERANCE:
            return self.health
        return Health.UNHEALTHY if last == "system error" else Health.UNRESPONSIVE

    def _turn(self, health: Health, now_ns: int) -> bool:
        """Take the new state; whoever gets unfit, and is there, is tested at once and every minute."""
        if health is self.health:
            return False
        self.health = health
        tested = health in (Health.UNHEALTHY, Health.UNRESPONSIVE)
        self._test_ns = now_ns + TEST_PERIOD_NS if tested else 0
        return tested

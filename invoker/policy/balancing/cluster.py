"""◇ What one controller believes of the invokers: who may be sent to, what it sent there, and who still has room.

A controller sees only its own share of an invoker's memory, and only what it sent itself; it learns of the rest late or
not at all. That is what makes balancing hard, so it is all a balancer may look at.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import msgspec

from invoker.policy.types import ActivationId

MEMORY_MIN_MB = 128
"""An invoker's share for one controller is never smaller (`memory.min` of the reference)."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One activation to be placed. Memory in MB, `limit_ms` the action's time limit.

    `namespace` is the invoking one; `action` the defining `namespace[/package]/name`, without a leading slash.
    `blackbox`: its image is the user's own. `chance` is a number drawn evenly from 0 to
    2**64 - 1: nothing is drawn here.
    """

    activation: ActivationId
    namespace: str
    action: str
    version: str = ""
    memory_mb: int = 256
    concurrency: int = 1
    blackbox: bool = False
    limit_ms: int = 60_000
    chance: int = 0


class Overflow(msgspec.Struct, frozen=True):
    """No room is believed to be anywhere: the activation goes to the topic of `invoker`, or nowhere (None)."""

    invoker: int | None


class Slots:
    """The memory of one invoker that a controller hands out, in MB; it may fall below 0 by force.

    An action that takes several activations in a container is charged once for as many as its limit says.
    The counts follow the reference's nested semaphore, releases above the nominal size included.
    """

    def __init__(self, memory_mb: int) -> None:
        self.free_mb = memory_mb
        self._shared: dict[tuple[str, str], list[int]] = {}  # action and version: (open places, activations inside)

    def fits(self, request: Request) -> bool:
        """Whether `take` needs no force."""
        if request.concurrency > 1:
            shared = self._shared.get((request.action, request.version))
            if shared is not None and shared[0] >= 1:
                return True
        return self.free_mb >= request.memory_mb

    def take(self, request: Request) -> None:
        """Charge the activation, whether it fits or not."""
        if request.concurrency <= 1:
            self.free_mb -= request.memory_mb
            return
        shared = self._shared.setdefault((request.action, request.version), [0, 0])
        if shared[0] >= 1:
            shared[0] -= 1
        else:
            self.free_mb -= request.memory_mb
            shared[0] += request.concurrency - 1
        shared[1] += 1

    def release(self, request: Request) -> None:
        """The activation has ended, or is given up."""
        if request.concurrency <= 1:
            self.free_mb += request.memory_mb
            return
        key = (request.action, request.version)
        shared = self._shared.setdefault(key, [0, 0])
        shared[0] += 1
        if shared[0] % request.concurrency == 0:
            shared[0] -= request.concurrency
            self.free_mb += request.memory_mb
        shared[1] -= 1
        if shared[1] == 0:
            del self._shared[key]


class Invoker(msgspec.Struct, eq=False):
    """One invoker. `active` counts the activations sent and not settled. `load_milli` is the load that it last reported
    itself, in thousandths of a core's worth for each of its cores; None: it never did. `reports` counts the reports."""

    memory_mb: int
    cores: int
    slots: Slots
    usable: bool = False
    active: int = 0
    load_milli: int | None = None
    reports: int = 0


class Loads:
    """The usable invokers by their `active`: a bucket for each number, so that the least loaded are found in O(1).

    A change moves an invoker to the next bucket, and within a bucket the last takes the place of the one that left:
    the order depends on the history alone.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, list[int]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._least = 0

    def put(self, invoker: int, active: int) -> None:
        """Add the invoker, or move it."""
        self.drop(invoker)
        bucket = self._buckets.setdefault(active, [])
        self._places[invoker] = (active, len(bucket))
        bucket.append(invoker)
        if active < self._least or len(self._places) == 1:
            self._least = active
        while self._least not in self._buckets:
            self._least += 1

    def drop(self, invoker: int) -> None:
        """Take the invoker out, where it is in."""
        place = self._places.pop(invoker, None)
        if place is None:
            return
        active, index = place
        bucket = self._buckets[active]
        last = bucket.pop()
        if last != invoker:
            bucket[index] = last
            self._places[last] = (active, index)
        if not bucket:
            del self._buckets[active]

    def least(self) -> list[int]:
        """Those with the fewest activations; empty where there is nobody. Not to be changed."""
        if not self._places:
            return []
        while self._least not in self._buckets:
            self._least += 1
        return self._buckets[self._least]


class Cluster:
    """The view. `usable` are the indexes of invokers that may be sent to, ascending; `active` counts what was sent to
    them and is not settled. Joining and leaving cost O(n), all else O(1)."""

    def __init__(self, controllers: int = 1) -> None:
        self.controllers = max(1, controllers)
        self.invokers: list[Invoker] = []
        self.usable: list[int] = []
        self.loads = Loads()
        self.active = 0
        self.sent: dict[ActivationId, tuple[int, Request]] = {}

    def seen(self, index: int, memory_mb: int, cores: int = 1) -> None:
        """An invoker is heard of. Those below it that are not known yet get the same size until they report.

        One that is known keeps the size that it had, as the reference has it.
        """
        while len(self.invokers) <= index:
            self.invokers.append(Invoker(memory_mb, cores, Slots(self._share_mb(memory_mb))))

    def set_usable(self, index: int, usable: bool) -> bool:
        """The invoker is healthy, or is not any more. Returns whether that is news."""
        invoker = self.invokers[index]
        if invoker.usable == usable:
            return False
        invoker.usable = usable
        if usable:
            insort(self.usable, index)
            self.loads.put(index, invoker.active)
            self.active += invoker.active
        else:
            del self.usable[bisect_left(self.usable, index)]
            self.loads.drop(index)
            self.active -= invoker.active
        return True

    def resize(self, controllers: int) -> None:
        """There are more controllers, or fewer: all shares are made anew and full, whatever is under way."""
        self.controllers = max(1, controllers)
        for invoker in self.invokers:
            invoker.slots = Slots(self._share_mb(invoker.memory_mb))

    def report(self, index: int, load_milli: int) -> None:
        """An invoker told its load (see `Invoker`); such news is seldom and old."""
        invoker = self.invokers[index]
        invoker.load_milli = load_milli
        invoker.reports += 1

    def door(self, index: int, request: Request) -> int | Overflow:
        """By HTTP while the invoker is believed to have room, else by its topic."""
        return index if self.invokers[index].slots.fits(request) else Overflow(index)

    def take(self, request: Request, index: int) -> None:
        """The activation is sent to the invoker."""
        self.sent[request.activation] = (index, request)
        self.invokers[index].slots.take(request)
        self._count(index, 1)

    def settle(self, activation: ActivationId) -> tuple[int, Request] | None:
        """The activation is acknowledged or given up. None where it was settled before, or never sent."""
        entry = self.sent.pop(activation, None)
        if entry is not None:
            index, request = entry
            self.invokers[index].slots.release(request)
            self._count(index, -1)
        return entry

    def _count(self, index: int, change: int) -> None:
        invoker = self.invokers[index]
        invoker.active += change
        if invoker.usable:
            self.active += change
            self.loads.put(index, invoker.active)

    def _share_mb(self, memory_mb: int) -> int:
        return max(MEMORY_MIN_MB, memory_mb // self.controllers)

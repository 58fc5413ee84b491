"""◇ The node over time: memory and containers by state, and who waits, sampled at a fixed interval of simulated time.

A rate or a quantile says what invocations saw; it takes a timeline to see why. Sampling changes nothing: the pool is
looked at when its time moves on, before the step that moves it, so no driver schedules anything for it, no tie is
broken otherwise, and both drivers give the same samples. A simulation that isn't sampled pays nothing.
"""

from __future__ import annotations

from array import array
from itertools import repeat
from typing import Final

from invoker.policy import PolicySet, Pool
from invoker.policy.container import State
from sim.errors import SimulationError

SAMPLES_MAX: Final = 1 << 16
"""With more than this, every other sample is dropped and the interval doubled."""

STATES: Final = ("busy", "starting", "idle", "paused", "stem cells", "removing", "quarantined")
"""What a container is doing: `busy` with an activation (its initialisation, its thaw and the collection of its log
included); `starting`, for an activation or for stock; `idle`: warm and not frozen; `paused`: warm and frozen; `stem
cells`: prewarmed, without code; `removing`, until it is gone; `quarantined`: its removal failed, and its memory is
lost."""

PLACES: Final = {
    State.BUSY: 0,
    State.TAINTED: 0,
    State.UNPAUSING: 0,
    State.STARTING: 1,
    State.IDLE: 2,
    State.PAUSING: 2,
    State.PAUSED: 3,
    State.PREWARM: 4,
    State.REMOVING: 5,
    State.QUARANTINED: 6,
}
"""The heart's states to places in STATES."""


class Timeline:
    """Columns with a row for each sample: 0, `every_ns`, twice that, ... up to the end of the simulation.

    A row tells how the node is after everything that happened up to its instant. `memory_mb` and `containers` have a
    column for each of STATES; the memory of a row sums up to what is charged. `waiting` are the invocations that wait
    for memory or a container, not those whose container is starting.
    """

    def __init__(self, every_ns: int) -> None:
        if every_ns <= 0:
            raise SimulationError(f"a timeline is sampled every so many ns, above 0, not every {every_ns}")
        self.every_ns = every_ns
        self.waiting = array("q")
        self.memory_mb = {state: array("q") for state in STATES}
        self.containers = {state: array("q") for state in STATES}

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def at_ns(self) -> array[int]:
        """The samples' instants."""
        return array("q", range(0, len(self) * self.every_ns, self.every_ns))

    @property
    def next_ns(self) -> int:
        """The instant of the next sample."""
        return len(self) * self.every_ns

    def sample(self, pool: Pool, until_ns: int) -> None:
        """The pool is as it is until `until_ns`, which is not yet part of it."""
        memory_mb, containers = [0] * len(STATES), [0] * len(STATES)
        for container in pool.containers.values():
            place = PLACES[container.state]
            memory_mb[place] += container.memory_mb
            containers[place] += 1
        while (rows := self._rows_before(until_ns)) > SAMPLES_MAX:
            self._halve()
        new = rows - len(self)
        self.waiting.extend(repeat(len(pool.waiting), new))
        for place, state in enumerate(STATES):
            self.memory_mb[state].extend(repeat(memory_mb[place], new))
            self.containers[state].extend(repeat(containers[place], new))

    def _rows_before(self, until_ns: int) -> int:
        return -(-until_ns // self.every_ns)

    def _halve(self) -> None:
        self.every_ns *= 2
        for column in (self.waiting, *self.memory_mb.values(), *self.containers.values()):
            column[:] = column[::2]


class SampledPool(Pool):
    """A pool whose passing of time is noticed: `step` sets `now_ns` before it changes anything else."""

    def __init__(self, policies: PolicySet, timeline: Timeline) -> None:
        self.timeline = timeline
        self._now_ns = self._next_ns = 0
        super().__init__(policies)

    @property
    def now_ns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] - a variable that is watched
        """The pool's time."""
        return self._now_ns

    @now_ns.setter
    def now_ns(self, now_ns: int) -> None:
        if now_ns > self._next_ns:
            self.timeline.sample(self, now_ns)
            self._next_ns = self.timeline.next_ns
        self._now_ns = now_ns

    def close(self, ended_ns: int) -> None:
        """The simulation ended at `ended_ns`, which is part of it."""
        self.timeline.sample(self, ended_ns + 1)

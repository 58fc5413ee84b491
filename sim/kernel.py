"""◇ Kernels: what makes simulated time pass. Drivers are written against three words and run on either.

Jobs due at one instant are done in the order in which they were scheduled. That is all that two kernels have to agree
on for a simulation to come to the same on both, decision for decision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    import simpy

Job: TypeAlias = Callable[[], object]


class Kernel(Protocol):
    """A clock in ns, and what is still to be done."""

    @property
    def now_ns(self) -> int:
        """The instant of the job that is being done."""
        ...

    def after(self, delay_ns: int, job: Job) -> None:
        """Do the job in so many ns, from 0 on."""
        ...

    def stop(self) -> None:
        """Do no further job."""
        ...

    def run(self) -> bool:
        """Do one job after the other until `stop`. False where there was none left before."""
        ...


class HeapKernel:
    """A heap of (instant, number, job): what SimPy comes to where every event is a delay."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._heap: list[tuple[int, int, Job]] = []
        self._scheduled = 0
        self._stopped = False

    def after(self, delay_ns: int, job: Job) -> None:
        """See `Kernel`."""
        self._scheduled = number = self._scheduled + 1
        heappush(self._heap, (self.now_ns + delay_ns, number, job))

    def stop(self) -> None:
        """See `Kernel`."""
        self._stopped = True

    def run(self) -> bool:
        """See `Kernel`."""
        heap = self._heap
        while heap and not self._stopped:
            self.now_ns, _, job = heappop(heap)
            job()
        return self._stopped


class SimPyKernel:
    """A SimPy environment, which others' models may share; an own one where none is given. Needs the extra `sim`."""

    def __init__(self, environment: simpy.Environment | None = None) -> None:
        import simpy

        self.environment = environment or simpy.Environment()
        self._stopped = False

    @property
    def now_ns(self) -> int:
        """See `Kernel`."""
        return int(self.environment.now)

    def after(self, delay_ns: int, job: Job) -> None:
        """See `Kernel`."""
        timeout = self.environment.timeout(delay_ns)
        cast(Any, timeout).callbacks.append(partial(_do, job))

    def stop(self) -> None:
        """See `Kernel`."""
        self._stopped = True

    def run(self) -> bool:
        """See `Kernel`."""
        from simpy.core import EmptySchedule

        while not self._stopped:
            try:
                self.environment.step()
            except EmptySchedule:
                return False
        return True


def _do(job: Job, _event: simpy.Event) -> None:
    job()

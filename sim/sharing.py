"""◇ Processor sharing: all jobs go on at once, each the slower the more there are.

Used for the CPUs of a node, and for a Docker daemon that starts several containers. Work that is done is counted in
whole thousandths of a ns of one's own machine, so that the instants are the same everywhere. Each change is O(log n).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Job = TypeVar("Job")

Slowness = Callable[[int], tuple[int, int]]
"""How slow each of n jobs is: a fraction (numerator, denominator) of at least 1 for n = 1, 2, ..."""


def of_cpus(cpus: int) -> Slowness:
    """Each job uses one CPU, or its share of all where there are too few."""
    return lambda jobs: (max(jobs, cpus), cpus)


def of_table(thousandths: tuple[int, ...]) -> Slowness:
    """The n-th number holds for n jobs, the last for more."""
    last = len(thousandths) - 1
    return lambda jobs: (thousandths[min(jobs - 1, last)], 1000)


class Sharing(Generic[Job]):
    """The jobs under way. Whoever changes it asks `next_ns` again, and then calls `due` at that instant."""

    def __init__(self, slowness: Slowness) -> None:
        self._slowness = slowness
        self._heap: list[tuple[int, int, Job]] = []
        self._added = 0
        self._at_ns = 0
        self._done = 0  # by each job that was there all the time, in thousandths of a ns

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, now_ns: int, work_ns: int, job: Job) -> None:
        """A job begins that would take `work_ns` alone."""
        self._advance(now_ns)
        self._added += 1
        heappush(self._heap, (self._done + work_ns * 1000, self._added, job))

    def drop(self, now_ns: int, job: Job) -> None:
        """The job ends before its time, where it is still under way. Costs O(n)."""
        self._advance(now_ns)
        self._heap = [entry for entry in self._heap if entry[2] is not job]
        heapify(self._heap)

    def next_ns(self) -> int:
        """When the next job ends if nothing changes; -1 without jobs."""
        if not self._heap:
            return -1
        numerator, denominator = self._slowness(len(self._heap))
        left = max(0, self._heap[0][0] - self._done)
        return self._at_ns - (-left * numerator // (1000 * denominator))

    def due(self, now_ns: int) -> list[Job]:
        """The jobs that have ended by now, in the order of their ends."""
        self._advance(now_ns)
        ended: list[Job] = []
        while self._heap and self._heap[0][0] <= self._done:
            ended.append(heappop(self._heap)[2])
        return ended

    def _advance(self, now_ns: int) -> None:
        if self._heap:
            numerator, denominator = self._slowness(len(self._heap))
            self._done += (now_ns - self._at_ns) * 1000 * denominator // numerator
        self._at_ns = now_ns

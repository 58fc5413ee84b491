"""◆ Where runs are computed: in this process, in several, or on a Dask cluster. The answers are the same everywhere.

Each process gets the measure once, so that it can keep what is dear and common to many runs, as a workload that was
drawn or read. Outcomes come as they are ready; whoever wants them in order sorts them by their task.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Protocol, Self, cast

from sim.errors import SimulationError
from sim.planning.task import Measure, Outcome, Task, carry_out

KILLED = "its process was killed: short of memory, most likely; try fewer --jobs, or a smaller workload"
DASK_CONNECT_S = 10


class Workers(Protocol):
    """Compute tasks of one measure; a context, in which processes or connections are open."""

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """Each task's outcome, as it is ready. May be called again, as long as the context lasts."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_workers(measure: Measure, jobs: int | None = None, dask: str | None = None) -> Workers:
    """Workers for the measure: `jobs` processes (None: one for each core; 1: this process), or those of the Dask
    scheduler at the address `dask`. Raises SimulationError where there can be none."""
    if dask is not None:
        return Dask(measure, dask)
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 1:
        raise SimulationError(f"there must be one process at least, not {jobs}")
    return ThisProcess(measure) if jobs == 1 else Processes(measure, jobs)


class ThisProcess:
    """One run after another, right here."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """See `Workers`."""
        for task in tasks:
            yield carry_out(self._measure, task)


# --- processes of this machine --------------------------------------------------------------------------------------

_measure: Measure | None = None
"""In a worker process: whose questions it answers."""


def _begin(measure: Measure) -> None:
    global _measure  # noqa: PLW0603 - a worker process has one measure for all its life
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; who began the processes stops them
    _measure = measure


def _ready() -> None:
    """Answered by a process that could begin."""


def _carry_out(task: Task) -> Outcome:
    assert _measure is not None
    return carry_out(_measure, task)


class Processes:
    """`jobs` fresh processes of this machine. One that is killed loses no run but its own.

    Whoever stops reading outcomes (Ctrl-C) stops the processes that compute the rest.
    """

    def __init__(self, measure: Measure, jobs: int) -> None:
        self._measure = measure
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[Any] = set()

    def __enter__(self) -> Self:
        self._others = set(multiprocessing.active_children())
        try:
            self._opened().submit(_ready).result()
        except BrokenProcessPool:
            self._stop()
            raise SimulationError(
                "no worker process can begin (the lines above may tell why); a script of one's own must begin its work "
                "under `if __name__ == '__main__':`, and its measure must be importable"
            ) from None
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """See `Workers`. What ran while a process was killed is run again, one by one, to see whose fault it was."""
        suspects: list[Task] = []
        for outcome in self._run(tasks, self._jobs):
            if outcome.failure == KILLED:
                suspects.append(outcome.task)
            else:
                yield outcome
        yield from self._run(suspects, 1)

    def _run(self, tasks: Iterable[Task], at_a_time: int) -> Generator[Outcome, None, None]:
        waiting = deque(tasks)
        running: dict[Future[Outcome], Task] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_a_time:
                    task = waiting.popleft()
                    running[self._submitted(task)] = task
                done = wait(running, return_when=FIRST_COMPLETED).done
                outcomes = [_outcome(future, running.pop(future)) for future in done]
                if any(outcome.failure == KILLED for outcome in outcomes):
                    outcomes += [_outcome(future, lost) for future, lost in running.items()]  # all end with the pool
                    running.clear()
                    self._stop()
                yield from outcomes
        finally:
            if running:
                self._stop()

    def _submitted(self, task: Task) -> Future[Outcome]:
        try:
            return self._opened().submit(_carry_out, task)
        except BrokenProcessPool:  # one was killed while it had nothing to do
            self._stop()
            return self._opened().submit(_carry_out, task)

    def _opened(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._jobs, mp_context=context, initializer=_begin, initargs=(self._measure,)
            )
        return self._pool

    def _stop(self) -> None:
        """Stop the processes, whatever they do."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(task, None, KILLED)


# --- Dask -----------------------------------------------------------------------------------------------------------


class Dask:
    """The workers of the Dask scheduler at `address` (`tcp://host:8786`), which need this package and the files that
    the scenario names."""

    def __init__(self, measure: Measure, address: str) -> None:
        self._measure = measure
        self._address = address
        self._client: Any = None
        self._shared: Any = None

    def __enter__(self) -> Self:
        try:
            from distributed import Client
            from distributed.comm.addressing import get_address_host_port
        except ImportError as problem:
            raise SimulationError("there is no Dask: install the extra `dask` (functions-invoker[dask])") from problem
        try:
            place = cast(Any, get_address_host_port)(self._address, strict=True)
            socket.create_connection(place, DASK_CONNECT_S).close()  # a client that finds nobody leaves a thread behind
            self._client = cast(Any, Client)(self._address, timeout=DASK_CONNECT_S, set_as_default=False)
            self._shared = self._client.scatter(self._measure, broadcast=True, hash=False, timeout=DASK_CONNECT_S)
        except (OSError, ValueError, TimeoutError) as problem:
            self._close()
            raise SimulationError(f"no Dask scheduler with workers answers at {self._address}: {problem}") from problem
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """See `Workers`. Runs whose workers were killed several times are told as such."""
        from distributed import as_completed

        asked = {
            future.key: (future, task)
            for task in tasks
            for future in (self._client.submit(carry_out, self._shared, task, pure=False),)
        }
        try:
            for future in cast(Any, as_completed)([future for future, _ in asked.values()], loop=self._client.loop):
                task = asked.pop(future.key)[1]
                error = future.exception()
                yield future.result() if error is None else Outcome(task, None, f"{type(error).__name__}: {error}")
        finally:
            self._client.cancel([future for future, _ in asked.values()])

    def _close(self) -> None:
        if self._client is not None:
            self._shared = None
            self._client.close()
            self._client = None

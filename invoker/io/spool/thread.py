"""◆ The thread that does the spool's disk work, so that a slow disk holds up nobody but those who wait for it.

Every record of a call that nobody waits for comes by here, so it is made cheap: a write costs the loop one future and
the thread one turn, and those that come while the disk is busy go together in the next turn (group commit). An executor
and a task for the groups would do the same for twice the loop's time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from invoker.errors import InvokerError, PlatformFault

RECORDS_MAX = 1024
BYTES_MAX = 32 * 1024 * 1024

Result = TypeVar("Result")
Done: TypeAlias = Callable[[Any, BaseException | None], None]


class SpoolThread:
    """Runs calls one after the other in a thread of its own. Those who call bound how many wait."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Done] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    def call(self, call: Callable[[], Any], done: Done) -> None:
        """Run `call` in the thread and then, on the loop, `done` with what it returned or raised."""
        self._calls.put((call, done))

    async def run(self, call: Callable[[], Result]) -> Result:
        """What `call` returns or raises. A caller that is cancelled doesn't call it off."""
        future: asyncio.Future[Result] = self._loop.create_future()

        def done(result: Result, problem: BaseException | None) -> None:
            if future.done():
                return
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)

        self.call(call, done)
        return await future

    async def close(self) -> None:
        """End the thread after the calls that wait. Nothing may be run any more."""
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        tell = self._loop.call_soon_threadsafe
        while (work := self._calls.get()) is not None:
            call, done = work
            try:
                result, problem = call(), None
            except BaseException as raised:  # noqa: BLE001 - it is raised where the call was made
                result, problem = None, raised
            tell(done, result, problem)
            del work, call, done, result, problem  # nothing of it is held while waiting


class SpoolGroup:
    """Records on their way to `append`, which is all or nothing, in the thread; as many at once as wait.

    At most 1024 records and about 32 MiB wait; past it `write` waits for room. `written` is called on the loop after
    each group that was written.
    """

    def __init__(self, thread: SpoolThread, append: Callable[[list[bytes]], None], written: Callable[[], None]) -> None:
        self._thread = thread
        self._append = append
        self._written = written
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._bytes = 0
        self._busy = False
        self._closing = False
        self._turn = asyncio.Event()  # set whenever those that waited were handed over, or the last group is done

    async def write(self, record: bytes) -> None:
        """Returns once it is written. A caller that is cancelled doesn't take it back. Raises PlatformFault."""
        while self._full(len(record)) and not self._closing:
            self._turn.clear()
            await self._turn.wait()
        if self._closing:
            raise PlatformFault("the spool is closed: nothing more is written")
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((record, future))
        self._bytes += len(record)
        if not self._busy:
            self._hand_over()
        await future

    async def close(self) -> None:
        """Write what waits. Twice is once."""
        self._closing = True
        self._turn.set()
        while self._busy:
            self._turn.clear()
            await self._turn.wait()

    def _full(self, more_bytes: int) -> bool:
        waiting = len(self._waiting)
        return waiting >= RECORDS_MAX or (waiting > 0 and self._bytes + more_bytes > BYTES_MAX)

    def _hand_over(self) -> None:
        group, self._waiting = self._waiting, []
        self._bytes = 0
        self._busy = True
        self._turn.set()
        records = [record for record, _ in group]
        self._thread.call(lambda: self._append(records), lambda _, problem: self._done(group, problem))

    def _done(self, group: list[tuple[bytes, asyncio.Future[None]]], problem: BaseException | None) -> None:
        self._busy = False
        if self._waiting:
            self._hand_over()
        self._turn.set()
        if problem is None:
            self._written()
        elif not isinstance(problem, InvokerError):  # a defect of ours: the callers learn of it, the thread lives on
            defect = PlatformFault(f"the spool could not write: {problem!r}")
            defect.__cause__ = problem
            problem = defect
        for _, future in group:
            if future.done():  # its caller was cancelled
                continue
            if problem is None:
                future.set_result(None)
            else:
                future.set_exception(problem)

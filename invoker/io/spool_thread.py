"""◆ The thread that does the spool's disk work, so that a slow disk holds up nobody but those who wait for it.

An executor would do, for twice the loop's time a call: it makes two futures and takes three locks, this makes one
future and wakes one thread. Records come a thousand a second, so it is worth forty lines.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class SpoolThread:
    """Runs calls one after the other in a thread of its own. Those who call bound how many wait."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], Result]) -> Result:
        """What `call` returns or raises. A caller that is cancelled doesn't call it off."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._calls.put((call, future))
        return await future

    async def close(self) -> None:
        """End the thread after the calls that wait. Nothing may be run any more."""
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        tell = self._loop.call_soon_threadsafe
        while (work := self._calls.get()) is not None:
            call, future = work
            try:
                result = call()
            except BaseException as problem:  # noqa: BLE001 - it is raised where the call was made
                tell(_fail, future, problem)
            else:
                tell(_settle, future, result)
            del work, call, future  # nothing of it is held while waiting


def _settle(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], problem: BaseException) -> None:
    if not future.done():
        future.set_exception(problem)

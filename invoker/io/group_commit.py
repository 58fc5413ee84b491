"""◆ Group commit: whatever waits to be written when the disk is free is written in one transaction.

A commit costs about the same for one record as for a hundred. Those who write wait for the commit that holds their
write, not for a turn of their own, and all writing is done by one task: nobody's cancellation can leave a
transaction open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from invoker.errors import InvokerError, PlatformFault

Item = TypeVar("Item")


class GroupCommit(Generic[Item]):
    """Gathers items and hands them to `commit`, as many at once as wait, in the order they came.

    At most `items_max` items and about `bytes_max` bytes wait (one item may be larger); past it, `write` waits
    for room. `commit` must be all or nothing; its InvokerError is raised from each `write` of that group.
    """

    def __init__(self, commit: Callable[[list[Item]], Awaitable[None]], *, items_max: int, bytes_max: int) -> None:
        self._commit = commit
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._waiting: deque[tuple[Item, int, asyncio.Future[None]]] = deque()
        self._waiting_bytes = 0
        self._closing = False
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="group commit")

    async def write(self, item: Item, size_bytes: int) -> None:
        """Returns once the item is committed. A caller that is cancelled meanwhile doesn't take its item back.

        Raises PlatformFault when closed, and what the commit raised.
        """
        while self._full(size_bytes) and not self._closing:
            self._room.clear()
            await self._room.wait()
        if self._closing:
            raise PlatformFault("the store is closed: nothing more is written")
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, size_bytes, committed))
        self._waiting_bytes += size_bytes
        self._work.set()
        await committed

    def _full(self, more_bytes: int) -> bool:
        if not self._waiting:
            return False
        return len(self._waiting) >= self._items_max or self._waiting_bytes + more_bytes > self._bytes_max

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                await self._commit_waiting()

    async def _commit_waiting(self) -> None:
        group = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._room.set()
        problem: InvokerError | None = None
        try:
            await self._commit([item for item, _size, _committed in group])
        except InvokerError as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - a defect of ours: the callers learn of it, the task lives on
            problem = PlatformFault(f"the store could not write: {error!r}")
            problem.__cause__ = error
        for _item, _size, committed in group:
            if committed.done():  # its caller was cancelled
                continue
            if problem is None:
                committed.set_result(None)
            else:
                committed.set_exception(problem)

    async def close(self) -> None:
        """Write what waits, then end. Twice is once."""
        self._closing = True
        self._work.set()
        self._room.set()
        await asyncio.shield(self._task)

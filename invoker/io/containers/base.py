"""◆ What the engines have in common, and what their containers have.

Two promises of an engine are easy to break: what it began is finished though whoever asked for it has gone, and when
it is closed nothing of it is left. So work is begun beside the asker, and `close` waits for it. A container is removed
once for all who ask, and its unasked end is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar

from invoker.errors import ContainerFault, InvokerError, StartFailed
from invoker.io.containers.http import RuntimeClient
from invoker.io.containers.log import ContainerLog
from invoker.policy.outcome import Condition, Reply
from invoker.protocol.logs import CollectedLog

T = TypeVar("T")
C = TypeVar("C", bound="ContainerBase")

Observe = Callable[[str, float], None]
"""Told (command, seconds) after each of `run`, `poll`, `pause`, `unpause`, `rm` (contract, section 15)."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


def unobserved(command: str, seconds: float) -> None:
    """Nobody asked for timings."""


class EngineBase(ABC):
    """The books of one engine: what it has begun, and whether it is closing."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """As the port says. Raises PlatformFault, after all else is closed, where a container could not be removed."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    @abstractmethod
    async def _close(self) -> None:
        """Remove and free everything; called once."""

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is finished whatever becomes of its asker, and that `close` waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._settled)
        return task

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits; nobody may be there any more

    async def _settle(self) -> None:
        """Wait for all that was begun, and for what that begins."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _started(
        self, launch: Coroutine[Any, Any, C], ready: Callable[[C], Awaitable[None]], died: Callable[[bool], None]
    ) -> C:
        """The container that `launch` makes, handed out once it is `ready`, which raises for one that never will be.

        `launch` is seen to its end even when the caller is cancelled, `ready` is not; what stands then is removed
        beside. Raises StartFailed.
        """
        launching = self.spawn(launch)
        try:
            container = await asyncio.shield(launching)
        except asyncio.CancelledError:
            self.spawn(self._abandon(launching))
            raise
        try:
            await ready(container)
        except asyncio.CancelledError:
            self.spawn(self._discard(container))
            raise
        except InvokerError as error:
            raise await asyncio.shield(self.spawn(self._failed(container, str(error)))) from error
        container.hand_out(died)
        return container

    async def _abandon(self, launching: asyncio.Task[C]) -> None:
        """The asker has gone: what was begun is finished, then removed."""
        with contextlib.suppress(StartFailed):
            await self._discard(await launching)

    async def _failed(self, container: ContainerBase, what: str) -> StartFailed:
        """Remove a container that came to nothing; the error to raise."""
        return StartFailed(f"{container}: {what}", leaked=not await self._discard(container))

    async def _discard(self, container: ContainerBase) -> bool:
        """Remove it; False where something of it may still stand."""
        try:
            await container.remove()
        except ContainerFault:
            return False
        return True


class ContainerBase(ABC):
    """Its removal and its end. `str` is what messages call it. `_turn` puts in order what can't be done at once."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._turn = asyncio.Lock()
        self._leaving = False
        self._removal: asyncio.Task[None] | None = None
        self._died: Callable[[bool], None] | None = None

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether its main process has ended."""

    @abstractmethod
    async def condition(self) -> Condition:
        """Running, out of memory (also a child killed while the main process lives), or exited."""

    @abstractmethod
    async def _call(self, path: Literal["/init", "/run"], body: bytes, timeout_s: float) -> Reply: ...

    @abstractmethod
    async def _remove(self) -> None:
        """Thaw, kill, remove. Raises ContainerFault where something may still stand."""

    async def init(self, body: bytes, timeout_s: float) -> Reply:
        """POST /init (contract, section 12)."""
        return await self._call("/init", body, timeout_s)

    async def run(self, body: bytes, timeout_s: float) -> Reply:
        """POST /run (contract, section 12)."""
        return await self._call("/run", body, timeout_s)

    def hand_out(self, died: Callable[[bool], None]) -> None:
        """From now on its unasked end is reported to `died(oom)`, once."""
        self._died = died
        if self.ended:
            self._note_end()

    async def remove(self) -> None:
        """Kill and remove it, frozen or not. Twice is once, and callers together share one.

        Raises ContainerFault where something may still stand, its address with it; a later call tries again.
        """
        if self._removal is None or (self._removal.done() and self._removal.exception() is not None):
            self._leaving = True
            self._removal = self._spawn(self._remove())
        await asyncio.shield(self._removal)

    def _note_end(self) -> None:
        """Its main process has ended; somebody is told unless it was removed."""
        if self._died is not None and not self._leaving:
            self._spawn(self._report_death())

    async def _report_death(self) -> None:
        condition = await self.condition()
        died, self._died = self._died, None
        if died is not None and not self._leaving:
            died(condition == "oom")


class RuntimeContainer(ContainerBase):
    """One whose runtime is reached by HTTP and whose output is read into a log; over when `over` is done.

    `start_timings` has, in seconds, `run` (until it was started) and `poll` (from then until it answered).
    """

    def __init__(
        self, *, client: RuntimeClient, log: ContainerLog, over: asyncio.Future[None], observe: Observe, spawn: Spawn
    ) -> None:
        super().__init__(spawn)
        self.start_timings: dict[str, float] = {}
        self._client = client
        self._log = log
        self._over = over
        self._observe = observe
        self._frozen = False
        self._oom_kills_seen = 0

    @property
    def ended(self) -> bool:
        """Whether its main process has ended."""
        return self._over.done()

    @property
    def _state(self) -> str:
        return "leaving" if self._leaving else "ended" if self.ended else "frozen" if self._frozen else "running"

    async def ready(self, give_up_s: float) -> bool:
        """Wait until the runtime answers; False where it did not within `give_up_s`, or its main process ended."""
        probe = asyncio.ensure_future(self._client.ready(give_up_s))
        try:
            await asyncio.wait((probe, self._over), return_when=asyncio.FIRST_COMPLETED)
            return probe.done() and probe.result() and not self.ended
        finally:
            if not probe.done():
                probe.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await probe

    def arm_logs(self, limit_bytes: int) -> None:
        """An activation begins: bound its log to `limit_bytes` (contract, section 10)."""
        self._log.arm(limit_bytes)

    async def collect_logs(self, wait_s: float, error: str | None = None) -> CollectedLog:
        """The log since the last collection; waits up to `wait_s` for both sentinels (contract, section 10)."""
        return await self._log.collect(wait_s, error)

    async def remove(self) -> None:
        self._client.close()  # what is under way breaks off at once
        await super().remove()

"""◆ Start and drain, in order (contract, section 18).

Start: stores, engine, what guards the containers, prewarm, the listeners, the feed: nobody is promised what can't be
kept. Drain: go on serving until the controllers have learnt of it, take nothing new, let what was accepted end, remove
all containers, flush what is to be kept. A second signal hurries: what is under way is cut off, the containers are
removed all the same. A fault at the start ends what had begun, in the same order.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from invoker.driver import Driver
from invoker.errors import InvokerError
from invoker.intake import Intake
from invoker.io.decision_log import DecisionLog
from invoker.io.http.server import HttpServer
from invoker.policy import events as ev
from invoker.policy import invariants
from invoker.ports import ContainerEngine

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_OK = 0
EXIT_FAILED = 69
LISTENER_GRACE_S = 5.0
"""For answers that are written but not yet read by their callers."""
HURRIED_GRACE_S = 0.2
"""The same when hurried, where most callers wait for answers that will never come."""
FLUSH_EVERY_S = 0.2
CHECK_EVERY_FLUSHES = 50
CHECK_CONTAINERS_MAX = 500


class Listener(msgspec.Struct, frozen=True):
    """A server and where it listens."""

    server: HttpServer
    host: str
    port: int


class Feed(Protocol):
    """Brings work that nobody sends to a listener. `stop` takes nothing more; `finished` waits for what was taken."""

    async def open(self) -> None: ...

    def stop(self) -> None: ...

    async def finished(self) -> None: ...

    def abandon(self) -> None: ...


class Presence(Protocol):
    """Tells the controllers that the invoker is there, from when it can work until it is asked to stop."""

    async def open(self) -> None: ...

    async def leave(self) -> None: ...

    async def close(self) -> None: ...


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to start and end.

    `opens` come before the engine, `guards` after it and before any container: both in order. `closes` come last, in
    order too, once every container is gone.
    """

    engine: ContainerEngine
    driver: Driver
    intake: Intake
    listeners: list[Listener]
    stock: tuple[ev.StemCells, ...]
    opens: list[Callable[[], Awaitable[None]]]
    closes: list[Callable[[], Awaitable[None]]]
    decision_log: DecisionLog | None
    drain_delay_s: float
    guards: list[Callable[[], Awaitable[None]]] = []
    feed: Feed | None = None
    presence: Presence | None = None


class Lifecycle:
    """Runs the parts from start to end; `run` is the whole of it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._signals = 0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def run(self, serving: Callable[[], None]) -> int:
        """Start, tell `serving`, serve until a signal, drain. Returns the exit code; a fault at the start is raised
        once everything that had begun is ended again."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            try:
                if not await self._started():
                    return EXIT_FAILED if await self._end(hurried=True) else EXIT_OK
                serving()
                await self._stop.wait()
            except BaseException:
                await self._end(hurried=True)
                raise
            return await self._drain()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """A signal came: drain; at the second, hurry."""
        self._signals += 1
        if self._signals == 1:
            log.info("stopping: accepted activations will end, a second signal cuts them off")
            self._stop.set()
        else:
            log.warning("hurrying: what is under way is cut off")
            self._hurry.set()

    async def _started(self) -> bool:
        """Start; False where a signal came before all stood: a neighbour that is waited for keeps nobody from going."""
        loop = asyncio.get_running_loop()
        starting, stopping = loop.create_task(self._start()), loop.create_task(self._stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
        if starting.cancelled():
            return False
        starting.result()
        return True

    async def _start(self) -> None:
        parts = self._parts
        for opens in parts.opens:
            await opens()
        await parts.engine.open()
        for guard in parts.guards:
            await guard()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        parts.driver.feed(ev.StockChanged(parts.stock))
        for listener in parts.listeners:
            await listener.server.start(listener.host, listener.port)
        if parts.feed is not None:
            await parts.feed.open()
        if parts.presence is not None:
            await parts.presence.open()

    async def _drain(self) -> int:
        hurry = asyncio.get_running_loop().create_task(self._hurry.wait())
        drain = asyncio.get_running_loop().create_task(self._finish_work())
        await asyncio.wait((hurry, drain), return_when=asyncio.FIRST_COMPLETED)
        hurried = not drain.done()
        for task in (hurry, drain):
            task.cancel()
        await asyncio.gather(hurry, drain, return_exceptions=True)
        if not hurried and (error := drain.exception()) is not None:
            log.error("draining failed: %s", error)
            hurried = True
        failed = await self._end(hurried)
        return EXIT_FAILED if hurried or failed else EXIT_OK

    async def _finish_work(self) -> None:
        """The unhurried part: what was accepted ends by itself."""
        parts = self._parts
        if parts.presence is not None:
            await parts.presence.leave()
        await asyncio.sleep(parts.drain_delay_s)
        self._take_nothing_more()
        for listener in parts.listeners:
            listener.server.stop_accepting()
        await parts.intake.finished()
        if parts.feed is not None:
            await parts.feed.finished()
        await parts.driver.drain()

    async def _end(self, hurried: bool) -> bool:
        """Remove and close everything; True where something failed. Each part gets its turn, whatever the others do."""
        parts = self._parts
        failed = False
        steps: list[Callable[[], Awaitable[None]]] = []
        self._take_nothing_more()
        if hurried:
            parts.intake.abandon()
            steps += [parts.intake.finished]
            if parts.feed is not None:
                parts.feed.abandon()
                steps += [parts.feed.finished]
            steps += [parts.driver.abandon]
        if parts.presence is not None:
            steps += [parts.presence.close]
        grace_s = HURRIED_GRACE_S if hurried else LISTENER_GRACE_S
        steps += [lambda one=listener: one.server.close(grace_s) for listener in parts.listeners]
        steps += [parts.engine.close, *parts.closes]
        for step in steps:
            try:
                await step()
            except InvokerError as error:
                log.error("while stopping: %s", error)
                failed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if parts.decision_log is not None:
            await asyncio.to_thread(parts.decision_log.close)
        return failed

    def _take_nothing_more(self) -> None:
        self._parts.intake.close()
        if self._parts.feed is not None:
            self._parts.feed.stop()

    async def _keep(self) -> None:
        """Hand the decision log to its thread now and then, and look sometimes whether the pool is sound."""
        parts = self._parts
        count = 0
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            count += 1
            if parts.decision_log is not None:
                parts.decision_log.flush()
            pool = parts.driver.pool
            if count % CHECK_EVERY_FLUSHES == 0 and len(pool.containers) <= CHECK_CONTAINERS_MAX:
                for broken in invariants.check(pool):
                    log.error("the pool is unsound: %s", broken)

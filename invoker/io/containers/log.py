"""◆ The log of one container: frames in, an activation's lines out.

Decoding and bounding are the protocol's, pure and synchronous; what is added here is the clock and the waiting: whoever
collects is woken the moment both sentinels were seen, or the output has ended and no more can come.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from invoker.protocol.logs import CollectedLog, FrameDecoder, LogCollector, MalformedFrame


class ContainerLog:
    """Fed with raw frames (`feed`) at any time; armed and collected once per activation."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder()
        self._collector = LogCollector()
        self._waiters: deque[asyncio.Future[None]] = deque()  # one for each activation that collects
        self._over = False

    def feed(self, data: bytes) -> None:
        """Take what the stream brought; never raises, for the stream has to be read on.

        After a frame that is none the rest is dropped: no sentinel is seen any more, which ends the container.
        """
        if self._over:
            return
        now_ns = time.time_ns()
        try:
            for stream, piece in self._decoder.feed(data):
                self._collector.feed(stream, piece, now_ns)
        except MalformedFrame:
            self.end()
        if self._waiters and self._collector.complete:
            self._wake_first()

    def end(self) -> None:
        """The output has ended; what is complete is complete, and nothing else will be."""
        self._over = True
        while self._waiters:
            self._wake_first()

    def arm(self, limit_bytes: int) -> None:
        """An activation begins; its log takes at most `limit_bytes` (contract, section 10)."""
        self._collector.arm(limit_bytes)

    async def collect(self, wait_s: float, error: str | None = None) -> CollectedLog:
        """The log since the last collection: complete once both sentinels were seen, or as it is after `wait_s`.

        With several activations at once, who came first is served first.
        """
        if not self._over and (self._waiters or not self._collector.complete):
            await self._wait(wait_s)
        log = self._collector.take(time.time_ns(), error)
        if self._waiters and self._collector.complete:
            self._wake_first()
        return log

    async def _wait(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(wait_s, _settle, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake_first(self) -> None:
        _settle(self._waiters.popleft())


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

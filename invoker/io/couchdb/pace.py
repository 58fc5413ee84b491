"""◆ Time for those who wait for CouchDB. Tests bring their own, and ten minutes of an outage pass in a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Protocol

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class Pace(Protocol):
    """How time passes for one who waits."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back."""
        ...

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Until the event is set, or the time is over; whether it is set."""
        ...


class RealPace:
    """The machine's own time."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                return await event.wait()
        except TimeoutError:
            return event.is_set()


def waits_s() -> Iterator[float]:
    """How long to wait before each try after the first: 50 ms doubled each time, the first 100 ms, at most 5 s."""
    wait_s = FIRST_WAIT_S
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)

"""The broker that these tests talk to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.support.kafka_server import *  # noqa: F403

CLOSE_WAIT_S = 3.0


def sockets() -> set[str]:
    """This process's open sockets."""
    found: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed while being looked at
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture(autouse=True)
async def closing_time() -> AsyncIterator[None]:
    """A TLS connection is closed when the broker has said its farewell, too: the test's loop runs on until then."""
    before = sockets()
    yield
    give_up_s = time.monotonic() + CLOSE_WAIT_S
    while not sockets() <= before and time.monotonic() < give_up_s:  # noqa: ASYNC110 - it announces nothing
        await asyncio.sleep(0.01)

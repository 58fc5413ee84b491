"""The story of an outage: CouchDB away for ten minutes of work, the invoker's process killed in between, and again.

Told to a fake and to a real server alike. What is counted: every record that was kept (the caller was told so) is
there in the end, once, under its own `_id`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.couch_writer import PUT_TAKES_S

LIMIT_S = 60.0
OUTAGE_S = 600.0
BEFORE, AFTER = 40, 20


class Place(NamedTuple):
    """A CouchDB, and how it goes away and comes back."""

    url: str
    user: str
    password: str
    prefix: str
    stop: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]]
    records: Callable[[], Awaitable[dict[str, int]]]
    """Each record's id, and how many times it was written."""


async def outage(place: Place, spool: Path) -> dict[str, int]:
    """Live through it; the counts, after asserting that they are right."""
    ids = [f"guest/{number:032x}" for number in range(BEFORE + int(OUTAGE_S / PUT_TAKES_S) + AFTER)]
    kept: list[str] = []
    during = ids[BEFORE:-AFTER]
    async with _writer(place, spool) as process:
        kept += await _put(process, ids[:BEFORE], BEFORE)
        await place.stop()
        kept += await _put(process, during[: len(during) // 2 + 30], len(during) // 2)  # 30 are on their way
        kept += await _killed(process)
    rest = [each for each in during if each not in kept]
    async with _writer(place, spool) as process:
        kept += await _put(process, rest, len(rest))
        kept += await _killed(process)
    await place.start()
    async with _writer(place, spool) as process:
        kept += await _put(process, ids[-AFTER:], AFTER)
        kept += await _killed(process)  # now while CouchDB is there
    async with _writer(place, spool) as process:
        await _say(process, "drain")
        assert await _line(process) == "drained"
    found = await place.records()
    counts = {
        "kept": len(kept),
        "kept during the outage": len([each for each in kept if each in during]),
        "found": len(found),
        "lost": len([each for each in kept if each not in found]),
        "written twice": len([each for each, times in found.items() if times > 1]),
        "never made": len([each for each in found if each not in ids]),
    }
    assert counts["lost"] == counts["written twice"] == counts["never made"] == 0, counts
    assert sorted(found) == ids, counts
    return counts


@asynccontextmanager
async def _writer(place: Place, spool: Path) -> AsyncGenerator[Process]:
    arguments = (place.url, place.user, place.password, place.prefix, str(spool))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.couch_writer", *arguments), stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _put(process: Process, ids: list[str], wanted: int) -> list[str]:
    """Have them kept, and wait until so many are; those."""
    assert process.stdin is not None
    process.stdin.writelines(f"put {each}\n".encode() for each in ids)
    await process.stdin.drain()
    return [(await _line(process)).removeprefix("kept ") for _ in range(wanted)]


async def _killed(process: Process) -> list[str]:
    """Kill -9; what it had still said to be kept."""
    process.send_signal(signal.SIGKILL)
    said, _ = await process.communicate()
    return [line.removeprefix("kept ") for line in said.decode().split("\n")[:-1]]


async def _say(process: Process, text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n".encode())
    await process.stdin.drain()


async def _line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        return (await process.stdout.readline()).decode().strip()

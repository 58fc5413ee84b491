"""The spool's thread: groups, room, and what goes wrong told to those it concerns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from invoker.errors import PlatformFault
from invoker.io.spool import thread as spool_thread
from invoker.io.spool.thread import SpoolGroup, SpoolThread

LIMIT_S = 20.0


class Disk:
    """Takes groups when it is let."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.free = threading.Event()
        self.free.set()
        self.problem: Exception | None = None
        self.written = 0

    def append(self, records: list[bytes]) -> None:
        self.free.wait(LIMIT_S)
        if self.problem is not None:
            raise self.problem
        self.groups.append(records)

    def count(self) -> None:
        self.written += 1


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def group(disk: Disk) -> AsyncIterator[SpoolGroup]:
    thread = SpoolThread()
    made = SpoolGroup(thread, disk.append, disk.count)
    yield made
    disk.free.set()
    await made.close()
    await made.close()
    await thread.close()


async def waiting_writes(group: SpoolGroup, records: list[bytes]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(group.write(record)) for record in records]
    await asyncio.sleep(0)
    return tasks


async def test_those_that_come_while_the_disk_is_busy_go_together(disk: Disk, group: SpoolGroup) -> None:
    disk.free.clear()
    tasks = await waiting_writes(group, [b"%d" % number for number in range(10)])
    assert not any(task.done() for task in tasks)
    disk.free.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*tasks)
    assert disk.groups == [[b"0"], [b"%d" % number for number in range(1, 10)]]
    assert disk.written == 2


async def test_past_the_limit_a_write_waits_for_room(
    disk: Disk, group: SpoolGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_thread, "BYTES_MAX", 10)
    monkeypatch.setattr(spool_thread, "RECORDS_MAX", 3)
    disk.free.clear()
    tasks = await waiting_writes(group, [b"first", b"12345", b"1234", b"12", *[b"1"] * 6, b"x" * 100])
    disk.free.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*tasks)
    assert [record for part in disk.groups for record in part].count(b"1") == 6
    assert all(len(part) <= 3 for part in disk.groups)
    assert all(sum(map(len, part)) <= 10 for part in disk.groups if part != [b"x" * 100])


@pytest.mark.parametrize("problem", [PlatformFault("no space"), ZeroDivisionError("defect")])
async def test_a_problem_is_told_to_its_group_alone(disk: Disk, group: SpoolGroup, problem: Exception) -> None:
    disk.problem = problem
    with pytest.raises(PlatformFault, match=r"no space|could not write: ZeroDivisionError"):
        await group.write(b"lost")
    disk.problem = None
    await group.write(b"kept")
    assert disk.groups == [[b"kept"]]
    assert disk.written == 1


async def test_who_is_cancelled_takes_nothing_back(disk: Disk, group: SpoolGroup) -> None:
    disk.free.clear()
    tasks = await waiting_writes(group, [b"a", b"b", b"c"])
    tasks[0].cancel()
    tasks[1].cancel()
    disk.free.set()
    async with asyncio.timeout(LIMIT_S):
        await tasks[2]
    assert disk.groups == [[b"a"], [b"b", b"c"]]


async def test_close_writes_what_waits_and_refuses_the_rest(disk: Disk, group: SpoolGroup) -> None:
    disk.free.clear()
    tasks = await waiting_writes(group, [b"a", b"b"])
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)
    with pytest.raises(PlatformFault, match="closed"):
        await group.write(b"c")
    disk.free.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(closing, *tasks)
    assert disk.groups == [[b"a"], [b"b"]]

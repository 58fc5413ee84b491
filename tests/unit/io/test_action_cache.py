"""The cache of actions: one read for many, least recently used out, failures and the newest never kept."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from invoker.errors import ActionNotFound, PlatformFault
from invoker.io.action_cache import CachedActions
from invoker.protocol.document import ActionDocument, InlineCode, decode_action

DOCUMENT = decode_action(b'{"namespace":"guest","name":"hello","exec":{"kind":"python:3"}}')
WAIT_MAX_S = 10.0


class Shelf:
    """A store that counts reads, and answers when it is told to."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, str, str | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.code = "code"

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        self.reads.append((path, name, revision))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return replace(DOCUMENT, code=InlineCode(self.code))


class Counts:
    def __init__(self) -> None:
        self.hits = self.misses = 0

    def hit(self) -> None:
        self.hits += 1

    def miss(self) -> None:
        self.misses += 1


@pytest.mark.contract("8")
async def test_a_revision_is_read_once() -> None:
    shelf, counts = Shelf(), Counts()
    cache = CachedActions(shelf, on_hit=counts.hit, on_miss=counts.miss)
    first = await cache.get("guest", "hello", "1-a")
    assert await cache.get("guest", "hello", "1-a") is first
    assert await cache.get("guest", "hello", "2-b") is not first
    assert await cache.get("guest/pkg", "hello", "1-a") is not first
    assert len(shelf.reads) == 3
    assert (counts.hits, counts.misses) == (1, 3)


@pytest.mark.contract("8")
async def test_many_at_once_share_a_read() -> None:
    shelf, counts = Shelf(), Counts()
    shelf.gate.clear()
    cache = CachedActions(shelf, on_hit=counts.hit, on_miss=counts.miss)
    waiting = [asyncio.create_task(cache.get("guest", "hello", "1-a")) for _ in range(100)]
    await asyncio.sleep(0)
    shelf.gate.set()
    async with asyncio.timeout(WAIT_MAX_S):
        found = await asyncio.gather(*waiting)
    assert len(shelf.reads) == 1
    assert len({id(each) for each in found}) == 1
    assert (counts.hits, counts.misses) == (0, 100)


@pytest.mark.contract("8")
@pytest.mark.parametrize("failure", [ActionNotFound("no action"), PlatformFault("the store is away")])
async def test_a_failure_is_told_to_all_and_forgotten(failure: Exception) -> None:
    shelf = Shelf()
    shelf.failure = failure
    cache = CachedActions(shelf)
    results = await asyncio.gather(*(cache.get("guest", "hello", "1-a") for _ in range(3)), return_exceptions=True)
    assert results == [failure] * 3
    shelf.failure = None
    await cache.get("guest", "hello", "1-a")
    assert len(shelf.reads) == 2


@pytest.mark.contract("8")
async def test_the_least_recently_used_goes_first() -> None:
    shelf = Shelf()
    cache = CachedActions(shelf, 2)
    for revision in ("1-a", "1-b", "1-a", "1-c"):
        await cache.get("guest", "hello", revision)
    assert len(cache) == 2
    shelf.reads.clear()
    await cache.get("guest", "hello", "1-a")
    await cache.get("guest", "hello", "1-b")
    assert shelf.reads == [("guest", "hello", "1-b")]


async def test_large_code_leaves_room_for_less() -> None:
    shelf = Shelf()
    cache = CachedActions(shelf, code_characters_max=100)
    shelf.code = "x" * 40
    for revision in ("1-a", "1-b", "1-c"):
        await cache.get("guest", "hello", revision)
    assert len(cache) == 2
    shelf.code = "x" * 101
    await cache.get("guest", "hello", "1-d")
    assert len(cache) == 0
    shelf.code = "x" * 100
    await cache.get("guest", "hello", "1-e")
    assert len(cache) == 1


async def test_a_read_that_does_not_end_is_called_off_at_the_close() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    cache = CachedActions(shelf)
    waiting = asyncio.create_task(cache.get("guest", "hello", "1-a"))
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_MAX_S):
        await cache.close(limit_s=0)
        await asyncio.wait([waiting])
    assert waiting.cancelled()


@pytest.mark.parametrize("revision", [None, ""])
async def test_the_newest_is_always_asked_for(revision: str | None) -> None:
    shelf, counts = Shelf(), Counts()
    cache = CachedActions(shelf, on_hit=counts.hit, on_miss=counts.miss)
    for _ in range(2):
        await cache.get("guest", "hello", revision)
    assert shelf.reads == [("guest", "hello", None)] * 2
    assert (len(cache), counts.hits, counts.misses) == (0, 0, 0)


async def test_a_cancelled_caller_leaves_the_read_to_the_others() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    cache = CachedActions(shelf)
    impatient, patient = (asyncio.create_task(cache.get("guest", "hello", "1-a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    shelf.gate.set()
    async with asyncio.timeout(WAIT_MAX_S):
        await patient
        await cache.close()
    assert impatient.cancelled()
    assert len(shelf.reads) == 1

"""A container's log on a clock: who waits is woken in turn, and a broken or ended stream keeps nobody."""

from __future__ import annotations

import asyncio
from struct import pack

import pytest

from invoker.io.containers.log import ContainerLog
from invoker.protocol.logs import NO_SENTINELS, SENTINEL

EACH_LOOP = True
WAIT_S = 5.0
LIMIT_BYTES = 10_000


def frame(stream: int, text: bytes) -> bytes:
    return pack(">BHBI", stream, 0, 0, len(text)) + text


PAIR = frame(1, SENTINEL + b"\n") + frame(2, SENTINEL + b"\n")


def texts(lines: list[str]) -> list[str]:
    return [line[31:] for line in lines]


async def test_complete_before_it_is_collected() -> None:
    log = ContainerLog()
    log.arm(LIMIT_BYTES)
    log.feed(frame(1, b"hello\n") + PAIR)
    collected = await log.collect(WAIT_S)
    assert texts(collected.lines) == ["stdout: hello"]
    assert collected.complete


@pytest.mark.contract("10")
async def test_waits_for_both_sentinels() -> None:
    log = ContainerLog()
    log.arm(LIMIT_BYTES)
    collecting = asyncio.create_task(log.collect(WAIT_S))
    await asyncio.sleep(0)
    log.feed(frame(1, b"hello\n" + SENTINEL + b"\n"))
    await asyncio.sleep(0)
    assert not collecting.done()
    log.feed(frame(2, SENTINEL + b"\n"))
    assert (await asyncio.wait_for(collecting, WAIT_S)).complete


@pytest.mark.contract("10")
async def test_gives_up_and_says_so() -> None:
    log = ContainerLog()
    log.arm(LIMIT_BYTES)
    log.feed(frame(1, b"half a line"))
    collected = await log.collect(0.01)
    assert not collected.complete
    assert texts(collected.lines) == ["stdout: half a line", f"stderr: {NO_SENTINELS}"]


async def test_an_ended_stream_keeps_nobody() -> None:
    log = ContainerLog()
    log.arm(LIMIT_BYTES)
    collecting = asyncio.create_task(log.collect(WAIT_S * 100))
    await asyncio.sleep(0)
    log.feed(frame(1, b"last words\n"))
    log.end()
    collected = await asyncio.wait_for(collecting, WAIT_S)
    assert texts(collected.lines)[0] == "stdout: last words"
    log.arm(LIMIT_BYTES)
    assert not (await asyncio.wait_for(log.collect(WAIT_S * 100, "It broke"), WAIT_S)).complete


async def test_a_broken_stream_is_read_on_and_dropped() -> None:
    log = ContainerLog()
    log.arm(LIMIT_BYTES)
    log.feed(frame(1, b"good\n") + b"no frame at all")
    log.feed(PAIR)
    collected = await asyncio.wait_for(log.collect(WAIT_S * 100), WAIT_S)
    assert texts(collected.lines)[0] == "stdout: good"
    assert not collected.complete


async def test_several_at_once_are_served_in_turn() -> None:
    log = ContainerLog()
    for _ in range(3):
        log.arm(LIMIT_BYTES)
    collecting = [asyncio.create_task(log.collect(WAIT_S)) for _ in range(3)]
    await asyncio.sleep(0)
    log.feed(frame(1, b"one\n") + PAIR)
    done, _ = await asyncio.wait(collecting, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    assert done == {collecting[0]}
    log.feed(frame(1, b"two\n") + PAIR + frame(1, b"three\n") + PAIR)  # both pairs before anybody ran
    logs = await asyncio.gather(*collecting)
    assert [texts(each.lines) for each in logs] == [["stdout: one"], ["stdout: two"], ["stdout: three"]]
    assert all(each.complete for each in logs)


async def test_one_who_leaves_lets_the_next_have_it() -> None:
    log = ContainerLog()
    for _ in range(2):
        log.arm(LIMIT_BYTES)
    leaving, staying = (asyncio.create_task(log.collect(WAIT_S)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,))
    log.feed(PAIR)
    assert (await asyncio.wait_for(staying, WAIT_S)).complete

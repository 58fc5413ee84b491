"""kill -9 in the middle of 500 messages, in each mode of delivery: what is lost, and what runs twice, counted."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.kafka_peers import Controller, controller, quick, until
from tests.support.kafka_program import CONTAINERS, INTAKE_LIMIT
from tests.support.kafka_server import Broker

pytestmark = pytest.mark.docker

MESSAGES = 500
KILLED_AFTER = 150
START_S, END_S = 30.0, 60.0
ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def program(
    broker: Broker, instance: int, delivery: str, directory: Path
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """An invoker in a process of its own, reading; it is gone in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.kafka_program",
        broker.bootstrap,
        str(instance),
        delivery,
        str(directory),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            assert await process.stdout.readline() == b"reading\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def drained(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(END_S):
        assert await process.wait() == 0


async def killed_in_the_middle(broker: Broker, delivery: str, directory: Path) -> tuple[list[str], Controller]:
    """What was sent, and the controller with all that came back in two lives of an invoker."""
    settings = quick(broker.bootstrap)
    async with controller(broker.bootstrap, settings) as peer:
        async with program(broker, settings.instance, delivery, directory) as first:
            sent = [await peer.send(blocking=False) for _ in range(MESSAGES)]
            await until(lambda: len(peer.answers) >= KILLED_AFTER, "the invoker is in the middle of it")
            first.kill()
            await first.wait()
        async with program(broker, settings.instance, delivery, directory) as second:
            last = await peer.send(blocking=False)
            await peer.until_answered(last)
            await drained(second)
        fence = await peer.send_fence()
        await peer.until_answered(fence)
    return sent, peer


def recorded(directory: Path) -> set[str]:
    """The ids of the activations whose records are on disk."""
    with sqlite3.connect(directory / "records.db") as database:
        rows = database.execute("SELECT id FROM records").fetchall()
    database.close()
    return {str(row[0]).rpartition("/")[2] for row in rows}


@pytest.mark.contract("5")
@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
async def test_what_a_crash_costs(
    kafka: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str], delivery: str
) -> None:
    sent, peer = await killed_in_the_middle(kafka, delivery, tmp_path)
    lost = set(sent) - peer.answered
    unrecorded = set(sent) - recorded(tmp_path)
    twice = sum(answer["response"] in set(sent) for answer in peer.answers) - (len(sent) - len(lost))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{delivery}: {MESSAGES} sent, killed after {KILLED_AFTER}; {len(lost)} never acknowledged, "
            f"{len(unrecorded)} without a record, {twice} acknowledged twice\n"
        )
    if delivery == "at-least-once":
        assert (lost, unrecorded) == (set(), set())
    else:
        assert len(lost) <= INTAKE_LIMIT + CONTAINERS
        assert len(unrecorded) <= INTAKE_LIMIT + CONTAINERS
        assert twice == 0

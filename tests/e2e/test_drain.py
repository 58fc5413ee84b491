"""How an invoker ends: asked to, hurried, or killed; seen from outside, with real containers under load."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from invoker.io.process.state import start_time
from invoker.io.sqlite.store import SqliteStore
from invoker.replay import replay
from tests.e2e.load import TIGHT_MB, Load, judge, put_actions
from tests.support.node import NAMESPACE, Machine, eventually, message, request
from tests.support.outside import Outside, outside

HURRY_MAX_S = 15.0
NAP = """
import time
def main(args):
    print("begun", flush=True)
    time.sleep(args["s"])
    return {}
"""

Serve = Callable[[], AbstractAsyncContextManager[Outside]]


@pytest.fixture
def serve(machine: Machine, tmp_path: Path) -> Serve:
    """Starts an invoker on the test's data directory, in a process of its own."""
    return lambda: outside(machine, tmp_path, USER_MEMORY=f"{TIGHT_MB} MB", PAUSE_GRACE="20ms")


async def nothing_is_left(machine: Machine, processes: dict[int, int]) -> None:
    """Neither containers nor any process that was below the invoker."""
    assert machine.standing() == []
    await eventually(
        lambda: [pid for pid, born in processes.items() if start_time(pid) == born] == [], "all have ended"
    )


async def records(directory: Path) -> dict[str, str]:
    """Activation -> record, of all that the store has."""
    found: dict[str, str] = {}
    async with SqliteStore(directory / "data" / "invoker.db") as store:
        while page := await store.records(NAMESPACE, limit=200, skip=len(found)):
            found |= {each.activation_id: each.record.decode() for each in page}
    return found


@pytest.mark.contract("18")
async def test_sigterm_under_load_loses_nothing(serve: Serve, machine: Machine, tmp_path: Path) -> None:
    async with serve() as invoker:
        await put_actions(invoker.put)
        load = Load(invoker.port, 10_000, seed=7)
        running = asyncio.create_task(load.run())
        await eventually(lambda: len(load.answers) >= 40, "some are answered")
        processes = invoker.descendants()
        invoker.signal(signal.SIGTERM)
        code = await invoker.ended()
        load.stop()
        await running
        decisions = invoker.first_decisions
    assert code == 0
    assert load.broken == 0
    assert len(load.answers) == len(load.sent) >= 40
    assert load.refused > 0
    await nothing_is_left(machine, processes)
    stored = await records(tmp_path)
    assert stored.keys() == load.answers.keys()
    for sent in load.sent:
        record = json.loads(stored[sent.activation])
        judge(sent, record)
        assert load.answers[sent.activation]["response"] == (record if sent.blocking else sent.activation)
    report = replay([decisions])
    assert report.identical, report.difference
    assert report.invocations == len(load.sent)


@pytest.mark.contract("18")
async def test_a_second_sigterm_hurries(serve: Serve, machine: Machine) -> None:
    async with serve() as invoker:
        await invoker.put("nap", NAP)
        long = await request(invoker.port, "POST", "/invoke", message("nap", {"s": 600}))
        waits = await request(invoker.port, "POST", "/invoke", message("nap", {"s": 600}))
        await eventually(lambda: len(machine.standing()) >= 1, "one has its container")
        processes = invoker.descendants()
        begun_s = time.monotonic()
        invoker.signal(signal.SIGTERM)
        await invoker.said("stopping")
        invoker.signal(signal.SIGTERM)
        for response in (long, waits):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await response.body()
        code = await invoker.ended()
    assert code == 69
    assert time.monotonic() - begun_s < HURRY_MAX_S
    await nothing_is_left(machine, processes)


@pytest.mark.contract("1")
async def test_a_kill_and_another_life(serve: Serve, machine: Machine, tmp_path: Path) -> None:
    """No orphans, and every record that was acknowledged as stored is there."""
    async with serve() as invoker:
        await put_actions(invoker.put)
        load = Load(invoker.port, 10_000, seed=9)
        running = asyncio.create_task(load.run())
        await eventually(lambda: len(load.answers) >= 40, "some are answered")
        processes = invoker.descendants()
        invoker.signal(signal.SIGKILL)
        load.stop()
        await running
        assert await invoker.ended() == -signal.SIGKILL
    # A record is stored before a non-blocking caller hears of the end.
    promised = {sent.activation for sent in load.sent if not sent.blocking} & load.answers.keys()
    assert promised
    async with serve() as again:
        assert machine.standing() == []
        again.signal(signal.SIGTERM)
        assert await again.ended() == 0
    await nothing_is_left(machine, processes)
    assert promised <= (await records(tmp_path)).keys()

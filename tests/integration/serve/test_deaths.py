"""Containers that are killed while they are idle, paused or running: what the callers see, and what is left."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.docker_fixtures import inspect
from tests.support.node import eventually
from tests.support.serving import Place, Served, serving
from tests.support.serving_client import Client, Ended, client

pytestmark = [pytest.mark.docker, pytest.mark.contract("13", "14")]

Same = Callable[[str, Ended], None]
NAP = "import time\ndef main(args):\n    print('begun', flush=True)\n    time.sleep(args['s'])\n    return {}\n"
EXITED = "The function did not produce a valid response and exited unexpectedly."


async def container(served: Served, ended: Ended) -> str:
    """Which one an activation ran in."""
    assert ended.record is not None
    return (await served.completed(ended.record["activationId"]))["cid"]


def kill(container: str) -> None:
    """Its main process, as the kernel does that is short of memory."""
    os.kill(inspect(container)["State"]["Pid"], signal.SIGKILL)


async def test_killed_while_idle(place: Place, tmp_path: Path) -> None:
    """Nobody is told: it goes, and the next activation gets another."""
    with serving(place, tmp_path, PAUSING="never") as served:
        async with client(served) as peer:
            await peer.put("nap", NAP)
            first = await container(served, await peer.call("http", "nap", {"s": 0}))
            await peer.until_state("guest/nap", "idle")
            kill(first)
            await eventually(lambda: first not in served.containers(), "it is removed")
            again = await peer.call("http", "nap", {"s": 0})
            assert again.status == 0
            assert await container(served, again) != first


async def test_killed_while_paused(peer: Client, served: Served, same: Same) -> None:
    """It is dead when it is thawed (or was, where the kernel kills the frozen); the caller is told of an exit."""
    await peer.put("nap-paused", NAP)
    first = await container(served, await peer.call("http", "nap-paused", {"s": 0}))
    await peer.until_state("guest/nap-paused", "paused")
    kill(first)
    ended = await peer.call("http", "nap-paused", {"s": 0})
    assert (ended.status, ended.result) == (2, {"error": EXITED})
    same("killed-paused", ended)
    await eventually(lambda: first not in served.containers(), "it is removed")
    assert (await peer.call("http", "nap-paused", {"s": 0})).status == 0


@pytest.mark.contract("16")
async def test_killed_while_running(peer: Client, served: Served, same: Same) -> None:
    await peer.put("nap-running", NAP)
    first = await container(served, await peer.call("http", "nap-running", {"s": 0}))
    activation = uuid.uuid4().hex
    body = peer.message("nap-running", {"s": 60}, activation=activation, blocking=False)
    response = await peer.send("http", body)
    assert response is not None
    await peer.until_state("guest/nap-running", "busy")
    kill(first)
    acknowledgement = json.loads(await response.body())
    record = await peer.record(activation)
    assert record["response"]["statusCode"] == 2
    same("killed-running", Ended(acknowledgement, record))
    line = await served.completed(activation)
    assert line["cstate"] == "exited"
    assert line["activationResponse"] == EXITED
    await eventually(lambda: first not in served.containers(), "it is removed")

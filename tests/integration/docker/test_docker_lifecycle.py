"""The life of a container in a real Docker daemon, from its start to the release of its address."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from invoker.errors import StartFailed
from invoker.io.docker.engine import PORT
from tests.support.docker_fixtures import Make, docker, inspect, marked
from tests.support.odd_calls import LOG_LIMIT_BYTES, WAIT_S, Deaths, gone, run, spec, unexpected, value

EACH_LOOP = True

pytestmark = pytest.mark.docker


@pytest.mark.contract("10", "12")
async def test_start_run_log_remove(docker_engine: Make, odd_image: str) -> None:
    seen: list[str] = []
    engine = await docker_engine(lambda command, _: seen.append(command))
    container = await engine.start(spec(odd_image), unexpected)
    assert container.start_timings.keys() == {"queue", "run", "poll"}
    assert (await container.init(b'{"value":{}}', WAIT_S)).status == 200
    container.arm_logs(LOG_LIMIT_BYTES)
    reply = await container.run(value(a=1), WAIT_S)
    assert json.loads(reply.body) == {"a": 1}
    log = await container.collect_logs(WAIT_S)
    assert [line[31:] for line in log.lines] == ["stdout: ran"]
    assert log.complete
    assert await container.condition() == "running"
    await container.remove()
    assert seen == ["run", "poll", "rm"]
    assert "containers=0" in repr(engine)
    assert "taken=0" in repr(engine)


@pytest.mark.contract("12")
@pytest.mark.parametrize("freeze", ["cgroup", "pause"])
async def test_pause_and_unpause(docker_engine: Make, odd_image: str, freeze: str) -> None:
    seen: list[str] = []
    engine = await docker_engine(lambda command, _: seen.append(command), freeze=freeze)
    container = await engine.start(spec(odd_image), unexpected)
    await run(container)
    for _ in range(3):
        await container.pause()
        assert "frozen" in repr(container)
        with socket.create_connection((container.address, PORT), WAIT_S) as caller:
            caller.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            caller.settimeout(0.1)
            with pytest.raises(TimeoutError):
                caller.recv(1)  # the kernel takes the connection, the process does not answer
        await container.unpause()
        assert await run(container, a=2) == {"a": 2}
    assert seen[2:] == ["pause", "unpause"] * 3


@pytest.mark.parametrize("freeze", ["cgroup", "pause"])
async def test_remove_while_paused(docker_engine: Make, odd_image: str, freeze: str) -> None:
    engine = await docker_engine(freeze=freeze)
    container = await engine.start(spec(odd_image), unexpected)
    await container.pause()
    await asyncio.gather(container.remove(), container.remove())
    await container.remove()
    await gone(engine, container.name)


async def test_pause_and_remove_at_once(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    container = await engine.start(spec(odd_image), unexpected)
    await asyncio.gather(container.pause(), container.remove(), return_exceptions=True)
    await gone(engine, container.name)


async def test_death_while_idle_is_reported_once(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    deaths = Deaths()
    container = await engine.start(spec(odd_image), deaths)
    docker("kill", container.id)
    await asyncio.wait_for(deaths.first.wait(), WAIT_S)
    await container.remove()
    assert deaths.reported == [False]


async def test_runs_at_once(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    container = await engine.start(spec(odd_image), unexpected)
    for _ in range(4):
        container.arm_logs(LOG_LIMIT_BYTES)
    begun = asyncio.get_running_loop().time()
    replies = await asyncio.gather(*(container.run(value(do="sleep", s=0.3), WAIT_S) for _ in range(4)))
    assert asyncio.get_running_loop().time() - begun < 1.1
    assert {reply.status for reply in replies} == {200}
    logs = await asyncio.gather(*(container.collect_logs(WAIT_S) for _ in range(4)))
    assert all(log.complete for log in logs)


@pytest.mark.contract("10")
async def test_much_output_is_read_all_the_time(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    container = await engine.start(spec(odd_image), unexpected)
    container.arm_logs(LOG_LIMIT_BYTES)
    assert (await container.run(value(do="write", lines=50_000, columns=100), WAIT_S)).status == 200
    log = await container.collect_logs(WAIT_S)
    assert log.complete
    assert log.truncated
    assert log.size_bytes <= LOG_LIMIT_BYTES


@pytest.mark.parametrize("moment", ["at once", "created", "started"])
async def test_cancelled_start_leaves_nothing(
    docker_engine: Make, odd_image: str, moment: str, docker_network: Any
) -> None:
    engine = await docker_engine(ready_timeout_s=WAIT_S)
    start = asyncio.create_task(engine.start(spec(odd_image), unexpected))
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        while moment != "at once":
            names = marked(docker_network.owner, engine._settings.instance)
            if names and (moment == "created" or inspect(names[0])["State"]["Running"]):
                break
            await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await engine.close()
    assert marked(docker_network.owner, engine._settings.instance) == []
    assert "taken=0" in repr(engine)


async def test_close_removes_all_and_refuses_more(docker_engine: Make, odd_image: str, docker_network: Any) -> None:
    engine = await docker_engine()
    running, paused = await asyncio.gather(*(engine.start(spec(odd_image, n), unexpected) for n in (1, 2)))
    await paused.pause()
    starting = asyncio.create_task(engine.start(spec(odd_image, 3), unexpected))
    await asyncio.sleep(0)
    await asyncio.gather(engine.close(), engine.close())
    with pytest.raises(StartFailed):
        await starting
    with pytest.raises(StartFailed, match="not open"):
        await engine.start(spec(odd_image, 4), unexpected)
    await running.remove()
    assert marked(docker_network.owner, engine._settings.instance) == []

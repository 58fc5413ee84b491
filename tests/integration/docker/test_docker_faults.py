"""A daemon that fails, forgets to answer, lags or is away: nothing is lost sight of, and no address is given twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.io.docker.daemon import Daemon
from invoker.io.docker.engine import DockerEngine
from tests.support.docker_fixtures import Make, docker
from tests.support.docker_proxy import DockerProxy
from tests.support.odd_calls import WAIT_S, gone, run, spec, unexpected

pytestmark = pytest.mark.docker


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[DockerProxy]:
    async with DockerProxy(str(tmp_path / "docker.sock")) as proxy:
        yield proxy


@pytest.fixture
def engine_behind(proxy: DockerProxy, docker_engine: Make) -> Any:
    """Makes engines that reach the daemon through the proxy; mends it before they are closed."""

    async def make(**given: Any) -> Any:
        return await docker_engine(socket=proxy.path, **given)

    return make


@pytest.fixture(autouse=True)
async def mended(proxy: DockerProxy, docker_engine: Make) -> AsyncIterator[None]:
    """Set up last, so torn down first: engines close through a proxy without faults."""
    yield
    proxy.mend()


async def test_the_answer_to_create_is_lost(engine_behind: Any, proxy: DockerProxy, odd_image: str) -> None:
    engine = await engine_behind()
    proxy.lose("/containers/create")
    with pytest.raises(StartFailed) as caught:
        await engine.start(spec(odd_image), unexpected)
    assert not caught.value.leaked
    assert "taken=0" in repr(engine)
    assert any(line.startswith("DELETE") for line in proxy.lines)


@pytest.mark.parametrize("command", ["/attach", "/start"])
async def test_a_start_that_fails_halfway_is_undone(
    engine_behind: Any, proxy: DockerProxy, odd_image: str, command: str
) -> None:
    engine = await engine_behind()
    proxy.fail(command, times=1)
    with pytest.raises(StartFailed, match="made to fail") as caught:
        await engine.start(spec(odd_image), unexpected)
    assert not caught.value.leaked
    assert "containers=0" in repr(engine)
    assert "taken=0" in repr(engine)


@pytest.mark.contract("12")
@pytest.mark.parametrize("command", ["/attach", "/start"])
async def test_what_cannot_be_undone_is_told_and_keeps_its_address(
    engine_behind: Any, proxy: DockerProxy, odd_image: str, command: str
) -> None:
    engine = await engine_behind(command_timeout_s=WAIT_S)
    proxy.fail(command, times=1)
    proxy.fail("DELETE")
    with pytest.raises(StartFailed) as caught:
        await engine.start(spec(odd_image), unexpected)
    assert caught.value.leaked
    assert "taken=1" in repr(engine)
    proxy.mend()


@pytest.mark.contract("12")
@pytest.mark.parametrize("kind", ["fail", "hang"])
async def test_a_failed_removal_keeps_the_address_until_one_succeeds(
    engine_behind: Any, proxy: DockerProxy, odd_image: str, kind: str
) -> None:
    engine = await engine_behind(command_timeout_s=3.0)
    container = await engine.start(spec(odd_image), unexpected)
    if kind == "fail":
        proxy.fail("DELETE", times=1)
    else:
        proxy.hang("DELETE")
    results = await asyncio.gather(container.remove(), container.remove(), return_exceptions=True)
    assert [type(result) for result in results] == [ContainerFault, ContainerFault]
    assert f"its address {container.address} stays taken" in str(results[0])
    assert "taken=1" in repr(engine)
    await container.remove()
    await gone(engine, container.name)


async def test_close_tells_what_it_could_not_remove(
    engine_behind: Any, proxy: DockerProxy, odd_image: str, docker_settings: Any
) -> None:
    engine = DockerEngine(docker_settings(socket=proxy.path))
    await engine.open()
    container = await engine.start(spec(odd_image), unexpected)
    proxy.fail("DELETE")
    with pytest.raises(PlatformFault, match=container.name):
        await engine.close()
    docker("rm", "--force", container.id)


@pytest.mark.contract("1")
async def test_the_next_life_removes_what_the_last_one_left(
    docker_engine: Make, odd_image: str, docker_settings: Any
) -> None:
    """Running, frozen by cgroup, paused by Docker, and only created; another invoker's is left alone."""
    settings = docker_settings()
    other = await docker_engine()
    others = await other.start(spec(odd_image), unexpected)
    former = DockerEngine(settings)
    await former.open()
    running, frozen, paused = await asyncio.gather(
        *(former.start(spec(odd_image, number), lambda _: None) for number in (1, 2, 3))
    )
    await frozen.pause()
    docker("pause", paused.id)
    labels = [f"--label={key}={value}" for key, value in settings.labels.items()]
    docker("create", *labels, "--name", f"{settings.name_prefix}-created", odd_image)
    next_life = DockerEngine(settings)
    await next_life.open()
    assert next_life.describe()["left behind by a former life"] == "0"
    left = docker("ps", "--all", "--format", "{{.Names}}").split()
    assert not {running.name, frozen.name, paused.name, f"{settings.name_prefix}-created"} & set(left)
    assert others.name in left
    assert await run(others, a=1) == {"a": 1}
    await next_life.close()
    await former.close()


@pytest.mark.contract("12")
@pytest.mark.parametrize(
    ("command", "lag"), [("/pause", "Container x is already paused"), ("/unpause", "x is not paused")]
)
async def test_pause_is_tried_again_where_docker_lags(
    engine_behind: Any, proxy: DockerProxy, odd_image: str, command: str, lag: str
) -> None:
    engine = await engine_behind(freeze="pause")
    container = await engine.start(spec(odd_image), unexpected)
    proxy.fail(command, status=409, message=lag, times=3)
    await container.pause()
    await container.unpause()
    assert await run(container, a=1) == {"a": 1}
    assert sum(command in line for line in proxy.lines) == 4
    proxy.fail("/pause", status=409, message="Container x is already paused")
    with pytest.raises(ContainerFault) as caught:
        await container.pause()
    assert caught.value.fault == "platform"
    assert sum("/pause" in line for line in proxy.lines) == (14 if command == "/pause" else 11)


@pytest.mark.parametrize("limit", [1, 2])
async def test_creates_at_a_time(
    docker_engine: Make, odd_image: str, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """From a create to the end of its start, there are never more than the limit under way."""
    under_way, counts = 0, list[int]()
    create, start = Daemon.create, Daemon.start

    async def counted_create(self: Daemon, name: str, body: dict[str, Any]) -> str:
        nonlocal under_way
        under_way += 1
        counts.append(under_way)
        return await create(self, name, body)

    async def counted_start(self: Daemon, container: str) -> None:
        nonlocal under_way
        await start(self, container)
        under_way -= 1

    monkeypatch.setattr(Daemon, "create", counted_create)
    monkeypatch.setattr(Daemon, "start", counted_start)
    engine = await docker_engine(creates_at_a_time=limit)
    await asyncio.gather(*(engine.start(spec(odd_image, number), unexpected) for number in (1, 2, 3)))
    assert max(counts) == limit


async def test_a_daemon_that_is_away_leaks_nothing(engine_behind: Any, proxy: DockerProxy, odd_image: str) -> None:
    engine = await engine_behind()
    proxy.stop()
    with pytest.raises(StartFailed, match=r"no daemon answers at .*DOCKER_SOCKET") as caught:
        await engine.start(spec(odd_image), unexpected)
    await proxy.start()
    assert not caught.value.leaked
    assert "taken=0" in repr(engine)

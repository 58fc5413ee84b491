"""How a container in a real Docker daemon was lost: out of memory, exited, or too slow."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from invoker.errors import ContainerFault
from tests.support.docker_fixtures import Make, inspect
from tests.support.odd_calls import WAIT_S, Deaths, spec, unexpected, value

pytestmark = pytest.mark.docker


@pytest.mark.contract("14")
@pytest.mark.parametrize(
    ("oddity", "condition"), [({"do": "leave"}, "exited"), ({"do": "hog"}, "oom"), ({"do": "child_hog"}, "oom")]
)
async def test_how_a_run_was_lost(docker_engine: Make, odd_image: str, oddity: dict[str, Any], condition: str) -> None:
    engine = await docker_engine()
    deaths = Deaths()
    container = await engine.start(spec(odd_image), deaths)
    reply = await container.run(value(**oddity), WAIT_S)
    assert reply.status != 200
    assert reply.condition == condition
    assert await container.condition() == condition
    if oddity["do"] == "child_hog":
        assert inspect(container.id)["State"]["Running"]
        assert not deaths.reported
    else:
        await asyncio.wait_for(deaths.first.wait(), WAIT_S)
        with pytest.raises(ContainerFault) as caught:
            await container.unpause()
        assert caught.value.fault == condition
        assert deaths.reported == [condition == "oom"]
        assert not (await container.collect_logs(WAIT_S)).complete  # at once, for nothing more can come
    await container.remove()
    assert len(deaths.reported) <= 1


@pytest.mark.contract("14")
async def test_without_the_cgroup_docker_tells_memory_from_exit(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    for number, (oddity, condition) in enumerate((("hog", "oom"), ("leave", "exited")), start=1):
        container = await engine.start(spec(odd_image, number), Deaths())
        container._group = None
        assert (await container.run(value(do=oddity), WAIT_S)).condition == condition


@pytest.mark.contract("12")
async def test_time_limit(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    container = await engine.start(spec(odd_image), unexpected)
    reply = await container.run(value(do="sleep", s=60), 0.1)
    assert (reply.timed_out, reply.status, reply.condition) == (True, None, "running")


@pytest.mark.contract("14")
async def test_killed_while_paused(docker_engine: Make, odd_image: str) -> None:
    """On cgroup v1 the frozen process dies at the thaw; on v2 it is dead by then. Either way it is not handed out."""
    engine = await docker_engine(freeze="cgroup")
    deaths = Deaths()
    container = await engine.start(spec(odd_image), deaths)
    await container.pause()
    os.kill(inspect(container.id)["State"]["Pid"], signal.SIGKILL)
    with pytest.raises(ContainerFault) as caught:
        await container.unpause()
    assert caught.value.fault == "exited"
    await asyncio.wait_for(deaths.first.wait(), WAIT_S)
    assert deaths.reported == [False]

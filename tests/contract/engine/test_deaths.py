"""How containers end: by themselves, for want of memory, by another's hand, at each moment of their life."""

from __future__ import annotations

import asyncio

import pytest

from invoker.errors import ContainerFault
from tests.contract.engine.lab import Deaths, Lab, eventually, init, initialised, result, run, started


@pytest.mark.contract("14")
async def test_exit_in_a_run(lab: Lab) -> None:
    deaths = Deaths()
    container = await initialised(lab, await lab.engine(), deaths)
    reply = await run(container, "leave")
    assert reply.status is None
    assert not reply.timed_out
    assert reply.condition == "exited"
    assert await deaths.first() is False
    await container.remove()
    assert deaths.told == [False]


@pytest.mark.contract("14")
async def test_exit_in_init(lab: Lab) -> None:
    deaths = Deaths()
    container = await started(lab, await lab.engine(), deaths)
    reply = await init(container, AT_INIT="leave")
    assert reply.status is None
    assert reply.condition == "exited"
    assert await deaths.first() is False


async def test_killed_while_idle(lab: Lab) -> None:
    deaths = Deaths()
    container = await initialised(lab, await lab.engine(), deaths)
    await lab.kill(container)
    assert await deaths.first() is False
    assert await container.condition() == "exited"
    reply = await run(container)
    assert reply.status is None
    assert reply.condition == "exited"
    with pytest.raises(ContainerFault) as fault:
        await container.pause()
    assert fault.value.fault == "exited"


async def test_killed_in_the_midst_of_runs(lab: Lab) -> None:
    deaths = Deaths()
    container = await initialised(lab, await lab.engine(), deaths)
    runs = [asyncio.create_task(run(container, "sleep", s=600)) for _ in range(3)]
    await asyncio.sleep(0)
    await lab.kill(container)
    for reply in await asyncio.gather(*runs):
        assert reply.status is None
        assert reply.condition == "exited"
    assert await deaths.first() is False
    assert deaths.told == [False]


@pytest.mark.contract("14")
async def test_killed_while_frozen(lab: Lab) -> None:
    deaths = Deaths()
    container = await initialised(lab, await lab.engine(), deaths)
    await container.pause()
    await lab.kill(container)
    with pytest.raises(ContainerFault) as fault:
        await container.unpause()
    assert fault.value.fault == "exited"
    assert await container.condition() == "exited"
    await container.remove()
    assert deaths.told in ([], [False])


@pytest.mark.contract("14")
async def test_out_of_memory_in_a_run(lab: Lab) -> None:
    deaths = Deaths()
    container = await initialised(lab, await lab.engine(), deaths)
    reply = await run(container, "hog")
    assert reply.status is None
    assert reply.condition == "oom"
    assert await deaths.first() is True
    assert await container.condition() == "oom"


@pytest.mark.contract("14")
async def test_out_of_memory_in_init(lab: Lab) -> None:
    deaths = Deaths()
    container = await started(lab, await lab.engine(), deaths)
    reply = await init(container, AT_INIT="hog")
    assert reply.status is None
    assert reply.condition == "oom"
    assert await deaths.first() is True


async def test_a_child_out_of_memory_is_told_though_its_parent_lives(lab: Lab) -> None:
    deaths = Deaths()
    container = await initialised(lab, await lab.engine(), deaths)
    assert result(await run(container, "child_hog")) == {"child": -9}
    assert await container.condition() == "oom"
    assert result(await run(container, x=1))["x"] == 1
    assert deaths.told == []


async def test_memory_of_one_is_not_anothers(lab: Lab) -> None:
    engine = await lab.engine()
    victim, neighbour = await asyncio.gather(initialised(lab, engine), initialised(lab, engine))
    assert (await run(victim, "hog")).condition == "oom"
    assert result(await run(neighbour, x=1))["x"] == 1
    assert await neighbour.condition() == "running"


async def test_the_dead_are_removed_like_the_living(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    await run(container, "leave")
    await container.remove()
    await eventually(lambda: lab.standing(lab.identities[0]) == [], "it is gone")

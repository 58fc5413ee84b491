"""From start to removal: what an engine owes whoever starts, cancels, pauses and removes containers."""

from __future__ import annotations

import asyncio

import pytest

from invoker.errors import ContainerFault, StartFailed
from tests.contract.engine.lab import (
    LIMIT_S,
    LOST,
    MUTE,
    Deaths,
    Lab,
    eventually,
    init,
    initialised,
    result,
    run,
    spec,
    started,
)


@pytest.mark.contract("12")
async def test_started_means_ready(lab: Lab) -> None:
    engine = await lab.engine()
    container = await started(lab, engine)
    assert container.id
    assert container.address
    assert set(container.start_timings) >= {"run", "poll"}
    assert await container.condition() == "running"
    assert lab.standing(lab.identities[0])
    await container.remove()
    assert lab.standing(lab.identities[0]) == []


async def test_an_engine_says_what_it_is(lab: Lab) -> None:
    engine = await lab.engine()
    said = engine.describe()
    assert said["engine"] == lab.name
    assert said["isolation"]


async def test_each_container_is_another(lab: Lab) -> None:
    engine = await lab.engine()
    one, other = await asyncio.gather(initialised(lab, engine), initialised(lab, engine))
    assert one.id != other.id
    assert one.address != other.address
    await one.remove()
    assert result(await run(other, x=1)) == {"do": "echo", "x": 1}


async def test_an_unknown_kind_is_no_container(lab: Lab) -> None:
    engine = await lab.engine()
    with pytest.raises(StartFailed) as failure:
        await engine.start(spec(lab, kind="cobol:85"), Deaths())
    assert not failure.value.leaked
    assert lab.standing(lab.identities[0]) == []


@pytest.mark.contract("12")
@pytest.mark.parametrize("kind", [LOST, MUTE])
async def test_a_container_that_never_answers_is_no_container(lab: Lab, kind: str) -> None:
    engine = await lab.engine(ready_timeout_s=LIMIT_S if kind == LOST else 0.5)
    deaths = Deaths()
    with pytest.raises(StartFailed) as failure:
        await engine.start(spec(lab, kind=kind), deaths)
    assert not failure.value.leaked
    assert lab.standing(lab.identities[0]) == []
    assert deaths.told == []


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 20])
async def test_a_cancelled_start_is_finished_and_removed(lab: Lab, steps: int) -> None:
    engine = await lab.engine()
    deaths = Deaths()
    start = asyncio.create_task(engine.start(spec(lab), deaths))
    for _ in range(steps):
        await asyncio.sleep(0)
    start.cancel()
    (end,) = await asyncio.gather(start, return_exceptions=True)
    if not isinstance(end, asyncio.CancelledError):  # it was quicker than the cancelling
        assert not isinstance(end, BaseException)
        await end.remove()
    await eventually(lambda: lab.standing(lab.identities[0]) == [], "the cancelled container is removed")
    assert deaths.told == []
    assert await (await started(lab, engine)).condition() == "running"


async def test_a_start_cancelled_while_it_awaits_the_answer(lab: Lab) -> None:
    engine = await lab.engine()
    start = asyncio.create_task(engine.start(spec(lab, kind=MUTE), Deaths()))
    await eventually(lambda: lab.standing(lab.identities[0]), "the container stands")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await engine.close()  # it waits for what was begun
    assert lab.standing(lab.identities[0]) == []


async def test_removed_twice_is_removed_once(lab: Lab) -> None:
    engine = await lab.engine()
    deaths = Deaths()
    container = await started(lab, engine, deaths)
    await container.remove()
    await container.remove()
    assert deaths.told == []


async def test_removals_at_once_are_one(lab: Lab) -> None:
    engine = await lab.engine()
    container = await started(lab, engine)
    await asyncio.gather(*(container.remove() for _ in range(4)))
    assert lab.standing(lab.identities[0]) == []


async def test_a_removal_whose_caller_leaves_goes_on(lab: Lab) -> None:
    engine = await lab.engine()
    container = await started(lab, engine)
    removal = asyncio.create_task(container.remove())
    await asyncio.sleep(0)
    removal.cancel()
    await asyncio.gather(removal, return_exceptions=True)
    await eventually(lambda: lab.standing(lab.identities[0]) == [], "the container is removed")


async def test_removed_in_the_midst_of_a_run(lab: Lab) -> None:
    engine = await lab.engine()
    deaths = Deaths()
    container = await initialised(lab, engine, deaths)
    running = asyncio.create_task(run(container, "sleep", s=600))
    await asyncio.sleep(0)
    await container.remove()
    reply = await running
    assert reply.status is None
    assert reply.condition == "exited"
    assert deaths.told == []
    assert (await run(container)).status is None


async def test_frozen_makes_no_progress(lab: Lab) -> None:
    engine = await lab.engine()
    frozen, clock = await asyncio.gather(initialised(lab, engine), initialised(lab, engine))
    result(await run(frozen, "beat"))
    await frozen.pause()
    result(await run(clock, "sleep", s=0.3))
    await frozen.unpause()
    assert result(await run(frozen, "longest_gap"))["s"] >= 0.25
    assert await frozen.condition() == "running"


async def test_paused_and_thawed_again_and_again(lab: Lab) -> None:
    engine = await lab.engine()
    container = await initialised(lab, engine)
    for number in range(5):
        await container.pause()
        await container.unpause()
        assert result(await run(container, n=number))["n"] == number


async def test_removed_while_frozen(lab: Lab) -> None:
    engine = await lab.engine()
    deaths = Deaths()
    container = await initialised(lab, engine, deaths)
    await container.pause()
    await container.remove()
    assert lab.standing(lab.identities[0]) == []
    assert deaths.told == []


async def test_pause_and_removal_at_once(lab: Lab) -> None:
    engine = await lab.engine()
    container = await initialised(lab, engine)
    outcomes = await asyncio.gather(container.pause(), container.remove(), return_exceptions=True)
    assert outcomes[1] is None
    assert outcomes[0] is None or isinstance(outcomes[0], ContainerFault)
    assert lab.standing(lab.identities[0]) == []


@pytest.mark.contract("1")
async def test_orphans_are_removed_at_open_and_only_ones_own(lab: Lab) -> None:
    engine = await lab.engine()
    neighbour = await initialised(lab, engine)
    former = await lab.orphan()
    assert lab.standing(former)
    await lab.engine(identity=former)
    assert lab.standing(former) == []
    assert result(await run(neighbour, x=1))["x"] == 1


@pytest.mark.contract("18")
async def test_close_removes_all_in_any_state(lab: Lab) -> None:
    engine = await lab.engine()
    idle, frozen, busy = await asyncio.gather(*(initialised(lab, engine) for _ in range(3)))
    await frozen.pause()
    running = asyncio.create_task(run(busy, "sleep", s=600))
    starting = asyncio.create_task(engine.start(spec(lab), Deaths()))
    await asyncio.sleep(0)
    await engine.close()
    await engine.close()
    assert (await running).status is None
    await asyncio.gather(starting, return_exceptions=True)
    assert lab.standing(lab.identities[0]) == []
    assert await idle.condition() == "exited"
    with pytest.raises(StartFailed):
        await engine.start(spec(lab), Deaths())


async def test_a_second_init_is_refused(lab: Lab) -> None:
    engine = await lab.engine()
    container = await initialised(lab, engine)
    assert (await init(container)).status == 403
    assert result(await run(container, x=1))["x"] == 1

"""What the fake engine offers beyond an engine's contract: gates that wait or raise, behaviours, its own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.io.containers.fake import Behaviour, FakeContainer, FakeEngine, Gate, Moment, Path, echo, open_gate
from invoker.policy.outcome import Reply
from invoker.policy.types import ContainerId
from invoker.ports import ContainerSpec

RUN = b'{"value":{"n":1}}'


def spec(number: int = 1) -> ContainerSpec:
    """What to start."""
    return ContainerSpec(ContainerId(number), "python:3", "", 256, ("guest", "act"))


def nobody(_: bool) -> None:
    """Told of a death that nobody asked for."""
    raise AssertionError("died")


async def opened(behaviour: Behaviour = echo, gate: Gate = open_gate, **given: Callable[..., object]) -> FakeEngine:
    """An engine, open."""
    engine = FakeEngine(behaviour, gate=gate, **given)  # type: ignore[arg-type]
    await engine.open()
    return engine


class Gates:
    """A gate that raises or waits at chosen moments, and notes what came by."""

    def __init__(self, **at: Exception | asyncio.Event) -> None:
        self.at = at
        self.seen: list[Moment] = []
        self.arrived = asyncio.Event()

    async def __call__(self, moment: Moment, spec: ContainerSpec) -> None:
        self.seen.append(moment)
        what = self.at.get(moment)
        if isinstance(what, Exception):
            raise what
        if what is not None:
            self.arrived.set()
            await what.wait()


async def test_each_action_passes_its_gate() -> None:
    gates = Gates()
    engine = await opened(gate=gates)
    container = await engine.start(spec(), nobody)
    await container.init(b"{}", 1)
    await container.run(RUN, 1)
    await container.pause()
    await container.unpause()
    await container.remove()
    assert gates.seen == ["start", "ready", "init", "run", "pause", "unpause", "remove"]
    await engine.close()


@pytest.mark.parametrize("leaked", [False, True])
async def test_a_start_that_fails(leaked: bool) -> None:
    engine = await opened(gate=Gates(start=StartFailed("no", leaked=leaked)))
    with pytest.raises(StartFailed) as failure:
        await engine.start(spec(), nobody)
    assert failure.value.leaked is leaked
    await engine.close()


async def test_a_start_that_can_not_be_undone_has_leaked() -> None:
    gates = Gates(ready=ContainerFault("mute"), remove=ContainerFault("stuck"))
    engine = await opened(gate=gates)
    with pytest.raises(StartFailed) as failure:
        await engine.start(spec(), nobody)
    assert failure.value.leaked
    assert len(engine.containers) == 1
    with pytest.raises(PlatformFault, match="could not be removed"):
        await engine.close()


async def test_a_start_that_hangs_is_finished_after_its_caller_has_gone() -> None:
    release = asyncio.Event()
    gates = Gates(start=release)
    engine = await opened(gate=gates)
    start = asyncio.create_task(engine.start(spec(), nobody))
    await gates.arrived.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    assert not closing.done()
    release.set()
    await closing
    assert engine.containers == {}
    assert gates.seen == ["start", "remove"]


@pytest.mark.parametrize("moment", ["pause", "unpause"])
async def test_a_pause_or_thaw_that_fails(moment: Moment) -> None:
    gates = Gates()
    engine = await opened(gate=gates)
    container = await engine.start(spec(), nobody)
    gates.at[moment] = ContainerFault("stuck", "platform")
    if moment == "unpause":
        await container.pause()
    with pytest.raises(ContainerFault, match="stuck") as fault:
        await (container.pause() if moment == "pause" else container.unpause())
    assert fault.value.fault == "platform"
    await engine.close()


async def test_a_removal_that_fails_leaves_it_standing_and_may_be_tried_again() -> None:
    gates = Gates(remove=ContainerFault("stuck"))
    engine = await opened(gate=gates)
    container = await engine.start(spec(), nobody)
    for _ in range(2):
        with pytest.raises(ContainerFault, match="stuck"):
            await container.remove()
        assert container.id in engine.containers
    del gates.at["remove"]
    await container.remove()
    assert engine.containers == {}
    await engine.close()


async def test_a_removal_that_failed_when_its_asker_had_gone_is_tried_anew() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    seen: list[Moment] = []

    async def fails_once(moment: Moment, _: ContainerSpec) -> None:
        seen.append(moment)
        if moment == "remove" and seen.count("remove") == 1:
            asked.set()
            await go_on.wait()
            raise ContainerFault("stuck")

    engine = await opened(gate=fails_once)
    container = await engine.start(spec(), nobody)
    gone, waits = (asyncio.create_task(container.remove()) for _ in range(2))
    await asked.wait()
    gone.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(ContainerFault, match="stuck"):
        await waits  # it shared the one that failed
    await container.remove()
    assert engine.containers == {}
    assert seen.count("remove") == 2
    await engine.close()


async def test_a_scripted_answer_is_given_as_it_is() -> None:
    async def odd(_: FakeContainer, path: Path, body: bytes) -> Reply:
        return Reply(503 if path == "/init" else 200, body)

    engine = await opened(odd)
    container = await engine.start(spec(), nobody)
    assert await container.init(b"busy", 1) == Reply(503, b"busy", condition="running")
    assert await container.run(b"[not json", 1) == Reply(200, b"[not json")
    await engine.close()


async def test_a_time_limit_is_the_given_clocks() -> None:
    async def forever(_: FakeContainer, __: Path, ___: bytes) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    waited: list[float] = []

    async def at_once(seconds: float) -> None:
        waited.append(seconds)

    sleep: Callable[[float], Awaitable[None]] = at_once
    engine = await opened(forever, sleep=sleep)
    container = await engine.start(spec(), nobody)
    assert await container.run(RUN, 3600) == Reply(timed_out=True, condition="running")
    container.arm_logs(1000)
    log = await container.collect_logs(0.5)
    assert not log.complete
    assert waited == [3600, 0.5]
    await engine.close()


async def test_log_lines_bear_the_given_clocks_time() -> None:
    async def talk(container: FakeContainer, _: Path, __: bytes) -> Reply:
        container.print(b"hello\n")
        return Reply(200, b"{}")

    engine = await opened(talk, now_ns=lambda: 1_700_000_000_000_000_000)
    container = await engine.start(spec(), nobody)
    container.arm_logs(1000)
    await container.run(RUN, 1)
    log = await container.collect_logs(1)
    assert log.lines == ["2023-11-14T22:13:20Z           stdout: hello"]
    await engine.close()


async def test_a_death_is_told_once_and_not_after_a_removal() -> None:
    told: list[bool] = []
    engine = await opened()
    one, other = await engine.start(spec(1), told.append), await engine.start(spec(2), told.append)
    one.end(oom=True)
    one.end()
    other_removal = asyncio.create_task(other.remove())
    await asyncio.sleep(0)
    other.end()
    await other_removal
    assert told == [True]
    await engine.close()


async def test_what_was_out_of_memory_before_a_pause_does_not_count_after_it() -> None:
    engine = await opened()
    container = await engine.start(spec(), nobody)
    container.kill_child()
    assert await container.condition() == "oom"
    await container.pause()
    await container.unpause()
    assert await container.condition() == "running"
    await engine.close()


async def test_an_engine_that_is_not_open_starts_nothing() -> None:
    engine = FakeEngine()
    with pytest.raises(StartFailed, match="not open"):
        await engine.start(spec(), nobody)

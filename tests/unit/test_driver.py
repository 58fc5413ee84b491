"""The driver: every action is answered by one event, whatever the engine does, and however late it does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from invoker.driver import Refused
from invoker.errors import ContainerFault, StartFailed
from invoker.io.containers.fake import Gate, Moment
from invoker.policy import PolicySet, policyset
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.container import State
from invoker.policy.pausing import FixedGrace, NeverPause
from invoker.policy.types import ContainerId, PrewarmKey
from invoker.ports import ContainerSpec
from tests.support.body import CAPACITY_MB, KIND, MEMORY_MB, Body
from tests.support.raw_http import until

Failure = Callable[[], Exception]


def pausing_after(grace_ms: int) -> PolicySet:
    """Policy set `default` with this grace; -1: it never pauses."""
    pausing = NeverPause() if grace_ms < 0 else FixedGrace(grace_ms * 1_000_000)
    return msgspec.structs.replace(policyset.default(CAPACITY_MB), pausing=pausing)


def failing(at: Moment, error: Failure) -> Gate:
    """A gate that fails at a moment, the first time."""
    left = [error]

    async def gate(moment: Moment, _: ContainerSpec) -> None:
        if moment == at and left:
            raise left.pop()()

    return gate


def states(body: Body) -> list[str]:
    return [container.state.value for container in body.pool.containers.values()]


async def test_a_container_is_got_cold_then_warm_then_thawed() -> None:
    async with Body(policies=pausing_after(0)) as body:
        cold = await body.acquire("a")
        assert (cold.kind, cold.resumed) == ("cold", False)
        assert cold.start_ns > 0
        body.driver.initialized(cold, 1)
        body.driver.release(cold, reusable=True)
        await until(lambda: states(body) == ["paused"])
        warm = await body.acquire("b")
        assert (warm.kind, warm.resumed, warm.container) == ("warm", True, cold.container)
        assert warm.unpause_ns > 0
        assert warm.start_ns == 0
        body.driver.release(warm, reusable=False)
        await until(lambda: not body.engine.containers and not body.pool.containers)


async def test_the_rest_of_a_pause_is_told_apart() -> None:
    pausing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(moment: Moment, _: ContainerSpec) -> None:
        if moment == "pause":
            pausing.set()
            await go_on.wait()

    async with Body(policies=pausing_after(0), gate=slow) as body:
        first = await body.acquire("a")
        body.driver.initialized(first, 1)
        body.driver.release(first, reusable=True)
        await pausing.wait()
        asked = asyncio.create_task(body.acquire("b"))
        await until(lambda: len(body.pool.placed) + len(body.pool.waiting) == 1)
        go_on.set()
        within_the_pause = await asked
        assert within_the_pause.pause_rest_ns > 0
        body.driver.release(within_the_pause, reusable=True)
        await until(lambda: states(body) == ["paused"])
        behind_it = await body.acquire("c")
        assert (behind_it.resumed, behind_it.pause_rest_ns) == (True, 0)
        body.driver.release(behind_it, reusable=False)


@pytest.mark.parametrize("error", [lambda: StartFailed("no"), lambda: RuntimeError("a defect")])
async def test_a_start_that_fails_is_refused(error: Failure) -> None:
    async with Body(gate=failing("start", error)) as body:
        with pytest.raises(Refused, match="start failed") as refusal:
            await body.acquire("a")
        assert refusal.value.fault == "platform"
        assert body.pool.charged_mb == 0
        assert (await body.acquire("b")).kind == "cold"


async def test_a_start_that_leaks_keeps_its_memory() -> None:
    async with Body(gate=failing("start", lambda: StartFailed("no", leaked=True))) as body:
        with pytest.raises(Refused):
            await body.acquire("a")
        assert body.pool.charged_mb == body.pool.quarantined_mb == MEMORY_MB


@pytest.mark.parametrize("error", [lambda: ContainerFault("no"), lambda: RuntimeError("a defect")])
async def test_a_pause_that_fails_removes_the_container(error: Failure) -> None:
    async with Body(gate=failing("pause", error), policies=pausing_after(0)) as body:
        await used(body, "a")
        await until(lambda: not body.pool.containers)
        assert not body.engine.containers


async def used(body: Body, activation: str, name: str = "act") -> ContainerId:
    """A good run in a container that is new."""
    lease = await body.acquire(activation, name)
    body.driver.initialized(lease, 1)
    body.driver.release(lease, reusable=True)
    return lease.number


@pytest.mark.contract("13", "19")
@pytest.mark.parametrize("error", [lambda: ContainerFault("no"), lambda: RuntimeError("a defect")])
async def test_a_thaw_that_fails_is_no_business_of_the_activation(error: Failure) -> None:
    async with Body(gate=failing("unpause", error), policies=pausing_after(0)) as body:
        first = await used(body, "a")
        await until(lambda: states(body) == ["paused"])
        lease = await body.acquire("b")
        assert (lease.kind, lease.number != first) == ("cold", True)


@pytest.mark.contract("14")
@pytest.mark.parametrize("fault", ["oom", "exited"])
async def test_a_container_found_dead_at_its_thaw_is_the_functions_fault(fault: ev.Fault) -> None:
    gate = failing("unpause", lambda: ContainerFault("dead", fault))
    async with Body(gate=gate, policies=pausing_after(0)) as body:
        await used(body, "a")
        await until(lambda: states(body) == ["paused"])
        (container,) = body.engine.containers.values()
        with pytest.raises(Refused, match="container lost") as refusal:
            await body.acquire("b")
        assert (refusal.value.fault, refusal.value.lost) == (fault, container)


async def test_a_removal_that_fails_keeps_the_memory_taken() -> None:
    async with Body(gate=failing("remove", lambda: ContainerFault("no"))) as body:
        lease = await body.acquire("a")
        body.driver.release(lease, reusable=False)
        await until(lambda: body.pool.quarantined == 1)
        assert body.pool.charged_mb == MEMORY_MB
        assert (await body.acquire("b")).kind == "cold"


async def test_an_activation_that_is_sent_twice_runs_twice() -> None:
    async with Body() as body:
        first, second = await asyncio.gather(body.acquire("a"), body.acquire("a"))
        assert first.number != second.number
        third = asyncio.create_task(body.acquire("a"))  # waits for memory
        await until(lambda: len(body.pool.waiting) == 1)
        for lease in (first, second):
            body.driver.release(lease, reusable=False)
        assert len({first.activation, second.activation, (await third).activation}) == 3


async def test_a_death_while_idle_is_told_and_the_container_removed() -> None:
    async with Body(policies=pausing_after(-1)) as body:
        await used(body, "a")
        (container,) = body.engine.containers.values()
        container.end(oom=True)
        await until(lambda: not body.pool.containers)
        assert (await body.acquire("b")).kind == "cold"


async def test_news_of_a_container_that_is_gone_is_only_late() -> None:
    frozen = asyncio.Event()
    freeze = asyncio.Event()

    async def gate(moment: Moment, _: ContainerSpec) -> None:
        if moment == "pause":
            frozen.set()
            await freeze.wait()

    async with Body(gate=gate, policies=pausing_after(0)) as body:
        number = await used(body, "a")
        await frozen.wait()
        (container,) = body.engine.containers.values()
        container.end()
        await until(lambda: body.pool.containers[number].state is State.REMOVING)
        freeze.set()  # it turns out to be paused after all, then to be removed
        await until(lambda: not body.pool.containers)
        body.driver.feed(ev.Paused(number))
        body.driver.feed(ev.ContainerDied(number))


class SlowClock:
    """Goes at half the loop's speed, so that every timer of the loop fires too early for it."""

    def monotonic_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * 5e8)

    def time_ns(self) -> int:
        return self.monotonic_ns()


async def test_a_timer_that_fires_early_is_armed_again() -> None:
    async with Body(policies=pausing_after(20), clock=SlowClock()) as body:
        await used(body, "a")
        began_ns = body.driver.now_ns
        await until(lambda: states(body) == ["paused"])
        assert body.driver.now_ns - began_ns >= 19_000_000


async def test_an_eviction_is_told_to_who_caused_it() -> None:
    async with Body(policies=pausing_after(-1)) as body:
        await used(body, "a", "one")
        await used(body, "b", "two")
        lease = await body.acquire("c", "three")
        assert len(lease.evicted) == 1
        assert lease.evict_ns > 0


async def test_drained_once_all_is_over() -> None:
    async with Body() as body:
        lease = await body.acquire("a")
        await used(body, "b", "two")
        drain = asyncio.create_task(body.driver.drain())
        await until(lambda: len(body.engine.containers) == 1)
        with pytest.raises(Refused, match="draining"):
            await body.acquire("c")
        assert not drain.done()
        body.driver.initialized(lease, 1)
        body.driver.release(lease, reusable=True)
        await drain
        assert not body.engine.containers


async def test_abandoned_at_once() -> None:
    async def gate(moment: Moment, _: ContainerSpec) -> None:
        if moment == "ready":
            await asyncio.Event().wait()

    async with Body(gate=gate) as body:
        waiting = asyncio.create_task(body.acquire("a"))
        await until(lambda: len(body.engine.containers) == 1)
        waiting.cancel()
        await body.driver.abandon()
        await body.engine.close()
        assert not body.engine.containers


async def test_intake_is_held_and_resumed() -> None:
    policies = msgspec.structs.replace(pausing_after(-1), intake_limit=2)
    held: list[bool] = []
    async with Body(policies=policies) as body:
        body.driver._hold_intake = held.append  # pyright: ignore[reportPrivateUsage] - as given at its making
        leases = [await body.acquire(f"r{number}") for number in range(2)]
        waiting = [asyncio.create_task(body.acquire(f"w{number}")) for number in range(3)]
        await until(lambda: len(body.pool.waiting) == 3)
        assert held == [True]
        for lease in leases:
            body.driver.release(lease, reusable=False)
        for task in waiting[:2]:
            body.driver.release(await task, reusable=False)
        await waiting[2]
        assert held == [True, False]


async def test_stock_is_started_and_used() -> None:
    async with Body() as body:
        stem = PrewarmKey(KIND, MEMORY_MB)
        body.driver.feed(ev.StockChanged((ev.StemCells(stem, 1),)))
        await until(lambda: states(body) == ["prewarm"])
        lease = await body.acquire("a")
        assert lease.kind == "prewarm"
        assert any(isinstance(action, act.Start) for action in body.pool.actions)

"""The reference controller with real invokers, Kafka, CouchDB and containers."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from invoker.policy.balancing.supervision import Health
from loadtest.activation import Activation, Fate
from loadtest.controller import Controller
from tests.integration.loadtest.actions import at_home, keep
from tests.integration.loadtest.conftest import MEMORY_MB, Controllers, serve_settings
from tests.support.node import eventually
from tests.support.serving import Place, Served, serving

pytestmark = pytest.mark.docker

SHORT = 1 / 180
"""Times the reference's forced timeout of three minutes: a second."""

Pair = tuple[Served, Served]


def result(activation: Activation) -> dict[str, object]:
    """What the function answered."""
    import json

    assert activation.outcome is not None, activation
    assert activation.outcome.status_code == 0, activation.record
    return json.loads(bytes(activation.outcome.result))


def invoked_via(pair: Pair, activation: Activation) -> list[str]:
    """How each invoker that ran it says that it came."""
    lines = [line for each in pair for line in each.lines("invocation completed", aid=activation.id)]
    return [line["invokedVia"] for line in lines]


async def test_it_goes_home_by_http_while_there_is_room(pair: Pair, controllers: Controllers) -> None:
    async with controllers(*pair) as controller:
        for rank, served in enumerate(pair):
            action = await keep(controller, at_home(rank, "home"))
            first = await controller.invoke(action, {"s": 0})
            again = await controller.invoke(action, b'{"s": 0}', blocking=False)
            assert result(first) == {"napped": 0}
            assert (first.fate, first.instance, first.way) == (Fate.ACKNOWLEDGED, served.instance, "http")
            assert 0 < first.begun_ns < first.accepted_ns < first.ended_ns
            assert again.accepted_ns
            async with asyncio.timeout(30):
                await again.ended.wait()
            assert (again.fate, again.instance, again.record) == (Fate.ACKNOWLEDGED, served.instance, None)
            await eventually(lambda one=first: invoked_via(pair, one) == ["http"], "the invoker logged it")


async def test_what_finds_no_room_waits_in_a_topic_and_every_slot_comes_back(
    pair: Pair, controllers: Controllers
) -> None:
    async with controllers(*pair) as controller:
        action = await keep(controller, "whole-node", memory_mb=MEMORY_MB)
        activations = await asyncio.gather(*(controller.invoke(action, {"s": 0.5}) for _ in range(3)))
        assert [each.way for each in activations] == ["http", "http", "kafka"]
        assert activations[0].instance != activations[1].instance
        assert [result(each) for each in activations] == [{"napped": 0.5}] * 3
        assert [controller.fleet.free_mb(each.instance) for each in pair] == [MEMORY_MB] * 2
        await eventually(lambda: invoked_via(pair, activations[2]) == ["kafka"], "the invoker logged it")
        unwaited = await asyncio.gather(*(controller.invoke(action, {}, blocking=False) for _ in range(3)))
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.ended.wait() for each in unwaited))
        assert [each.fate for each in unwaited] == [Fate.ACKNOWLEDGED] * 3
        assert sorted(each.way for each in unwaited) == ["http", "http", "kafka"]
        assert [controller.fleet.free_mb(each.instance) for each in pair] == [MEMORY_MB] * 2


async def test_a_record_of_a_blocking_one_is_stored_by_the_controller(pair: Pair, controllers: Controllers) -> None:
    async with controllers(*pair) as controller:
        action = await keep(controller, at_home(0, "home"))
        activation = await controller.invoke(action, {})
        assert await controller.record("guest", activation.id) == activation.record
    async with controllers(*pair) as controller:
        stored = await controller.record("guest", activation.id)
        assert stored is not None
        assert activation.id.encode() in stored


@pytest.mark.parametrize("way", ["http", "kafka"])
async def test_no_word_in_time_frees_the_slot_and_a_late_one_is_known_as_late(
    pair: Pair, controllers: Controllers, way: str
) -> None:
    async with controllers(*pair, forced_timeout_scale=SHORT) as controller:
        action = await keep(controller, "whole-node", memory_mb=MEMORY_MB)
        count = 1 if way == "http" else 3
        given_up = (await asyncio.gather(*(controller.invoke(action, {"s": 2}, wait_s=30) for _ in range(count))))[-1]
        assert (given_up.fate, given_up.way, given_up.record) == (Fate.TIMED_OUT, way, None)
        assert "forced timeout" in given_up.reason
        await eventually(
            lambda: [controller.fleet.free_mb(each.instance) for each in pair] == [MEMORY_MB] * 2, "all slots are free"
        )
        await eventually(lambda: given_up.late, "its word comes late")
        assert given_up.fate is Fate.TIMED_OUT
        assert await controller.record("guest", given_up.id) is not None
        assert [controller.fleet.free_mb(each.instance) for each in pair] == [MEMORY_MB] * 2


async def test_a_wait_has_an_end_and_the_activation_goes_on(pair: Pair, controllers: Controllers) -> None:
    async with controllers(*pair) as controller:
        action = await keep(controller, at_home(0, "home"))
        activation = await controller.invoke(action, {"s": 1}, wait_s=0.2)
        assert activation.fate is Fate.ACCEPTED
        async with asyncio.timeout(30):
            await activation.ended.wait()
        assert result(activation) == {"napped": 1}


async def test_a_dead_invoker_is_noticed_what_it_had_is_cut_and_the_rest_goes_elsewhere(
    place: Place, pair: Pair, controllers: Controllers, tmp_path: Path
) -> None:
    survivor = pair[0]
    with serving(place, tmp_path, **serve_settings()) as victim:  # of the larger number, so it is the second
        fixed = {"ID": str(victim.instance), "HTTP_PORT": str(victim.port)}
        async with controllers(survivor, victim) as controller:
            action = await keep(controller, at_home(1, "dies"))
            cut = await controller.invoke(action, {"s": 20}, blocking=False)
            assert (cut.fate, cut.instance) == (Fate.ACCEPTED, victim.instance)
            victim.stop(signal.SIGKILL)
            moved = await controller.invoke(action, {"s": 0})
            assert (moved.instance, result(moved)) == (survivor.instance, {"napped": 0})
            await ended_as(cut, Fate.CUT)
            assert cut.attempts == 1
            assert "broke off" in cut.reason
            assert not survivor.said(cut.id)
            await eventually(
                lambda: controller.fleet.healths()[victim.instance] is Health.OFFLINE, "the dead one is noticed"
            )
            assert controller.fleet.free_mb(victim.instance) == MEMORY_MB
            await back_again(place, controller, victim, tmp_path, fixed, action)


async def back_again(
    place: Place, controller: Controller, victim: Served, directory: Path, fixed: dict[str, str], action: str
) -> None:
    """Its next life is tested first, and then gets its own work again."""
    with serving(place, directory, **serve_settings(), **fixed) as again:
        await controller.until_healthy(victim.instance)
        home = await controller.invoke(action, {"s": 0})
        assert (home.instance, home.way) == (again.instance, "http")


async def ended_as(activation: Activation, fate: Fate) -> None:
    async with asyncio.timeout(10):
        await activation.ended.wait()
    assert activation.fate is fate, activation

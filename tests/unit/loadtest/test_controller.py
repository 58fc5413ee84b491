"""What a controller does with each answer of an invoker: who is asked again, who never, what the caller learns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from invoker.errors import ActionNotFound, CallerFault, PlatformFault
from invoker.io.kafka.health import ping
from invoker.policy.balancing.supervision import Health
from loadtest import controller as controller_module
from loadtest.activation import Activation, Fate
from loadtest.controller import TooMany
from loadtest.topics import NotSent, TooLarge, Undecided
from tests.support.node import eventually
from tests.unit.loadtest.scripted import LIMIT_S, MEMORY_MB, Behaviour, FakeTopics, Scene, scene

FREE = [MEMORY_MB, MEMORY_MB]


@pytest.fixture(autouse=True)
def no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller_module, "Topics", FakeTopics)


@pytest.fixture
async def stage() -> AsyncIterator[Scene]:
    async with scene() as made:
        yield made


async def ended(activation: Activation) -> Fate:
    async with asyncio.timeout(LIMIT_S):
        await activation.ended.wait()
    return activation.fate


async def until(true: Callable[[], bool]) -> None:
    await eventually(true, "what the test waits for")


def homes(stage: Scene) -> tuple[Any, Any]:
    """The invoker that is the action's home, and the other one."""
    first, second = stage.invokers
    return (first, second) if first.received else (second, first)


async def find_homes(stage: Scene) -> tuple[Any, Any]:
    """Found by one activation, which is forgotten."""
    await stage.controller.invoke("guest/act")
    found = homes(stage)
    found[0].received.clear()
    return found


async def test_a_good_answer(stage: Scene) -> None:
    activation = await stage.controller.invoke("guest/act", {"x": 1})
    assert (activation.fate, activation.way, activation.attempts) == (Fate.ACKNOWLEDGED, "http", 1)
    assert activation.outcome is not None
    assert json.loads(bytes(activation.outcome.result)) == {"x": 1}
    assert stage.controller.activation(activation.id) is activation
    assert stage.free_mb == FREE


async def test_who_does_not_wait_returns_with_the_receipt(stage: Scene) -> None:
    for each in stage.invokers:
        each.behaviours.append("hold")
    activation = await stage.controller.invoke("guest/act", blocking=False)
    assert (activation.fate, activation.ended.is_set()) == (Fate.ACCEPTED, False)
    for each in stage.invokers:
        each.release.set()
    assert await ended(activation) is Fate.ACKNOWLEDGED
    assert activation.record is None


@pytest.mark.parametrize("behaviour", ["refuse", "hang up"])
async def test_what_was_not_accepted_is_sent_again(stage: Scene, behaviour: Behaviour) -> None:
    home, _ = await find_homes(stage)
    home.behaviours.append(behaviour)
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.attempts) == (Fate.ACKNOWLEDGED, 2)
    assert sum(len(each.received) for each in stage.invokers) == 2
    assert {message.activation_id for each in stage.invokers for message in each.received} == {activation.id}
    assert stage.free_mb == FREE


async def test_one_that_refuses_is_left_alone_until_it_answers(stage: Scene) -> None:
    home, other = await find_homes(stage)
    home.behaviours.append("refuse")
    activation = await stage.controller.invoke("guest/act", {})
    assert activation.instance == other.instance
    await stage.controller.until_healthy(timeout_s=LIMIT_S)


async def test_a_dead_one_is_passed_over_and_comes_back(stage: Scene) -> None:
    home, other = await find_homes(stage)
    await home.stop()
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.instance) == (Fate.ACKNOWLEDGED, other.instance)
    await until(lambda: stage.controller.fleet.healths()[home.instance] is Health.OFFLINE)
    await home.start()
    await stage.controller.until_healthy(timeout_s=LIMIT_S)
    assert (await stage.controller.invoke("guest/act", {})).instance == home.instance


async def test_attempts_have_an_end(stage: Scene) -> None:
    for each in stage.invokers:
        each.behaviours.extend(["hang up"] * 3)
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.attempts, activation.status) == (Fate.REFUSED, 3, 503)
    assert "hung up" in activation.reason
    assert stage.free_mb == FREE


async def test_with_nobody_fit_nothing_is_sent(stage: Scene) -> None:
    for each in stage.invokers:
        await each.stop()
    await until(lambda: set(stage.controller.fleet.healths().values()) == {Health.OFFLINE})
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.attempts, activation.status) == (Fate.REFUSED, 0, 503)
    assert activation.reason == "no invoker is fit to be sent to"


@pytest.mark.parametrize("behaviour", ["cut", "babble"])
async def test_what_was_accepted_is_never_sent_again(stage: Scene, behaviour: Behaviour) -> None:
    for each in stage.invokers:
        each.behaviours.append(behaviour)
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.attempts, activation.status) == (Fate.CUT, 1, 500)
    assert sum(len(each.received) for each in stage.invokers) == 1
    assert stage.free_mb == FREE


async def test_a_bad_message_is_nobody_elses_to_try(stage: Scene) -> None:
    for each in stage.invokers:
        each.behaviours.append("reject")
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.attempts, activation.status) == (Fate.REFUSED, 1, 400)
    assert stage.free_mb == FREE


async def test_no_head_in_time_is_an_unknown_fate_and_the_slot_stays() -> None:
    async with scene(head_timeout_s=0.1) as stage:
        for each in stage.invokers:
            each.behaviours.append("silent")
        activation = await stage.controller.invoke("guest/act", {})
        assert (activation.fate, activation.attempts, activation.status) == (Fate.UNKNOWN, 1, 500)
        assert sorted(free for free in stage.free_mb if free is not None) == [0, MEMORY_MB]


async def test_full_invokers_are_sent_to_by_their_topics(stage: Scene) -> None:
    for each in stage.invokers:
        each.behaviours.append("hold")
    held = [await stage.controller.invoke("guest/act", blocking=False) for _ in range(2)]
    waiting = asyncio.create_task(stage.controller.invoke("guest/act", {"x": 1}))
    await until(lambda: len(stage.topics.sent) == 1)
    stage.topics.acknowledge()
    overflow = await waiting
    assert ([each.way for each in held], overflow.way) == (["http", "http"], "kafka")
    assert (overflow.fate, overflow.accepted_ns > 0) == (Fate.ACKNOWLEDGED, True)
    assert stage.controller.records.pending("guest", overflow.id) == overflow.record
    for each in stage.invokers:
        each.release.set()
    assert [await ended(each) for each in held] == [Fate.ACKNOWLEDGED] * 2
    assert stage.free_mb == FREE


@pytest.mark.parametrize(
    ("fault", "fate", "status", "left_mb"),
    [
        (NotSent("no such topic"), Fate.REFUSED, 503, 0),
        (TooLarge("5 MB"), Fate.REFUSED, 413, 0),
        (Undecided("brokers are away"), Fate.UNKNOWN, 500, -MEMORY_MB),
    ],
)
async def test_when_the_topic_does_not_take_it(
    stage: Scene, fault: PlatformFault, fate: Fate, status: int, left_mb: int
) -> None:
    for each in stage.invokers:
        each.behaviours.append("hold")
    for _ in range(2):
        await stage.controller.invoke("guest/act", blocking=False)
    stage.topics.fault = fault
    activation = await stage.controller.invoke("guest/act", {})
    assert (activation.fate, activation.status, activation.reason) == (fate, status, str(fault))
    assert sum(free or 0 for free in stage.free_mb) == left_mb


async def test_the_forced_timeout_and_a_late_word() -> None:
    async with scene(forced_timeout_scale=1 / 900) as stage:  # 0.2 s
        for each in stage.invokers:
            each.behaviours.append("hold")
        activation = await stage.controller.invoke("guest/act", {})
        assert (activation.fate, activation.status) == (Fate.TIMED_OUT, 500)
        assert stage.free_mb == FREE
        for each in stage.invokers:
            each.release.set()
        await until(lambda: activation.late)
        assert activation.fate is Fate.TIMED_OUT
        assert stage.free_mb == FREE


async def test_an_acknowledgement_without_room_for_the_record_sends_to_the_database(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "RECORD_POLLS_S", (0.0, 0.01, 0.01, 0.01))
    for each in stage.invokers:
        each.behaviours.append("hold")
    for _ in range(2):
        await stage.controller.invoke("guest/act", blocking=False)
    waiting = asyncio.create_task(stage.controller.invoke("guest/act", {}))
    await until(lambda: len(stage.topics.sent) == 1)
    message = stage.topics.sent[0][1]
    response = {"result": {"big": 1}, "statusCode": 0}
    record = {"_id": f"guest/{message.activation_id}", "activationId": message.activation_id, "response": response}
    stage.couch.put("activations", record)
    stage.topics.acknowledge(short=True)
    activation = await waiting
    assert activation.fate is Fate.ACKNOWLEDGED
    assert activation.outcome is not None
    assert json.loads(bytes(activation.outcome.result)) == {"big": 1}


async def test_a_system_error_makes_an_invoker_unfit_until_a_test_succeeds(stage: Scene) -> None:
    for each in stage.invokers:
        each.behaviours.append("hold")
    for _ in range(2):
        await stage.controller.invoke("guest/act", blocking=False)
    before = len(stage.topics.tested)
    sending = asyncio.create_task(stage.controller.invoke("guest/act", {}))
    await until(lambda: len(stage.topics.sent) == 1)
    stage.topics.acknowledge(system_error=True)
    assert stage.controller.fleet.healths()[stage.topics.sent[0][0]] is Health.UNHEALTHY
    assert (await sending).system_error
    await until(lambda: len(stage.topics.tested) > before)
    assert stage.topics.tested[before] == stage.topics.sent[0][0]
    await stage.controller.until_healthy(timeout_s=LIMIT_S)


async def test_pings_by_the_topic_and_of_strangers(stage: Scene, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        stage.topics.health(ping(9, 1 << 30, enabled=True))
    assert caplog.text.count("no address of it") == 1
    stage.topics.health(ping(0, MEMORY_MB << 20, enabled=False))
    assert stage.controller.fleet.healths()[0] is Health.OFFLINE


async def test_tests_go_by_http_where_kafka_is_away(stage: Scene) -> None:
    home, _ = await find_homes(stage)
    stage.topics.fault = Undecided("away")
    await home.stop()
    await until(lambda: stage.controller.fleet.healths()[home.instance] is Health.OFFLINE)
    await home.start()
    await stage.controller.until_healthy(timeout_s=LIMIT_S)
    assert any(message.path == "whisk.system" for message in home.received)


async def test_what_never_came_to_be_is_raised(stage: Scene) -> None:
    with pytest.raises(ActionNotFound):
        await stage.controller.invoke("guest/none")
    with pytest.raises(CallerFault, match="one JSON object"):
        await stage.controller.invoke("guest/act", b"[1]")


async def test_many_who_ask_at_once_read_the_document_once(stage: Scene) -> None:
    before = len(stage.couch.requests)
    asked = [stage.controller.catalogue.action("guest", "act") for _ in range(50)]
    assert len({action.revision for action in await asyncio.gather(*asked)}) == 1
    assert len(stage.couch.requests) - before <= 1


async def test_no_more_than_the_limit_are_under_way() -> None:
    async with scene(under_way_max=1) as stage:
        for each in stage.invokers:
            each.behaviours.append("hold")
        first = await stage.controller.invoke("guest/act", blocking=False)
        with pytest.raises(TooMany):
            await stage.controller.invoke("guest/act")
        for each in stage.invokers:
            each.release.set()
        await ended(first)


async def test_closing_ends_every_wait_and_keeps_records() -> None:
    async with scene() as stage:
        done = await stage.controller.invoke("guest/act", {})
        for each in stage.invokers:
            each.behaviours.append("hold")
        waiting = asyncio.create_task(stage.controller.invoke("guest/act", {}))
        await until(lambda: sum(len(each.received) for each in stage.invokers) == 2)
        await stage.controller.close()
        assert (await waiting).fate is Fate.UNKNOWN
        assert stage.couch.records() == {f"guest/{done.id}": 1}

"""A broker that is away at the start, crashes, freezes, or loses the topic: retried for ever, told once, no more."""

from __future__ import annotations

import asyncio
import logging

import pytest

from invoker.io.kafka.link import Trouble
from tests.support.kafka_peers import Controller, controller, node, quick, until
from tests.support.kafka_server import Broker

pytestmark = [pytest.mark.docker, pytest.mark.contract("5")]

OURS = "invoker.io.kafka.link"


def told(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    """The log's lines about Kafka with this text."""
    return [record.getMessage() for record in caplog.records if record.name == OURS and text in record.getMessage()]


async def in_thread(work: object) -> None:
    """Docker's command beside the loop."""
    assert callable(work)
    await asyncio.to_thread(work)


async def heard(peer: Controller, count: int) -> None:
    """`count` more activations go to and fro."""
    for _ in range(count):
        assert (await peer.ask())["isSystemError"] is False


async def test_a_broker_away_at_the_start_is_found_when_it_comes(
    own_kafka: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await in_thread(own_kafka.stop)
    settings = quick(own_kafka.bootstrap)
    async with node(settings) as invoker:
        await until(lambda: invoker.troubles.count("topic") >= 3, "it is tried again")
        assert len(told(caplog, "trying again until it works")) == 1
        await in_thread(own_kafka.start)
        await until(lambda: "reading" in repr(invoker.consumer), "the topic is read")
        async with controller(own_kafka.bootstrap, settings) as peer:
            await heard(peer, 3)
        assert len(told(caplog, "is back after")) == 1
        assert not [record for record in caplog.records if record.name.startswith("aiokafka")]


async def test_a_broker_that_crashes_under_load_loses_nothing_of_what_was_taken(
    own_kafka: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """The acknowledgements of what ran meanwhile are delivered when it is back."""
    caplog.set_level(logging.INFO)
    settings = quick(own_kafka.bootstrap)
    async with controller(own_kafka.bootstrap, settings) as peer, node(settings, delivery="at-least-once") as invoker:
        await heard(peer, 1)
        sent = [await peer.send(blocking=False) for _ in range(200)]
        await in_thread(own_kafka.stop)
        await until(lambda: bool(invoker.troubles), "the trouble is noticed")
        await in_thread(own_kafka.start)
        await peer.until_answered(*sent)
        await heard(peer, 3)
        await until(lambda: invoker.intake.in_flight == 0, "all is through")
        began, over = told(caplog, "trying again until it works"), told(caplog, "is back after")
        assert 1 <= len(began) <= 2  # the topic's trouble, and perhaps the acknowledgements'
        assert len(over) == len(began)
        assert len(invoker.troubles) >= len(began)


async def test_a_frozen_broker_is_noticed_and_the_rest_of_the_invoker_goes_on(
    own_kafka: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = quick(own_kafka.bootstrap)
    async with controller(own_kafka.bootstrap, settings) as peer, node(settings) as invoker:
        await heard(peer, 1)
        await in_thread(own_kafka.pause)
        try:
            await until(lambda: "topic" in invoker.troubles, "the silence is noticed")
            assert (await invoker.body.invoke(content={"x": 1}))["response"]["result"] == {"x": 1}
        finally:
            await in_thread(own_kafka.unpause)
        await heard(peer, 3)


async def test_a_deleted_topic_is_made_again_as_it_was(kafka: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = quick(kafka.bootstrap)
    async with (
        controller(kafka.bootstrap, settings) as peer,
        node(settings, delivery="at-least-once") as invoker,
    ):
        await heard(peer, 3)
        await peer.admin.delete_topics([settings.topic])
        await until(lambda: told(caplog, "is gone") and told(caplog, "is back after"), "the topic is made again")
        await heard(peer, 2)
        assert (await peer.settings_of(settings.topic))["retention.ms"] == str(48 * 3600 * 1000)
        assert "reading at 2" in repr(invoker.consumer)


async def test_stopping_does_not_wait_for_a_broker_that_is_away(own_kafka: Broker) -> None:
    settings = quick(own_kafka.bootstrap)
    async with asyncio.timeout(30), node(settings) as invoker:
        await in_thread(own_kafka.stop)
        await until(lambda: bool(invoker.troubles), "the trouble is noticed")


def test_trouble_is_told_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    counted: list[None] = []
    trouble = Trouble("the topic can't be read", "kafka:9092", lambda: counted.append(None))
    for _ in range(2):
        for _ in range(3):
            trouble.met(OSError("no route"))
        assert trouble
        trouble.over()
        trouble.over()
    assert len(counted) == 6
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2

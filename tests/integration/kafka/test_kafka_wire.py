"""With a real broker: the topic, where reading begins, what is committed, what comes back, what is measured."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition  # pyright: ignore[reportMissingTypeStubs]

from invoker.errors import PlatformFault
from invoker.io.kafka.consumer import KafkaConsumer
from invoker.io.kafka.producer import KafkaProducer
from invoker.io.kafka.settings import AnswerTooLarge
from invoker.io.kafka.topic import ensure_topic
from tests.support.kafka_peers import controller, node, quick, until
from tests.support.kafka_server import Broker

pytestmark = pytest.mark.docker

MIB = 1024 * 1024


async def committed(broker: Broker, topic: str) -> int | None:
    """What the invoker's group has committed."""
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        return await consumer.committed(TopicPartition(topic, 0))
    finally:
        await consumer.stop()


@pytest.mark.contract("5")
async def test_the_topic_is_made_as_the_contract_says_and_found_the_second_time(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap)
    async with controller(kafka.bootstrap, settings) as peer:
        found: dict[str, str] = {}
        for _ in range(2):
            async with node(settings):
                found = await peer.settings_of(settings.topic)
        wanted = {
            "max.message.bytes": 2 * MIB,
            "segment.bytes": 512 * MIB,
            "retention.bytes": 1024 * MIB,
            "retention.ms": 48 * 3600 * 1000,
        }
        assert {name: int(found[name]) for name in wanted} == wanted
        (described,) = await peer.admin.describe_topics([settings.topic])
        (partition,) = described["partitions"]
        assert len(partition["replicas"]) == 1


@pytest.mark.contract("5", "6")
async def test_messages_are_run_committed_and_acknowledged(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap)
    async with controller(kafka.bootstrap, settings) as peer, node(settings) as invoker:
        told = await peer.ask(content={"x": 1}, transid=["t", 1_700_000_000_000], blocking=False)
        assert told["transid"] == ["t", 1_700_000_000_000]
        assert told["invoker"] == {"instance": settings.instance, "userMemory": "0 g"}
        assert told["instance"]["instance"] == settings.instance
        blocking = await peer.ask(content={"x": 1})
        assert blocking["response"]["response"] == {"result": {"x": 1}, "statusCode": 0, "size": 8}
        assert await committed(kafka, settings.topic) == 2
        assert invoker.consumer.lag == 0
        text = invoker.body.metrics.render().decode()
        assert f'histogram_kafka_topic_start_seconds_count{{topic="{settings.topic}"}} 2.0' in text
        assert f'gauge_kafka_topic_counter{{topic="{settings.topic}"}} 0.0' in text
        assert invoker.troubles == []


@pytest.mark.contract("5")
async def test_reading_begins_at_the_newest_and_goes_on_where_it_ended(kafka: Broker) -> None:
    """What was there before the invoker's first start is none of its business; what comes while it is down is."""
    settings = quick(kafka.bootstrap)
    async with controller(kafka.bootstrap, settings) as peer:
        consumer = KafkaConsumer(settings)
        await ensure_topic(settings)
        old = await peer.send()
        await consumer.connect()
        await consumer.close()
        down = await peer.send()
        async with node(settings):
            await peer.until_answered(down)
        later = await peer.send()
        async with node(settings):
            await peer.until_answered(later)
        assert old not in peer.answered
        assert len(peer.answers) == 2


@pytest.mark.contract("5")
@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
async def test_a_broken_message_is_skipped_and_the_next_is_run(kafka: Broker, delivery: str) -> None:
    settings = quick(kafka.bootstrap)
    async with controller(kafka.bootstrap, settings) as peer, node(settings, delivery=delivery):
        await peer.producer.send_and_wait(settings.topic, b'{"transid": 5')
        await peer.producer.send_and_wait(settings.topic, key=b"k")
        assert (await peer.ask())["isSystemError"] is False
    assert await committed(kafka, settings.topic) == 3


async def test_a_blocking_answer_above_the_topics_limit_is_given_by_its_id(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap)
    async with controller(kafka.bootstrap, settings) as peer, node(settings) as invoker:
        large = await peer.ask(content={"text": "x" * 1_050_000})  # the topic's limit is the broker's own, 1 MiB
        assert large["response"] in peer.answered
        assert f"guest/{large['response']}" in invoker.body.store.records
        assert (await peer.ask())["isSystemError"] is False


async def test_an_answer_is_refused_by_its_size_before_it_is_sent(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap, answer_limit_bytes=1000)
    producer = KafkaProducer(settings)
    with pytest.raises(AnswerTooLarge, match="too many"):
        await producer.send("0", b"x" * 2000)
    await producer.close()
    await producer.close()


async def test_a_controllers_topic_that_never_comes_is_given_up_and_named(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap, absent_topic_s=0.5)
    producer = KafkaProducer(settings)
    with pytest.raises(PlatformFault, match="completednobody is not there"):
        await producer.send("nobody", b"{}")
    with pytest.raises(PlatformFault, match="completedno/body"):
        await producer.send("no/body", b"{}")
    await producer.close()


async def test_check_tells_what_is_there_and_what_is_wrong(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap)
    consumer = KafkaConsumer(settings)
    assert "reachable" in await consumer.check()
    nobody = KafkaConsumer(quick("127.0.0.1:1", request_timeout_ms=500))
    with pytest.raises(PlatformFault, match="KAFKA_HOSTS"):
        await nobody.check()


async def test_five_hundred_at_once_are_all_answered_and_waiting_stays_bounded(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap)
    async with controller(kafka.bootstrap, settings) as peer, node(settings) as invoker:
        sent = [await peer.send(blocking=number % 2 == 0) for number in range(500)]
        await peer.until_answered(*sent)
        assert len(peer.answers) == 500
        await until(lambda: invoker.intake.in_flight == 0, "all is through")
        assert json.dumps(peer.answers[0])

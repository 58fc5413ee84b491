"""Upstream's controllers: pings, enable and disable, and the test action, through a real container."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.admin import NewTopic  # pyright: ignore[reportMissingTypeStubs]

from invoker.io.admin_api import AdminApi
from invoker.io.http.server import Router
from invoker.io.kafka.health import TOPIC, HealthPings
from invoker.io.kafka.producer import KafkaProducer
from tests.support.kafka_peers import controller, quick, until
from tests.support.kafka_server import Broker
from tests.support.raw_http import post, serving

pytestmark = [pytest.mark.docker, pytest.mark.contract("3")]


@asynccontextmanager
async def listening(broker: Broker, instance: int) -> AsyncGenerator[list[dict[str, Any]]]:
    """The pings of one invoker, as they come."""
    pings: list[dict[str, Any]] = []
    consumer: Any = AIOKafkaConsumer(TOPIC, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")

    async def listen() -> None:
        async for record in consumer:
            ping = msgspec.json.decode(record.value)
            if ping["name"]["instance"] == instance:
                pings.append(ping)

    await consumer.start()
    task = asyncio.create_task(listen())
    try:
        yield pings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


async def test_pings_come_until_it_is_disabled_and_again_when_it_is_enabled(kafka: Broker) -> None:
    settings = quick(kafka.bootstrap)
    producer = KafkaProducer(settings)
    pings = HealthPings(producer, settings.instance, 1 << 30, every_s=0.05)
    api = AdminApi(settings.instance, pings.switch)
    router = Router()
    api.register(router)
    async with controller(kafka.bootstrap, settings) as peer:
        await peer.admin.create_topics([NewTopic(TOPIC, 1, 1)])  # as a controller does
        await pings.open()
        async with listening(kafka, settings.instance) as heard, serving(router) as served, served.peer() as operator:
            await until(lambda: len(heard) >= 3, "pings come")
            assert heard[0] == {
                "name": {
                    "instance": settings.instance,
                    "userMemory": f"{1 << 30} B",
                    "instanceType": "invoker",
                    "tags": [],
                    "dedicatedNamespaces": [],
                },
                "isEnabled": True,
            }
            name = f"invoker{settings.instance}"
            answer = await operator.ask(post(b"", "/disable"))
            assert (answer.status, answer.body.decode()) == (200, f"{name} is now disabled.")
            answer = await operator.ask(b"GET /isEnabled HTTP/1.1\r\nHost: test\r\n\r\n")
            assert answer.body == b'{"enabled":false}'
            assert (await operator.ask(post(b"", "/disable"))).body.decode() == f"{name} is already disabled."
            await until(lambda: heard[-1]["isEnabled"] is False, "the last ping says so")
            count = len(heard)
            await producer.publish(TOPIC, msgspec.json.encode({"name": {"instance": settings.instance}}))
            await until(lambda: len(heard) == count + 1, "what comes after it is this test's own")
            assert "isEnabled" not in heard[-1]
            assert (await operator.ask(post(b"", "/enable"))).body.decode() == f"{name} is now enabled."
            await until(lambda: heard[-1].get("isEnabled") is True, "pings come again")
        await pings.close()
        await pings.close()
    await producer.close()


async def test_pings_that_fail_are_told_once_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    tries = itertools.count()

    class Nowhere(KafkaProducer):
        async def publish(self, topic: str, value: bytes) -> None:
            next(tries)
            await super().publish(topic, value)

    producer = Nowhere(quick("127.0.0.1:1", request_timeout_ms=300))
    pings = HealthPings(producer, 0, 1 << 30, every_s=0.01)
    await pings.open()
    await until(lambda: next(tries) > 6, "it is tried again")
    await pings.switch(enabled=False)
    await pings.close()
    await producer.close()
    assert len([record for record in caplog.records if "pings don't get through" in record.getMessage()]) == 1

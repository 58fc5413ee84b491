"""Both sides of Kafka for tests: an invoker's body that reads a topic, and a controller that sends and listens."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # pyright: ignore[reportMissingTypeStubs]

from invoker.io.kafka.consumer import KafkaConsumer
from invoker.io.kafka.producer import KafkaProducer
from invoker.io.kafka.settings import DeliverySettings, KafkaSettings
from invoker.kafka_intake import KafkaIntake
from invoker.protocol.secrets import KeyRing
from tests.support.body import Body, document
from tests.support.kafka_certificates import Certificates
from tests.support.node import message

WAIT_S = 60.0
_instances = itertools.count(os.getpid() * 1000)


async def until(true: Callable[[], object], what: str) -> None:
    """Wait, with a bound, for what no event tells."""
    give_up_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < give_up_s, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(0.02)


def quick(bootstrap: str, **changes: Any) -> KafkaSettings:
    """Settings of an invoker of its own number, that notices trouble sooner than the default does."""
    given: dict[str, Any] = {
        "hosts": (bootstrap,),
        "instance": next(_instances),
        "tls": False,
        "probe_every_s": 0.3,
        "request_timeout_ms": 2000,
        "backoff_max_s": 0.5,
    }
    return KafkaSettings(**(given | changes))


def secured(port: int, certificates: Certificates, **changes: Any) -> KafkaSettings:
    """As the default is: TLS, the cluster's authority, the server's name; the address connected to bears no name."""
    given: dict[str, Any] = {"tls": True, "authority": certificates.authority}
    return quick(f"127.0.0.1:{port}", **(given | changes))


class Node:
    """An invoker with containers that answer at once."""

    def __init__(self, body: Body, consumer: KafkaConsumer, producer: KafkaProducer, intake: KafkaIntake) -> None:
        self.body, self.consumer, self.producer, self.intake = body, consumer, producer, intake
        self.troubles: list[str] = []


@asynccontextmanager
async def node(settings: KafkaSettings, given: Body | None = None, **delivery: Any) -> AsyncGenerator[Node]:
    """Reads from the moment it is entered; with containers in memory where no body is given."""
    async with given or Body(instance=settings.instance) as body:
        body.store.actions["guest", "act"] = document()
        troubles: list[str] = []
        consumer = KafkaConsumer(settings, lambda: troubles.append("topic"))
        producer = KafkaProducer(settings, lambda: troubles.append("acknowledgements"))
        intake = KafkaIntake(
            DeliverySettings(**delivery),
            settings.topic,
            consumer,
            producer,
            body.runner,
            KeyRing(),
            body.clock,
            body.metrics,
            waiting=lambda: len(body.pool.waiting),
            running=lambda: len(body.pool.placed),
        )
        body.driver._hold_intake = intake.hold  # pyright: ignore[reportPrivateUsage] - as given at its making
        made = Node(body, consumer, producer, intake)
        made.troubles = troubles
        await producer.open()
        await intake.open()
        try:
            yield made
        finally:
            await intake.finished()
            await intake.close()
            await consumer.close()
            await producer.close()


class Controller:
    """Sends activations to an invoker's topic, and keeps what comes back on its own."""

    def __init__(self, bootstrap: str, settings: KafkaSettings) -> None:
        self.name = f"{settings.instance}"
        self.completed = f"completed{self.name}"
        self.invoker = settings.topic
        self.answers: list[dict[str, Any]] = []
        self.admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self.producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=2 << 20)
        self._consumer: Any = AIOKafkaConsumer(
            self.completed, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        )

    @property
    def answered(self) -> set[str]:
        """The ids of the activations that were acknowledged."""
        return {
            response if isinstance(response := answer["response"], str) else response["activationId"]
            for answer in self.answers
        }

    async def send(
        self, activation: str | None = None, content: Any = None, *, without_content: bool = False, **how: Any
    ) -> str:
        """One activation; its id."""
        activation = activation or uuid.uuid4().hex
        how.setdefault("rootControllerIndex", {"asString": self.name})
        text = message("act", None if without_content else content or {}, activation=activation, **how)
        await self.producer.send_and_wait(self.invoker, text)
        return activation

    async def send_fence(self) -> str:
        """An acknowledgement of nobody's on this controller's own topic: once it is heard, all before it was."""
        await self.producer.send_and_wait(self.completed, b'{"response":"fence"}')
        return "fence"

    async def until_answered(self, *activations: str) -> None:
        await until(lambda: self.answered.issuperset(activations), "the activations are acknowledged")

    async def ask(self, **how: Any) -> dict[str, Any]:
        """One activation; its acknowledgement."""
        activation = await self.send(**how)
        await self.until_answered(activation)
        return next(answer for answer in self.answers if activation in json.dumps(answer["response"]))

    async def settings_of(self, topic: str) -> dict[str, str]:
        """What a topic is set to."""
        (reply,) = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for resource in reply.resources for entry in resource[4]}

    async def _listen(self) -> None:
        async for record in self._consumer:
            self.answers.append(msgspec.json.decode(record.value))


@asynccontextmanager
async def controller(bootstrap: str, settings: KafkaSettings) -> AsyncGenerator[Controller]:
    """Its topic is there when it is entered."""
    made = Controller(bootstrap, settings)
    await made.admin.start()
    listening: asyncio.Task[None] | None = None
    try:
        await made.admin.create_topics([NewTopic(made.completed, 1, 1)])
        await made.producer.start()
        await made._consumer.start()  # pyright: ignore[reportPrivateUsage]
        listening = asyncio.create_task(made._listen())  # pyright: ignore[reportPrivateUsage]
        yield made
    finally:
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        await made.producer.stop()
        await made._consumer.stop()  # pyright: ignore[reportPrivateUsage]
        await made.admin.close()

"""◆ Kafka as a controller uses it: sends to `invokerN`, reads `completedN` and `health` (contract, section 5).

Both topics are read from their newest message on: what was acknowledged before this controller began is of no use to
it. While the brokers are away the reading goes on trying, and sending fails: the activation's sender decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.errors import (  # pyright: ignore[reportMissingTypeStubs]
    InvalidTopicError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from invoker.errors import PlatformFault
from invoker.io.kafka.link import FAILURES, Backoff, Trouble, client_arguments, quiet_aiokafka, said, stop_client
from invoker.io.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

HEALTH = "health"
HOUR_MS = 3_600_000
TOPIC_SETTINGS = {
    "segment.bytes": str(512 << 20),
    "retention.bytes": str(1 << 30),
    "retention.ms": str(HOUR_MS),
}
COMPLETED_MESSAGE_BYTES = 2 << 20
POLL_MS = 500
RECORDS_AT_A_TIME = 500
NOT_SENT = (InvalidTopicError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError)


class TooLarge(PlatformFault):
    """The message is larger than a topic takes."""


class NotSent(PlatformFault):
    """The topic doesn't have it, and never will."""


class Undecided(PlatformFault):
    """The brokers have not said whether the topic has it."""


class Topics:
    """`completed` is called with each message of this controller's topic, `health` with each ping."""

    def __init__(
        self,
        settings: KafkaSettings,
        name: str,
        completed: Callable[[bytes], object],
        health: Callable[[bytes], object],
    ) -> None:
        self._settings = settings
        self._topic = f"completed{name}"
        self._heard: dict[str, Callable[[bytes], object]] = {self._topic: completed, HEALTH: health}
        self._trouble = Trouble(f"reading topic {self._topic}", settings.where, lambda: None)
        self._producer: Any = None
        self._consumer: Any = None
        self._listening: asyncio.Task[None] | None = None
        quiet_aiokafka()

    async def open(self) -> None:
        """Make the topics where they are missing, and listen. Raises PlatformFault where no broker answers."""
        settings = self._settings
        arguments: dict[str, Any] = client_arguments(settings) | {"client_id": self._topic}
        try:
            async with asyncio.timeout(4 * settings.request_timeout_ms / 1000):
                await self._make_topics(arguments)
                self._producer = AIOKafkaProducer(
                    **arguments, acks="all", linger_ms=0, max_request_size=settings.answer_limit_bytes
                )
                await self._producer.start()
                self._consumer = AIOKafkaConsumer(
                    **arguments,
                    enable_auto_commit=False,
                    auto_offset_reset="latest",
                    fetch_max_wait_ms=settings.fetch_wait_ms,
                    max_partition_fetch_bytes=2 * COMPLETED_MESSAGE_BYTES,
                )
                await self._consumer.start()
                partitions = [TopicPartition(topic, 0) for topic in self._heard]
                self._consumer.assign(partitions)
                await self._consumer.seek_to_end(*partitions)
        except FAILURES as problem:
            await self.close()
            raise PlatformFault(
                f"Kafka at {settings.where} can't be used: {said(problem)}; see that the brokers run and KAFKA_HOSTS "
                "names them"
            ) from problem
        except BaseException:
            await self.close()
            raise
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name=f"listening to {self._topic}")

    async def close(self) -> None:
        """Listen no more. Twice is once."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        for client in (self._consumer, self._producer):
            if client is not None:
                await stop_client(client, self._settings.close_timeout_s)
        self._consumer = self._producer = None

    async def send(self, instance: int, message: bytes) -> None:
        """Put a message into `invokerN`; returns with the brokers' word. Raises TooLarge, NotSent or Undecided."""
        topic, producer = f"invoker{instance}", self._producer
        if producer is None:
            raise NotSent("the controller is not open")
        try:
            async with asyncio.timeout(2 * self._settings.request_timeout_ms / 1000):
                await producer.send_and_wait(topic, message)
        except MessageSizeTooLargeError as problem:
            raise TooLarge(f"{len(message)} bytes are more than topic {topic} takes") from problem
        except NOT_SENT as problem:
            raise NotSent(f"topic {topic} can't be written to ({said(problem)}): did its invoker ever start?") from (
                problem
            )
        except FAILURES as problem:
            raise Undecided(f"Kafka has not said whether topic {topic} has the message: {said(problem)}") from problem

    async def _make_topics(self, arguments: dict[str, Any]) -> None:
        admin: Any = AIOKafkaAdminClient(**arguments)
        completed = TOPIC_SETTINGS | {"max.message.bytes": str(COMPLETED_MESSAGE_BYTES)}
        wanted = [
            NewTopic(self._topic, 1, 1, topic_configs=completed),
            NewTopic(HEALTH, 1, 1, topic_configs=TOPIC_SETTINGS),
        ]
        try:
            await admin.start()
            reply = await admin.create_topics(wanted)
            for _topic, code, *message in reply.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise for_code(code)(*message)
        finally:
            await admin.close()

    async def _listen(self) -> None:
        """For ever. A message that can't be used is told and skipped: the next one may be all right."""
        settings = self._settings
        backoff = Backoff(settings.backoff_min_s, settings.backoff_max_s)
        while True:
            try:
                found = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_AT_A_TIME)
            except FAILURES as problem:
                self._trouble.met(problem)
                await backoff.wait()
                continue
            if found:
                self._trouble.over()
                backoff.reset()
            for partition, records in found.items():
                for record in records:
                    try:
                        self._heard[partition.topic](record.value or b"")
                    except PlatformFault as fault:
                        log.warning("a message of topic %s is skipped: %s", partition.topic, fault)

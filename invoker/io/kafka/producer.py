"""◆ Sends acknowledgements to the controllers' topics (contract, sections 5 and 6), and the health pings.

Each is sent at once; what comes while a request to the same broker is under way shares the next one. The broker's word
is awaited from all replicas, for a lost acknowledgement keeps a controller's slot taken until it gives up. One whose
fate is unknown is sent again: a controller ignores the second copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.errors import (  # pyright: ignore[reportMissingTypeStubs]
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from invoker.errors import PlatformFault
from invoker.io.kafka.link import (
    FAILURES,
    Backoff,
    Trouble,
    client_arguments,
    fault,
    foreign,
    quiet_aiokafka,
    said,
    stop_client,
)
from invoker.io.kafka.settings import AnswerTooLarge, KafkaSettings

NEVER = (InvalidTopicError, TopicAuthorizationFailedError)
TOPIC_PREFIX = "completed"


class KafkaProducer:
    """The acknowledgements' sink (port AckSink). `on_trouble` is called for each failed attempt."""

    def __init__(self, settings: KafkaSettings, on_trouble: Callable[[], object] = lambda: None) -> None:
        self._settings = settings
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._trouble = Trouble("acknowledging", settings.where, on_trouble)
        self._closed = False
        quiet_aiokafka()

    def __repr__(self) -> str:
        return f"<KafkaProducer {self._settings.where} {'in trouble' if self._trouble else 'well'}>"

    async def open(self) -> None:
        """Connect ahead of the first acknowledgement, where the brokers are there; else the first one does it."""
        with suppress(*FAILURES):
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                await self._connected()

    async def send(self, controller: str, completion: bytes) -> None:
        """As AckSink. Raises AnswerTooLarge, or PlatformFault where the topic can't be written to, or is not there for
        `absent_topic_s` though the brokers are."""
        topic = TOPIC_PREFIX + controller
        if len(completion) > self._settings.answer_limit_bytes:  # no need to ask anybody
            raise AnswerTooLarge(f"{len(completion)} bytes are too many for topic {topic}")
        backoff = Backoff(self._settings.backoff_min_s, self._settings.backoff_max_s)
        absent_since_s: float | None = None
        while not self._closed:
            client = self._client
            try:
                await (client or await self._connected()).send_and_wait(topic, completion)
            except MessageSizeTooLargeError as error:
                raise AnswerTooLarge(f"{len(completion)} bytes are too many for topic {topic}") from error
            except NEVER as error:
                raise fault(f"acknowledging to topic {topic}", self._settings, error) from error
            except (*FAILURES, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not foreign(error):
                    raise
                if isinstance(error, UnknownTopicOrPartitionError) and await self._answers(client):
                    absent_since_s = absent_since_s or time.monotonic()
                    if time.monotonic() - absent_since_s >= self._settings.absent_topic_s:
                        raise PlatformFault(f"topic {topic} is not there; its controller has to make it") from error
                else:
                    absent_since_s = None
                    self._trouble.met(error)
                    await self._renounce(client)
                await backoff.wait()
            else:
                self._trouble.over()
                return
        raise PlatformFault(f"an acknowledgement to topic {topic} was given up: the invoker is stopping")

    async def publish(self, topic: str, value: bytes) -> None:
        """One attempt. Raises PlatformFault."""
        client = self._client
        try:
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                await (client or await self._connected()).send_and_wait(topic, value)
        except (*FAILURES, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not foreign(error):
                raise
            if isinstance(error, KafkaError) and isinstance(error, (*NEVER, UnknownTopicOrPartitionError)):
                raise fault(f"writing to topic {topic}", self._settings, error) from error
            await self._renounce(client)
            raise PlatformFault(f"topic {topic} at Kafka ({self._settings.where}): {said(error)}") from error

    async def close(self) -> None:
        """Disconnect; what was not delivered is given up. Twice is once."""
        self._closed = True
        await self._renounce(self._client)

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                settings = self._settings
                client: Any = AIOKafkaProducer(
                    **client_arguments(settings),
                    acks="all",
                    linger_ms=0,
                    max_request_size=settings.answer_limit_bytes,
                )
                try:
                    await client.start()
                except BaseException:
                    await self._stop(client)
                    raise
                if self._closed:
                    await self._stop(client)
                    raise PlatformFault("the connection to Kafka is closed; nothing more is sent")
                self._client = client
            return self._client

    async def _answers(self, client: Any) -> bool:
        """Whether the brokers are there; without them aiokafka takes each topic it hasn't seen yet for missing."""
        client = client or self._client
        try:
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                await client.client.fetch_all_metadata()
        except FAILURES:
            return False
        return True

    async def _renounce(self, client: Any) -> None:
        """This client is of no use any more; the next attempt begins with the bootstrap servers."""
        if client is not None and client is self._client:
            self._client = None
            await self._stop(client)

    async def _stop(self, client: Any) -> None:
        await stop_client(client, self._settings.close_timeout_s)

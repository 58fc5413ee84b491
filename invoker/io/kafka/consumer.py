"""◆ Reads the invoker's own topic, and keeps at it whatever happens to the brokers (contract, section 5).

The partition is assigned, not subscribed to: one topic, one partition, one reader leave a group's membership nothing to
decide, and a join costs seconds at each start. Offsets are still committed under the group's name, where the
reference's invoker looks for them, too.

Nothing is read ahead: aiokafka holds what one fetch brought, at most `record_limit_bytes`, and only what the caller
asks for leaves it. What the caller doesn't ask for stays uncommitted, and the next fetch waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.errors import (  # pyright: ignore[reportMissingTypeStubs]
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)

from invoker.errors import SettingsError
from invoker.io.kafka.link import (
    FAILURES,
    Backoff,
    Trouble,
    client_arguments,
    fault,
    foreign,
    quiet_aiokafka,
    stop_client,
)
from invoker.io.kafka.settings import KafkaSettings
from invoker.io.kafka.topic import ensure_topic

log = logging.getLogger(__name__)


class KafkaRecord(msgspec.Struct, frozen=True):
    """One message of the topic. `life` tells one life of the topic from the next, in which offsets begin anew."""

    offset: int
    value: bytes
    timestamp_ms: int
    life: int


class KafkaConsumer:
    """Reads and commits. While the brokers are away its calls wait; they raise nothing of it.

    `on_trouble` is called for each failed attempt. Calls may overlap: one reads, another commits.
    """

    def __init__(self, settings: KafkaSettings, on_trouble: Callable[[], object] = lambda: None) -> None:
        self._settings = settings
        self._partition = TopicPartition(settings.topic, 0)
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._trouble = Trouble(f"reading topic {settings.topic}", settings.where, on_trouble)
        self._probed_s = 0.0
        self._position: int | None = None
        self._life = 0
        self._end = 0
        self._closed = False
        quiet_aiokafka()

    def __repr__(self) -> str:
        state = "in trouble" if self._trouble else "reading" if self._client is not None else "not connected"
        return f"<KafkaConsumer {self._settings.topic} {state} at {self._position}>"

    @property
    def lag(self) -> int:
        """Messages of the topic that were not read yet, as far as is known."""
        return max(0, self._end - (self._position or 0))

    async def connect(self) -> None:
        """Be ready to read, sooner or later: the topic stands, the position is settled and committed."""
        await self._persist(self._connected)

    async def read(self, max_records: int, wait_s: float) -> list[KafkaRecord]:
        """Up to `max_records` messages; none where none came within `wait_s`. Cancelled, it loses nothing."""
        return await self._persist(lambda: self._read(max_records, wait_s))

    async def commit(self, offset: int, life: int) -> None:
        """Everything before `offset` is done with. Of a former life of the topic there is nothing to commit."""
        await self._persist(lambda: self._commit(offset, life))

    async def probe(self) -> None:
        """Ask how far the topic goes, once in a while: for `lag`, and to learn that nobody answers."""
        await self._persist(self._probe)

    async def check(self) -> str:
        """Try to connect once. Raises PlatformFault."""
        client = await self._made()
        try:
            async with asyncio.timeout(2 * self._settings.request_timeout_ms / 1000):
                await client.start()
                topics = await client.topics()
        except FAILURES as error:
            raise fault("connecting", self._settings, error) from error
        finally:
            await self._stop(client)
        state = "stands" if self._settings.topic in topics else "will be made"
        return f"reachable at {self._settings.where}; topic {self._settings.topic} {state}"

    async def close(self) -> None:
        """Disconnect. Twice is once."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await self._stop(client)

    # --- one attempt each ---------------------------------------------------------------------------------------

    async def _persist(self, attempt: Callable[[], Any]) -> Any:
        """Try until it works; what failed is disconnected: the next attempt begins with the bootstrap servers."""
        backoff = Backoff(self._settings.backoff_min_s, self._settings.backoff_max_s)
        while True:
            client = self._client
            try:
                result = await attempt()
            except (*FAILURES, SettingsError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and not foreign(error):
                    raise
                if self._closed:
                    raise fault("reading", self._settings, error) from error
                self._trouble.met(error)
                if client is not None and client is self._client:
                    self._client = None
                    await self._stop(client)
                await backoff.wait()
            else:
                self._trouble.over()
                return result

    async def _connected(self) -> Any:
        """The client, connected now where it wasn't."""
        async with self._connecting:
            if self._client is None:
                await ensure_topic(self._settings)
                client = await self._made()
                try:
                    await client.start()
                    client.assign([self._partition])
                    async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                        await self._settle(client)
                except BaseException:
                    await self._stop(client)
                    raise
                self._client = client
                self._probed_s = time.monotonic()
            return self._client

    async def _made(self) -> Any:
        settings = self._settings
        return AIOKafkaConsumer(
            **client_arguments(settings),
            group_id=settings.topic,
            enable_auto_commit=False,
            auto_offset_reset="none",  # `_settle` and `_read` know better than any fixed rule
            fetch_min_bytes=1,
            fetch_max_wait_ms=settings.fetch_wait_ms,
            max_partition_fetch_bytes=settings.record_limit_bytes,
        )

    async def _settle(self, client: Any) -> None:
        """Where to read on: after what was read before; else from what is committed; else from the newest, committed at
        once, so that what comes while the invoker is down is found. A topic made anew is read from its beginning."""
        partition = self._partition
        committed = await client.committed(partition)
        if committed is None and self._position is not None:
            self._begin_anew()
        if self._position is None:
            self._position = committed
        if self._position is None:
            self._position = (await client.end_offsets([partition]))[partition]
        client.seek(partition, self._position)
        if committed is None:
            await client.commit({partition: self._position})

    def _begin_anew(self) -> None:
        log.warning("topic %s was made anew: it is read from its beginning", self._settings.topic)
        self._life += 1
        self._position = 0

    async def _read(self, max_records: int, wait_s: float) -> list[KafkaRecord]:
        client, partition = await self._connected(), self._partition
        try:
            found = await client.getmany(partition, timeout_ms=int(wait_s * 1000), max_records=max_records)
        except OffsetOutOfRangeError:
            await self._out_of_range(client)
            return []
        records = found.get(partition)
        if not records:
            await self._probe()
            return []
        self._position = records[-1].offset + 1
        self._end = max(self._position, client.highwater(partition) or 0)
        life = self._life
        return [KafkaRecord(each.offset, each.value or b"", each.timestamp, life) for each in records]

    async def _out_of_range(self, client: Any) -> None:
        """Retention took what was to be read next, or the topic was made anew: the oldest that there is comes next."""
        oldest = (await client.beginning_offsets([self._partition]))[self._partition]
        if self._position is not None and self._position > oldest:
            self._begin_anew()
        log.warning(
            "topic %s: offset %s is not there any more, reading on at %d", self._settings.topic, self._position, oldest
        )
        self._position = oldest
        client.seek(self._partition, oldest)

    async def _commit(self, offset: int, life: int) -> None:
        client = await self._connected()
        if life == self._life:
            async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                await client.commit({self._partition: offset})

    async def _probe(self) -> None:
        """aiokafka retries in silence, for ever; this is what tells that nobody answers, or that the topic is gone."""
        if time.monotonic() - self._probed_s < self._settings.probe_every_s:
            return
        client, partition = await self._connected(), self._partition
        async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
            if partition.topic not in await client.topics():
                raise UnknownTopicOrPartitionError(f"topic {partition.topic} is gone")
            self._end = (await client.end_offsets([partition]))[partition]
        self._probed_s = time.monotonic()

    async def _stop(self, client: Any) -> None:
        await stop_client(client, self._settings.close_timeout_s)

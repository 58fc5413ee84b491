"""◆ Keeps the records of blocking activations: the invoker gives them to the controller, and stores the others itself.

They go to CouchDB in batches beside the answers: nobody waits for them. Until then they can be read here, so that who
has just got an answer finds its record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict

import msgspec

from invoker.errors import PlatformFault
from invoker.io.couchdb.client import CouchClient, segment, told
from invoker.protocol.record import stored_record

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.5
BATCH_BYTES_MAX = 5 << 20
PENDING_BYTES_MAX = 256 << 20
CLOSE_LIMIT_S = 10.0
STORED = (201, 202)
CONFLICT = "conflict"  # a batch whose answer got lost was stored all the same


class RecordWriter:
    """Takes records and stores them; `dropped` counts those that found no room while CouchDB was away."""

    def __init__(self, client: CouchClient, database: str) -> None:
        self._client = client
        self._path = f"{segment(database)}/_bulk_docs"
        self._pending: OrderedDict[str, bytes] = OrderedDict()
        self._pending_bytes = 0
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def open(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._write(), name="records to CouchDB")

    async def close(self) -> None:
        """Write what is there, as far as CouchDB lets it within ten seconds, and end. Twice is once."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                while self._pending:
                    await self._flush()
        except (TimeoutError, PlatformFault) as problem:
            log.warning("%d records of blocking activations are lost: %s", len(self._pending), problem)

    def keep(self, namespace: str, activation: str, record: bytes) -> None:
        """A record that is to be stored. The oldest ones go where there are too many."""
        document = f"{namespace}/{activation}"
        self._pending[document] = record
        self._pending_bytes += len(record)
        while self._pending_bytes > PENDING_BYTES_MAX:
            self._pending_bytes -= len(self._pending.popitem(last=False)[1])
            self.dropped += 1
        self._work.set()

    def pending(self, namespace: str, activation: str) -> bytes | None:
        """A record that is not stored yet."""
        return self._pending.get(f"{namespace}/{activation}")

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                while self._pending:
                    await self._flush()
                self._work.clear()
            except PlatformFault as problem:
                log.warning("records of blocking activations wait: %s", problem)

    async def _flush(self) -> None:
        """One batch. A record that is refused by itself is told: it would be refused again. Raises PlatformFault."""
        batch: dict[str, bytes] = {}
        size = 0
        for document, record in self._pending.items():
            if batch and size + len(record) > BATCH_BYTES_MAX:
                break
            batch[document] = record
            size += len(record)
        now_ms = time.time_ns() // 1_000_000
        documents = b",".join([stored_record(record, document, now_ms) for document, record in batch.items()])
        answer = await self._client.write(self._path, b'{"docs":[%b]}' % documents)
        if answer.status not in STORED:
            raise PlatformFault(told(answer, "storing records"))
        for row in msgspec.json.decode(answer.body, type=list[dict[str, object]]):
            if row.get("error", CONFLICT) != CONFLICT:
                log.warning("the record %s is not stored: %s", row.get("id"), row.get("reason"))
        for document in batch:
            record = self._pending.pop(document, None)
            self._pending_bytes -= len(record or b"")

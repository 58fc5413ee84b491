"""◆ Activation records on their way to CouchDB: to the spool on disk, from there in batches (contract, section 8).

The original keeps a batch in memory for 3 s and drops it when it could not be sent for 2 min; a kill -9 or an outage
loses records that callers were told of. Here `put` returns when the record is in the spool, and a record leaves the
spool when CouchDB has confirmed it. Sent twice is no harm: the `_id` is the activation's, and a conflict says that it
is there.

There is one sender. It reads from the disk what it sends, so memory holds one batch whatever the backlog, and a record
takes the same way on a good day as after an outage or a crash. It tries for ever, 5 s apart at most. A batch that
CouchDB refuses as a whole is split until the bad record stands alone; that one is set aside, in the spool's
`rejected.jsonl`. So is one that makes CouchDB answer 500 each time while it writes others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from invoker.errors import PlatformFault
from invoker.io.couchdb.client import Answer, CouchClient, segment, told
from invoker.io.couchdb.pace import LONGEST_WAIT_S, Pace, RealPace, waits_s
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.io.spool.settings import SpoolSettings
from invoker.io.spool.spool import Spool, Told
from invoker.io.spool.thread import SpoolGroup, SpoolThread
from invoker.protocol.record import stored_record

log = logging.getLogger(__name__)

DIRECT_MAX = 64
"""Records that may be on their way around a spool that can't be written."""
BODY_OVERHEAD_BYTES = 16  # of `{"docs":[` and `]}`; a frame's head in the spool outweighs the comma
CLOSE_LIMIT_S = 10.0
MOMENTARY_TRIES = 10  # for a record that the answer calls failed for a moment; then it is set aside
STUMBLES_MAX = 10  # answers of 500 to one body before it is asked whose fault that is
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024

WRITTEN = frozenset({201, 202})
BAD_REQUEST, TOO_LARGE = 400, 413
"""What is wrong with one record makes CouchDB refuse the whole body: no JSON to it, or too large."""
STUMBLED = 500
"""CouchDB is ill, or a record makes it stumble each time. It is a record where CouchDB writes others meanwhile."""
ALREADY_THERE = "conflict"
MOMENTARY = frozenset({"internal_server_error", "timeout", "service_unavailable", "unknown_error"})
"""Errors of one record in an answer that are not the record's."""


class _Entry(msgspec.Struct):
    id: str = ""
    error: str | None = None
    reason: str | None = None


class _Identity(msgspec.Struct):
    id: str = msgspec.field(name="_id", default="")


class _Stopping(Exception):
    """The sender gives up for this life: the rest stays in the spool."""


class _Undecided(Exception):
    """CouchDB answers 500, and nothing tells yet whether that is for a record's sake."""


class CouchRecords:
    """A RecordSink. `put` promises that the record will reach CouchDB, also after a kill -9 and a restart.

    After `close` nothing may be put. `now_ns`: Unix time, for the documents' `updated`.
    """

    def __init__(
        self,
        client: CouchClient,
        settings: CouchDbSettings,
        spool: SpoolSettings,
        metrics: Metrics,
        *,
        pace: Pace | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client = client
        self._settings = settings
        self._path = f"{segment(settings.records_database)}/_bulk_docs"
        self._metrics = metrics
        self._pace = pace or RealPace()
        self._now_ns = now_ns
        self._spool = Spool(spool, Told(self._dropped, self._damaged))
        self._thread: SpoolThread | None = None
        self._group: SpoolGroup | None = None
        self._sender: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._due = asyncio.Event()  # a whole batch waits, or the end has come
        self._closing = asyncio.Event()
        self._closed: asyncio.Task[None] | None = None
        self._direct = 0
        self._trouble: str | None = None  # what was told last of why nothing is sent
        self._disk_fails = False

    @property
    def held_bytes(self) -> int:
        """What lies in the spool, not confirmed."""
        return self._spool.held_bytes

    async def open(self) -> None:
        """Open the spool and begin to send what a former life has left. Raises PlatformFault."""
        thread = SpoolThread()
        try:
            await thread.run(self._spool.open)
        except BaseException:
            await thread.close()
            raise
        self._thread = thread
        self._group = SpoolGroup(thread, self._spool.append, self._written)
        self._show()
        if left := self._spool.held_bytes:
            log.info("%d bytes of records of a former life wait in the spool and are sent now", left)
            self._due.set()
            self._arrived.set()
        self._sender = asyncio.create_task(self._send_all(), name="records to CouchDB")

    async def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Send what can be sent within `limit_s`; the rest stays in the spool for the next life. Twice is once."""
        if self._closed is None:
            self._closed = asyncio.create_task(self._close(limit_s), name="closing records")
        await asyncio.shield(self._closed)

    async def _close(self, limit_s: float) -> None:
        thread, sender, group = self._thread, self._sender, self._group
        if thread is None or sender is None or group is None:
            return
        await group.close()
        for event in (self._closing, self._due, self._arrived):
            event.set()
        await asyncio.wait([sender], timeout=limit_s)
        if not sender.done():
            sender.cancel()
            await asyncio.wait([sender])
        left = self._spool.held_bytes
        if left:
            log.warning("%d bytes of records were not sent: they wait in the spool for the next start", left)
        await thread.run(self._spool.close)
        await thread.close()

    async def put(self, document_id: str, record: bytes, facts: dict[str, object]) -> None:
        """As RecordSink: returns once the record is in the spool. Where the disk fails it goes to CouchDB directly.

        Raises PlatformFault where neither takes it.
        """
        del facts  # the log line's; CouchDB gets the contract's record alone
        document = stored_record(record, document_id, self._now_ns() // 1_000_000)
        if self._group is None:
            raise PlatformFault("the spool of records is not open")
        try:
            await self._group.write(document)
        except PlatformFault as problem:
            await self._around(document, problem)

    # --- the spool ----------------------------------------------------------------------------------------------

    def _written(self) -> None:
        self._show()
        self._arrived.set()
        if self._spool.held_bytes >= self._settings.batch_bytes:
            self._due.set()
        if self._disk_fails:
            self._disk_fails = False
            log.info("records are written to the spool again")

    async def _around(self, document: bytes, problem: PlatformFault) -> None:
        """The disk fails: CouchDB, if it answers, is as good. As many at once as have a name for it."""
        if not self._disk_fails:
            self._disk_fails = True
            log.error("%s; until then records go to CouchDB without it", problem)
        if self._direct >= DIRECT_MAX:
            raise problem
        self._direct += 1
        try:
            answer = await self._client.write(self._path, body_of([document]))
        finally:
            self._direct -= 1
        entries = _entries(answer)
        if answer.status not in WRITTEN or not entries or entries[0].error not in (None, ALREADY_THERE):
            raise PlatformFault(told(answer, "a record around the spool")) from problem

    def _dropped(self, documents: list[bytes]) -> None:
        """The spool is full: tell which records are lost. Called in the spool's thread."""
        self._metrics.spool_dropped.inc(len(documents))
        for document in documents:
            log.error("the spool is full (SPOOL_BYTES): the record %s is dropped", _id(document))

    def _damaged(self, count: int) -> None:
        self._metrics.spool_damaged.inc(count)

    def _show(self) -> None:
        self._metrics.spool_bytes.set(self._spool.held_bytes)

    # --- the sender ---------------------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        """Batch after batch until the end, and then what is left as long as CouchDB takes it."""
        while True:
            try:
                await self._gathered()
                if not await self._send_batch() and self._closing.is_set():
                    return
            except _Stopping:
                return
            except PlatformFault as problem:  # the disk's; CouchDB's are dealt with where they come up
                log.error("%s", problem)
            except Exception:
                log.exception("sending records met a defect of the invoker")
            else:
                continue
            self._arrived.set()
            if await self._pace.wait(self._closing, LONGEST_WAIT_S):
                return

    async def _gathered(self) -> None:
        """Until a batch is due: 3 s after its first record, or when it is full."""
        await self._arrived.wait()
        await self._pace.wait(self._due, self._settings.flush_every_s)

    async def _send_batch(self) -> bool:
        """Send the oldest records; whether there were any. Raises _Stopping."""
        assert self._thread is not None
        self._arrived.clear()  # before the look: what comes meanwhile sets it again
        room_bytes = self._settings.batch_bytes - BODY_OVERHEAD_BYTES
        batch = await self._thread.run(lambda: self._spool.read(room_bytes))
        if batch.records:
            try:
                await self._deliver(batch.records)
            except _Undecided:  # what came meanwhile may tell: all of it is sent next time
                self._arrived.set()
                await self._wait_again(LONGEST_WAIT_S)
                return True
            self._arrived.set()  # there may be more
        await self._thread.run(lambda: self._spool.acknowledge(batch.end))
        self._show()
        if self._closing.is_set():
            self._arrived.set()
        elif self._spool.held_bytes < self._settings.batch_bytes:
            self._due.clear()
        return bool(batch.records)

    async def _deliver(self, documents: list[bytes]) -> None:
        """Until each is in CouchDB or set aside. Raises _Stopping and _Undecided."""
        self._metrics.batch_size.observe(len(documents))
        parts = [documents]
        tries = 0
        others_written = False
        while parts:
            part = parts.pop()
            answer = await self._post(part, 1 if others_written and len(part) > 1 else STUMBLES_MAX)
            if answer.status == STUMBLED and not others_written:
                others_written = await self._writes_one_of(part)
                if not others_written:
                    raise _Undecided
            if answer.status not in WRITTEN:
                if len(part) > 1:  # one of them is bad: halve until it stands alone
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                else:
                    await self._set_aside(part[0], told(answer, "the record"))
                continue
            again = await self._settle(part, answer, last_try=tries >= MOMENTARY_TRIES)
            if again:
                tries += 1
                parts.append(again)
                await self._wait_again(LONGEST_WAIT_S)

    async def _post(self, documents: list[bytes], stumbles_max: int) -> Answer:
        """Send until an answer comes that settles it: written, or refused for what was sent; or so many of 500.
        Raises _Stopping."""
        operation = self._metrics.save_bulk
        body = body_of(documents)
        stumbles = 0
        for wait_s in waits_s():
            operation.start.inc()
            began_s = time.perf_counter()
            answer: Answer | None = None
            try:
                answer = await self._client.once("POST", self._path, body=body, limit_bytes=ANSWER_LIMIT_BYTES)
            except PlatformFault as trouble:
                kind, problem = "no answer", str(trouble)
            else:
                if _settles(answer):
                    self._takes_again()
                    return answer
                kind, problem = str(answer.status), told(answer, "records")
            finally:
                operation.finish.observe(time.perf_counter() - began_s)
            operation.error.inc()
            if answer is not None and answer.status == STUMBLED:
                stumbles += 1
                if stumbles >= stumbles_max:
                    return answer
            self._goes_without(kind, problem)
            await self._wait_again(wait_s)
        raise AssertionError  # the waits have no end

    async def _writes_one_of(self, documents: list[bytes]) -> bool:
        """Whether CouchDB writes the last or the first of several: then it is well, and another makes it stumble."""
        for document in (documents[-1], documents[0]) if len(documents) > 1 else ():
            try:
                answer = await self._client.once(
                    "POST", self._path, body=body_of([document]), limit_bytes=ANSWER_LIMIT_BYTES
                )
            except PlatformFault:
                return False
            if answer.status in WRITTEN and [each.error for each in _entries(answer) or []] == [None]:
                return True  # a conflict proves nothing: it takes no writing
        return False

    async def _settle(self, documents: list[bytes], answer: Answer, *, last_try: bool) -> list[bytes]:
        """Read what CouchDB says of each; those that failed for a moment are returned, to be sent again."""
        entries = _entries(answer) or []
        failed = {each.id: each for each in entries if each.error not in (None, ALREADY_THERE)}
        if not failed and len(entries) == len(documents):
            return []
        named = {each.id for each in entries}
        again: list[bytes] = []
        for document in documents:
            identity = _id(document)
            entry = failed.get(identity)
            if entry is None and identity in named:
                continue
            if not last_try and (entry is None or entry.error in MOMENTARY):
                again.append(document)
            else:
                reason = (
                    f"{entry.error}: {entry.reason}" if entry is not None else "CouchDB doesn't say what came of it"
                )
                await self._set_aside(document, reason)
        return again

    async def _set_aside(self, document: bytes, reason: str) -> None:
        assert self._thread is not None
        self._metrics.records_rejected.inc()
        log.error("the record %s is refused and set aside in the spool's rejected.jsonl: %s", _id(document), reason)
        await self._thread.run(lambda: self._spool.reject(document, reason))

    async def _wait_again(self, wait_s: float) -> None:
        """Wait before the next try; none is made any more once the end has come."""
        self._metrics.couch_retries.inc()
        if await self._pace.wait(self._closing, wait_s):
            raise _Stopping

    def _goes_without(self, kind: str, problem: str) -> None:
        if self._trouble != kind:  # told once, not at each of the tries
            self._trouble = kind
            log.warning("%s; records wait in the spool and are sent later", problem)

    def _takes_again(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.info("CouchDB takes records again")


def body_of(documents: list[bytes]) -> bytes:
    """The body of `_bulk_docs`."""
    return b'{"docs":[%b]}' % b",".join(documents)


def _settles(answer: Answer) -> bool:
    """Whether the answer tells of the records: a proxy's 400 or page of HTML does not, and refuses none of them."""
    if answer.status == TOO_LARGE:
        return True
    if answer.status == BAD_REQUEST:
        return answer.body.lstrip().startswith(b"{") and b'"error"' in answer.body
    return answer.status in WRITTEN and _entries(answer) is not None


def _entries(answer: Answer) -> list[_Entry] | None:
    """What the answer says of each document; None where it is no such answer."""
    try:
        return msgspec.json.decode(answer.body, type=list[_Entry])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _id(document: bytes) -> str:
    """The `_id` of a document of ours."""
    try:
        return msgspec.json.decode(document, type=_Identity).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "without an id that can be read"

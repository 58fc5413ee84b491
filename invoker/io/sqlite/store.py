"""◆ The embedded store: actions and activation records in one SQLite file, for a node without a CouchDB.

What is promised: when `put` returns, the record is committed. With `synchronous="NORMAL"` (the default) a commit in
SQLite's write-ahead log survives the end of this process, kill -9 included; a power cut or a kernel crash may take
the last commits with it, though never damage the file. `synchronous="FULL"` waits for the disk at each commit and
survives those as well; group commit keeps it affordable.

Other processes may use the file at the same time: the command line reads and writes it beside a running invoker.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import aiosqlite
import msgspec

from invoker.errors import ActionNotFound, CallerFault, InvokerError, PlatformFault
from invoker.io.group_commit import GroupCommit
from invoker.io.sqlite import file as sqlite_file
from invoker.io.sqlite.file import Synchronous, faults_named
from invoker.protocol.document import ActionDocument, decode_action
from invoker.protocol.raw_json import decode_masked

PENDING_RECORDS_MAX = 1024
PENDING_BYTES_MAX = 32 * 1_048_576
RECORDS_KEPT_MAX = 100_000
REVISIONS_KEPT_MAX = 10  # of one action, the newest included
LIST_ROWS_MAX = 200
_PRUNE_EVERY_RECORDS = 1000


class ActionConflict(CallerFault):
    """The action was changed since its revision was read, or is there where it must not be."""


class RecordNotFound(CallerFault):
    """No activation record has this id."""


class StoredAction(msgspec.Struct, frozen=True):
    """One revision of an action. `document` is its CouchDB form (contract, section 8), `_id` and `_rev` included."""

    path: str
    name: str
    revision: str
    updated_ms: int
    document: bytes


class StoredRecord(msgspec.Struct, frozen=True):
    """One activation: `record` is the contract's JSON (section 7), `facts` the log line's fields (section 16)."""

    namespace: str
    activation_id: str
    name: str
    start_ms: int
    record: bytes
    facts: bytes


class _RecordHead(msgspec.Struct):
    start: int
    name: str


class _Change:
    """A new revision on its way into the file; `members` None deletes. Its failure is its own, not its group's."""

    def __init__(
        self, path: str, name: str, members: dict[str, msgspec.Raw] | None, expected: str | None, revisions_kept: int
    ) -> None:
        self.path = path
        self.name = name
        self.members = members
        self.expected = expected
        self.revisions_kept = revisions_kept
        self.result: StoredAction | InvokerError | None = None

    def outcome(self) -> StoredAction:
        """What came of it, once its group is committed."""
        if isinstance(self.result, StoredAction):
            return self.result
        raise self.result or PlatformFault(f"action {self.path}/{self.name} was not written")


_RecordRow: TypeAlias = tuple[str, str, str, int, bytes, bytes]  # as _INSERT_RECORD has them
_HEAD = msgspec.json.Decoder(_RecordHead)
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_LATEST = "SELECT max(generation) FROM actions b WHERE b.path = a.path AND b.name = a.name"
_LATEST_REVISION = (
    "SELECT generation, revision, document IS NULL FROM actions WHERE path = ? AND name = ?"
    " ORDER BY generation DESC LIMIT 1"
)
_ACTION = "SELECT path, name, revision, updated_ms, document FROM actions a"
_INSERT_RECORD = (
    "INSERT INTO records (id, namespace, name, start_ms, record, facts) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO NOTHING"
)
_DELETE_OLD_RECORDS = "DELETE FROM records WHERE sequence <= (SELECT max(sequence) FROM records) - ?"
_RECORD = "SELECT id, name, start_ms, record, facts FROM records"


class _Open(msgspec.Struct):
    """Two connections, so that a read neither sees a transaction half done nor waits for it."""

    writer: aiosqlite.Connection
    reader: aiosqlite.Connection
    group: GroupCommit[_RecordRow | _Change]


class SqliteStore:
    """Implements ActionStore and RecordSink of `invoker.ports`, and what a developer's door needs: put, list, delete.

    Use it as `async with SqliteStore(path) as store`, or call `open` and `close`. Every method raises PlatformFault
    where the file fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Synchronous = "NORMAL",
        pending_records_max: int = PENDING_RECORDS_MAX,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        records_kept_max: int = RECORDS_KEPT_MAX,
        migrations: Sequence[str] = sqlite_file.MIGRATIONS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.path = path
        self._synchronous: Synchronous = synchronous
        self._pending_records_max = pending_records_max
        self._pending_bytes_max = pending_bytes_max
        self._records_kept_max = records_kept_max
        self._migrations = migrations
        self._now_ms = now_ms
        self._since_pruned = _PRUNE_EVERY_RECORDS  # an old file is looked at with its first record
        self._open: _Open | None = None

    async def __aenter__(self) -> SqliteStore:
        await self.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the file, making it (and its directory) where there is none."""
        with faults_named(self.path, "the store can't be opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        writer = await sqlite_file.open_file(self.path, self._synchronous, self._migrations)
        try:
            with faults_named(self.path, "the store can't be opened"):
                reader = await sqlite_file.connect(self.path)
        except BaseException:
            await writer.close()
            raise
        group = GroupCommit[_RecordRow | _Change](
            self._commit, items_max=self._pending_records_max, bytes_max=self._pending_bytes_max
        )
        self._open = _Open(writer, reader, group)

    async def close(self) -> None:
        """Write what waits, then close the file. Twice is once."""
        if self._open is None:
            return
        files = self._open
        await files.group.close()
        self._open = None
        with faults_named(self.path, "the store can't be closed"):
            await files.reader.close()
            await files.writer.close()

    # --- activation records -------------------------------------------------------------------------------------

    async def put(self, document_id: str, record: bytes, facts: dict[str, object]) -> None:
        """Keep a record; returns once it is committed (what that is worth: see the module). The first of an id stays.

        Waits while `pending_records_max` records or `pending_bytes_max` bytes are under way.
        """
        namespace, _, activation_id = document_id.rpartition("/")
        try:
            head = decode_masked(_HEAD, record)  # a result may hold half a surrogate pair
            told = msgspec.json.encode(facts)
        except (msgspec.MsgspecError, TypeError, ValueError) as problem:
            raise PlatformFault(f"the activation record {document_id} can't be stored: {problem}") from problem
        if not namespace or not activation_id:
            raise PlatformFault(f"an activation record's id is <namespace>/<activation id>, not {document_id!r}")
        row: _RecordRow = (document_id, namespace, head.name, head.start, record, told)
        await self._files.group.write(row, len(record) + len(told))

    async def record(self, namespace: str, activation_id: str) -> StoredRecord:
        """One record. Raises RecordNotFound."""
        rows = await self._rows(f"{_RECORD} WHERE id = ?", (f"{namespace}/{activation_id}",))
        if not rows:
            raise RecordNotFound(f"no activation {activation_id} in namespace {namespace}")
        return _stored_record(rows[0])

    async def records(
        self,
        namespace: str,
        *,
        limit: int = 30,
        skip: int = 0,
        since_ms: int | None = None,
        upto_ms: int | None = None,
        name: str | None = None,
    ) -> list[StoredRecord]:
        """A namespace's records, newest first, at most LIST_ROWS_MAX.

        `since_ms` and `upto_ms` bound their start, both included.
        """
        where = ["namespace = ?"]
        values: list[object] = [namespace]
        for condition, value in (("start_ms >= ?", since_ms), ("start_ms <= ?", upto_ms), ("name = ?", name)):
            if value is not None:
                where.append(condition)
                values.append(value)
        question = f"{_RECORD} WHERE {' AND '.join(where)} ORDER BY start_ms DESC, sequence DESC LIMIT ? OFFSET ?"
        return [_stored_record(row) for row in await self._rows(question, (*values, min(limit, LIST_ROWS_MAX), skip))]

    # --- actions ------------------------------------------------------------------------------------------------

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        """The action at the revision, its newest where None. Raises ActionNotFound."""
        return decode_action((await self.action(path, name, revision)).document)

    async def action(self, path: str, name: str, revision: str | None = None) -> StoredAction:
        """As `get`, undecoded. A deleted action's last revision can still be read by its revision."""
        if revision is None:
            rows = await self._rows(f"{_ACTION} WHERE path = ? AND name = ? AND generation = ({_LATEST})", (path, name))
        else:
            rows = await self._rows(f"{_ACTION} WHERE path = ? AND name = ? AND revision = ?", (path, name, revision))
        if not rows or rows[0][4] is None:
            at = f" at revision {revision}" if revision else ""
            raise ActionNotFound(f"no action {path}/{name}{at}")
        return StoredAction(*rows[0])

    async def actions(self, namespace: str, *, limit: int = 30, skip: int = 0) -> list[StoredAction]:
        """The newest revision of each action in a namespace and its packages, by name; at most LIST_ROWS_MAX."""
        question = (
            f"{_ACTION} WHERE (path = ? OR substr(path, 1, ?) = ?) AND generation = ({_LATEST})"
            " AND document IS NOT NULL ORDER BY path, name LIMIT ? OFFSET ?"
        )
        within = f"{namespace}/"
        values = (namespace, len(within), within, min(limit, LIST_ROWS_MAX), skip)
        return [StoredAction(*row) for row in await self._rows(question, values)]

    async def put_action(self, path: str, name: str, document: bytes, *, expected: str | None = None) -> StoredAction:
        """Keep `document` (a JSON object) as the action's newest revision. `_id` and `_rev` are set here.

        `expected` is the revision it was made from; None where there must be no action of this name yet. Raises
        ActionConflict where it is another. The REVISIONS_KEPT_MAX newest revisions stay readable by their revision.
        """
        try:
            members = _decode_members(document)
        except msgspec.MsgspecError as problem:
            raise CallerFault(f"the document of action {path}/{name} is no JSON object: {problem}") from problem
        change = _Change(path, name, members, expected, REVISIONS_KEPT_MAX)
        await self._files.group.write(change, len(document))
        return change.outcome()

    async def delete_action(self, path: str, name: str, *, expected: str | None = None) -> None:
        """Delete an action, whatever its revision where `expected` is None. Raises ActionNotFound, ActionConflict."""
        current = await self.action(path, name)
        change = _Change(path, name, None, expected or current.revision, revisions_kept=2)
        await self._files.group.write(change, 0)
        change.outcome()

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _files(self) -> _Open:
        if self._open is None:
            raise PlatformFault(f"the store {self.path} is not open")
        return self._open

    async def _rows(self, question: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        reader = self._files.reader
        with faults_named(self.path, "the store can't be read"):
            async with reader.execute(question, values) as cursor:
                return cast("list[tuple[Any, ...]]", list(await cursor.fetchall()))

    async def _commit(self, group: list[_RecordRow | _Change]) -> None:
        """Write a group: its records in one transaction, each change of an action in one of its own."""
        connection = self._files.writer
        rows = [item for item in group if isinstance(item, tuple)]
        if rows:
            with faults_named(self.path, "activation records can't be stored"):
                await self._insert(connection, rows)
                await self._prune(connection, len(rows))
        for item in group:
            if isinstance(item, _Change):
                try:
                    with faults_named(self.path, f"action {item.path}/{item.name} can't be stored"):
                        async with sqlite_file.transaction(connection):
                            item.result = await self._add_revision(connection, item)
                except InvokerError as problem:
                    item.result = problem

    async def _insert(self, connection: aiosqlite.Connection, rows: list[_RecordRow]) -> None:
        """All or none. A statement alone is a transaction by itself, which spares two turns to the file's thread."""
        if len(rows) == 1:
            await connection.execute(_INSERT_RECORD, rows[0])
            return
        async with sqlite_file.transaction(connection):
            await connection.executemany(_INSERT_RECORD, rows)

    async def _prune(self, connection: aiosqlite.Connection, added: int) -> None:
        """Drop the oldest records past `records_kept_max`, once in a while."""
        self._since_pruned += added
        if self._since_pruned >= _PRUNE_EVERY_RECORDS:
            self._since_pruned = 0
            await connection.execute(_DELETE_OLD_RECORDS, (self._records_kept_max,))

    async def _add_revision(self, connection: aiosqlite.Connection, change: _Change) -> StoredAction:
        at = (change.path, change.name)
        async with connection.execute(_LATEST_REVISION, at) as cursor:
            latest = await cursor.fetchone()
        generation, revision, deleted = latest if latest is not None else (0, "", True)
        if (None if deleted else revision) != change.expected:
            raise ActionConflict(_conflict(change, None if deleted else str(revision)))
        added = _next_revision(change, int(generation) + 1, str(revision), self._now_ms())
        document = None if change.members is None else added.document
        await connection.execute(
            "INSERT INTO actions (path, name, generation, revision, updated_ms, document) VALUES (?, ?, ?, ?, ?, ?)",
            (*at, int(generation) + 1, added.revision, added.updated_ms, document),
        )
        oldest = int(generation) + 1 - change.revisions_kept
        await connection.execute("DELETE FROM actions WHERE path = ? AND name = ? AND generation <= ?", (*at, oldest))
        return added


def _conflict(change: _Change, present: str | None) -> str:
    action = f"action {change.path}/{change.name}"
    if present is None:
        return f"{action} is not there any more: it was at {change.expected} when it was read"
    if change.expected is None:
        return f"{action} exists already, at {present}"
    return f"{action} is at {present} by now, not at {change.expected}: read it again, then change it"


def _next_revision(change: _Change, generation: int, former: str, now_ms: int) -> StoredAction:
    """The revision is `<generation>-<hash>`, the hash over what it was and what it is: same steps, same revision."""
    members = dict(change.members or {"_deleted": msgspec.Raw(b"true")})
    members["_id"] = msgspec.Raw(msgspec.json.encode(f"{change.path}/{change.name}"))
    members.pop("_rev", None)
    digest = hashlib.sha256(former.encode() + b"\0" + msgspec.json.encode(members)).hexdigest()[:32]
    revision = f"{generation}-{digest}"
    document = msgspec.json.encode({"_id": members.pop("_id"), "_rev": revision, **members})
    return StoredAction(change.path, change.name, revision, now_ms, document)


def _stored_record(row: tuple[Any, ...]) -> StoredRecord:
    document_id, name, start_ms, record, facts = row
    namespace, _, activation_id = str(document_id).rpartition("/")
    return StoredRecord(namespace, activation_id, name, start_ms, record, facts)

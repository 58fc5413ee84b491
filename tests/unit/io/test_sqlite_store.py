"""The embedded store: what it promises of records, revisions and its file, kill -9 included."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from invoker.errors import ActionNotFound, CallerFault, PlatformFault
from invoker.io.group_commit import GroupCommit
from invoker.io.sqlite import file as sqlite_file
from invoker.io.sqlite.store import ActionConflict, RecordNotFound, SqliteStore
from invoker.ports import ActionStore, RecordSink

WAIT_MAX_S = 30.0

CODE = {"kind": "python:3", "code": "def main(args): return args", "binary": False}


def record(activation_id: str, start_ms: int = 1, name: str = "hello") -> bytes:
    return msgspec.json.encode({"activationId": activation_id, "name": name, "start": start_ms})


def document(**more: object) -> bytes:
    return msgspec.json.encode({"namespace": "guest", "name": "hello", "version": "0.0.1", "exec": CODE, **more})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "deep" / "invoker.db", now_ms=lambda: 42) as opened:
        yield opened


async def reopened(store: SqliteStore) -> SqliteStore:
    await store.close()
    again = SqliteStore(store.path)
    await again.open()
    return again


# --- activation records ---------------------------------------------------------------------------------------------


async def test_it_is_what_the_ports_ask_for(store: SqliteStore) -> None:
    def takes(_actions: ActionStore, _sink: RecordSink) -> None: ...

    takes(store, store)


async def test_a_record_is_kept_as_it_was_written_with_its_facts(store: SqliteStore) -> None:
    raw = b'{"name":"hello","start":7,"response":{"result":{"n":1e400,"x":8.70},"statusCode":0}}'
    await store.put("guest/a1", raw, {"containerType": "warm", "runTime": 1.5})
    found = await store.record("guest", "a1")
    assert (found.namespace, found.activation_id, found.name, found.start_ms) == ("guest", "a1", "hello", 7)
    assert found.record == raw
    assert msgspec.json.decode(found.facts) == {"containerType": "warm", "runTime": 1.5}


async def test_records_outlive_the_store(store: SqliteStore) -> None:
    await store.put("guest/a1", record("a1"), {})
    again = await reopened(store)
    assert (await again.record("guest", "a1")).record == record("a1")
    await again.close()


async def test_the_first_record_of_an_id_stays(store: SqliteStore) -> None:
    await store.put("guest/a1", record("a1", 1), {})
    await store.put("guest/a1", record("a1", 2), {})
    assert (await store.record("guest", "a1")).start_ms == 1


async def test_a_namespace_lists_its_own_newest_first(store: SqliteStore) -> None:
    for number, start in enumerate((30, 10, 20, 20)):
        await store.put(f"guest/a{number}", record(f"a{number}", start, name="odd" if number % 2 else "even"), {})
    await store.put("other/b", record("b", 99), {})

    async def ids(**how: int | str) -> list[str]:
        return [each.activation_id for each in await store.records("guest", **how)]  # type: ignore[arg-type]

    assert await ids() == ["a0", "a3", "a2", "a1"]
    assert await ids(limit=2) == ["a0", "a3"]
    assert await ids(limit=2, skip=1) == ["a3", "a2"]
    assert await ids(since_ms=20) == ["a0", "a3", "a2"]
    assert await ids(upto_ms=20) == ["a3", "a2", "a1"]
    assert await ids(name="odd") == ["a3", "a1"]


async def test_an_unknown_record_is_not_found(store: SqliteStore) -> None:
    with pytest.raises(RecordNotFound, match="no activation a1 in namespace guest"):
        await store.record("guest", "a1")


@pytest.mark.parametrize(
    ("document_id", "raw"),
    [("guest/a1", b"{"), ("guest/a1", b'{"name":"x"}'), ("a1", record("a1")), ("guest/", record(""))],
)
async def test_a_record_that_can_not_be_listed_is_refused(store: SqliteStore, document_id: str, raw: bytes) -> None:
    with pytest.raises(PlatformFault):
        await store.put(document_id, raw, {})


async def test_the_oldest_records_go_past_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "invoker.db"
    async with SqliteStore(path, records_kept_max=3) as store:
        await asyncio.gather(*(store.put(f"guest/a{n}", record(f"a{n}", n), {}) for n in range(10)))
    async with SqliteStore(path, records_kept_max=3) as store:  # looks at the first write after opening
        await store.put("guest/last", record("last", 99), {})
        assert [each.activation_id for each in await store.records("guest")] == ["last", "a9", "a8"]


# --- group commit ---------------------------------------------------------------------------------------------------


async def test_what_waits_shares_a_commit() -> None:
    groups: list[list[int]] = []
    gate = asyncio.Event()

    async def commit(items: list[int]) -> None:
        groups.append(items)
        await gate.wait()

    group = GroupCommit[int](commit, items_max=100, bytes_max=1000)
    writes = [asyncio.create_task(group.write(n, 1)) for n in range(10)]
    gate.set()
    async with asyncio.timeout(WAIT_MAX_S):
        await asyncio.gather(*writes)
        await group.close()
    assert [item for items in groups for item in items] == list(range(10))
    assert len(groups) < 4


@pytest.mark.parametrize(("items_max", "bytes_max"), [(2, 1000), (100, 20)])
async def test_past_its_limits_a_write_waits_for_room(items_max: int, bytes_max: int) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    async def commit(_items: list[int]) -> None:
        begun.set()
        await gate.wait()

    group = GroupCommit[int](commit, items_max=items_max, bytes_max=bytes_max)
    first = asyncio.create_task(group.write(0, 10))
    async with asyncio.timeout(WAIT_MAX_S):
        await begun.wait()
    waiting = [asyncio.create_task(group.write(n, 10)) for n in range(1, 6)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(group._waiting) == 2
    assert not first.done()
    gate.set()
    async with asyncio.timeout(WAIT_MAX_S):
        await asyncio.gather(first, *waiting)
        await group.close()


async def test_a_failed_commit_is_told_to_its_group_only() -> None:
    failing = True

    async def commit(_items: list[int]) -> None:
        if failing:
            raise PlatformFault("the disk is full")

    group = GroupCommit[int](commit, items_max=10, bytes_max=1000)
    with pytest.raises(PlatformFault, match="disk is full"):
        await group.write(1, 1)
    failing = False
    await group.write(2, 1)
    await group.close()
    with pytest.raises(PlatformFault, match="closed"):
        await group.write(3, 1)


async def test_a_cancelled_writer_hurts_nobody(store: SqliteStore) -> None:
    cancelled = asyncio.create_task(store.put("guest/a1", record("a1"), {}))
    await asyncio.sleep(0)
    cancelled.cancel()
    await store.put("guest/a2", record("a2"), {})
    assert "a2" in [each.activation_id for each in await store.records("guest")]


async def test_close_writes_what_waits(store: SqliteStore) -> None:
    writes = [asyncio.create_task(store.put(f"guest/a{n}", record(f"a{n}"), {})) for n in range(50)]
    await asyncio.sleep(0)
    again = await reopened(store)
    await asyncio.gather(*writes)
    assert len(await again.records("guest", limit=100)) == 50
    await again.close()


# --- actions --------------------------------------------------------------------------------------------------------


async def test_an_action_is_read_as_its_document_says(store: SqliteStore) -> None:
    put = await store.put_action("guest/pkg", "hello", document())
    assert put.revision.startswith("1-")
    assert msgspec.json.decode(put.document)["_id"] == "guest/pkg/hello"
    found = await store.get("guest/pkg", "hello", None)
    assert (found.name, found.revision) == ("hello", put.revision)
    assert await store.get("guest/pkg", "hello", put.revision) == found


async def test_old_revisions_stay_readable_a_bounded_number_of_them(store: SqliteStore) -> None:
    revisions: list[str] = []
    for number in range(12):
        put = await store.put_action(
            "guest", "hello", document(n=number), expected=revisions[-1] if revisions else None
        )
        revisions.append(put.revision)
    assert [revision.split("-")[0] for revision in revisions] == [str(number) for number in range(1, 13)]
    assert (await store.action("guest", "hello")).revision == revisions[-1]
    assert msgspec.json.decode((await store.action("guest", "hello", revisions[2])).document)["n"] == 2
    with pytest.raises(ActionNotFound):
        await store.action("guest", "hello", revisions[1])


async def test_the_same_steps_give_the_same_revisions(tmp_path: Path) -> None:
    found: list[str] = []
    for name in ("one.db", "two.db"):
        async with SqliteStore(tmp_path / name) as store:
            first = await store.put_action("guest", "hello", document())
            second = await store.put_action("guest", "hello", document(), expected=first.revision)
            found.append(f"{first.revision} {second.revision}")
    assert found[0] == found[1]


async def test_a_change_of_another_revision_is_a_conflict(store: SqliteStore) -> None:
    first = await store.put_action("guest", "hello", document())
    with pytest.raises(ActionConflict, match="exists already"):
        await store.put_action("guest", "hello", document(n=1))
    await store.put_action("guest", "hello", document(n=2), expected=first.revision)
    with pytest.raises(ActionConflict, match="by now"):
        await store.put_action("guest", "hello", document(n=3), expected=first.revision)
    with pytest.raises(ActionConflict, match="not there any more"):
        await store.put_action("guest", "other", document(), expected="1-abc")


async def test_of_two_changes_at_once_one_wins(store: SqliteStore) -> None:
    first = await store.put_action("guest", "hello", document())
    changes = [store.put_action("guest", "hello", document(n=n), expected=first.revision) for n in range(5)]
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(result, ActionConflict) for result in results) == 4


async def test_deleted_is_not_found_and_made_again_counts_on(store: SqliteStore) -> None:
    first = await store.put_action("guest", "hello", document())
    with pytest.raises(ActionConflict):
        await store.delete_action("guest", "hello", expected="1-abc")
    await store.delete_action("guest", "hello")
    with pytest.raises(ActionNotFound):
        await store.get("guest", "hello", None)
    with pytest.raises(ActionNotFound):
        await store.delete_action("guest", "hello")
    assert await store.actions("guest") == []
    assert (await store.action("guest", "hello", first.revision)).document == first.document  # runs under way need it
    assert (await store.put_action("guest", "hello", document())).revision.startswith("3-")


async def test_a_namespace_lists_its_packages_too(store: SqliteStore) -> None:
    for path, name in (("guest", "b"), ("guest/pkg", "a"), ("guest", "a"), ("guests", "x")):
        await store.put_action(path, name, document())
    listed = [(each.path, each.name) for each in await store.actions("guest")]
    assert listed == [("guest", "a"), ("guest", "b"), ("guest/pkg", "a")]
    assert [each.name for each in await store.actions("guest", limit=1, skip=1)] == ["b"]


async def test_a_document_that_is_no_object_is_refused(store: SqliteStore) -> None:
    with pytest.raises(CallerFault, match="guest/hello"):
        await store.put_action("guest", "hello", b"[1]")


# --- the file -------------------------------------------------------------------------------------------------------


async def open_and_close(path: Path, **how: object) -> None:
    async with SqliteStore(path, **how):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be looked at" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
async def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "invoker.db"
    path.write_bytes(content)
    with pytest.raises(PlatformFault, match=r"invoker\.db.*move it away"):
        await open_and_close(path)
    assert path.read_bytes() == content


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "invoker.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(PlatformFault, match="another program's database"):
        await open_and_close(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


async def test_a_file_in_the_directorys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformFault, match="the store can't be opened"):
        await open_and_close(tmp_path / "file" / "invoker.db")


async def test_an_older_file_is_migrated_and_a_newer_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "invoker.db"
    async with SqliteStore(path) as store:
        await store.put("guest/a1", record("a1"), {})
    newer = (*sqlite_file.MIGRATIONS, "ALTER TABLE records ADD COLUMN more TEXT NOT NULL DEFAULT 'x';")
    async with SqliteStore(path, migrations=newer) as store:
        assert (await store.record("guest", "a1")).activation_id == "a1"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT more FROM records").fetchall() == [("x",)]
    with pytest.raises(PlatformFault, match="schema version 2, this invoker knows 1"):
        await open_and_close(path)


async def test_a_failing_migration_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "invoker.db"
    await open_and_close(path)
    broken = (*sqlite_file.MIGRATIONS, "CREATE TABLE half (x); ALTER TABLE nowhere ADD COLUMN y;")
    with pytest.raises(PlatformFault, match="nowhere"):
        await open_and_close(path, migrations=broken)
    await open_and_close(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)


async def test_two_openings_of_a_new_file_at_once(tmp_path: Path) -> None:
    await asyncio.gather(*(open_and_close(tmp_path / "invoker.db") for _ in range(3)))


async def test_another_process_may_read_and_write_beside(store: SqliteStore) -> None:
    async with SqliteStore(store.path) as beside:
        await beside.put_action("guest", "hello", document())
        assert (await store.get("guest", "hello", None)).name == "hello"
        await store.put("guest/a1", record("a1"), {})
        assert (await beside.record("guest", "a1")).name == "hello"


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_a_closed_store_says_so(tmp_path: Path, synchronous: sqlite_file.Synchronous) -> None:
    store = SqliteStore(tmp_path / "invoker.db", synchronous=synchronous)
    await store.open()
    await store.put("guest/a1", record("a1"), {})
    await store.close()
    await store.close()
    with pytest.raises(PlatformFault, match="not open"):
        await store.put("guest/a2", record("a2"), {})
    with pytest.raises(PlatformFault, match="not open"):
        await store.get("guest", "hello", None)


# --- kill -9 --------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from invoker.io.sqlite.store import SqliteStore

async def main():
    async with SqliteStore(Path(sys.argv[1])) as store:
        numbers = itertools.count()
        async def write():
            for number in numbers:
                name = f"a{number}"
                await store.put(f"guest/{name}", b'{"name":"hello","start":%d}' % number, {})
                sys.stdout.write(name + "\\n")
                sys.stdout.flush()
        await asyncio.gather(*(write() for _ in range(16)))

asyncio.run(main())
"""


def test_every_acknowledged_record_outlives_a_kill_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "invoker.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    with process.stdout as told:
        acknowledged = [told.readline() for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += told.readlines()
    assert process.wait(WAIT_MAX_S) == -signal.SIGKILL
    names = {line.strip().decode() for line in acknowledged if line.endswith(b"\n")}
    assert len(names) >= 200

    async def all_are_there() -> None:
        async with SqliteStore(path) as store:
            for name in names:
                assert (await store.record("guest", name)).activation_id == name
            await store.put("guest/after", record("after"), {})

    asyncio.run(all_are_there())

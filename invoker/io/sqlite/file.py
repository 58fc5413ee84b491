"""◆ The embedded store's file: how it is opened, what its tables are, and how they came to be.

Every statement that makes a table stands here as a migration, so that a file of any earlier version opens and is
brought up to date, and one of a later version is refused instead of damaged.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import aiosqlite

from invoker.errors import PlatformFault

Synchronous = Literal["NORMAL", "FULL"]

APPLICATION_ID = 0x46494E56  # "FINV": tells our files from those of other programs
BUSY_TIMEOUT_S = 5.0  # how long a write waits for another process that holds the file
_BUSY_RETRY_S = 0.02

PAGE_CACHE_KB = 2048  # of one connection
WAL_CHECKPOINT_PAGES = 1000

MIGRATIONS: tuple[str, ...] = (
    # 1: actions with their revisions (document NULL: deleted), and the activation records
    """
    CREATE TABLE actions (
        path TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
        revision TEXT NOT NULL, updated_ms INTEGER NOT NULL, document BLOB,
        UNIQUE (path, name, generation)
    );
    CREATE TABLE records (
        sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, name TEXT NOT NULL,
        start_ms INTEGER NOT NULL, record BLOB NOT NULL, facts BLOB NOT NULL
    );
    CREATE INDEX records_newest ON records (namespace, start_ms, sequence);
    """,
)
"""Scripts from one schema version to the next; the first makes version 1. Append; never change a released one."""


@contextmanager
def faults_named(path: Path, doing: str) -> Generator[None]:
    """Turn SQLite's exceptions into PlatformFault, telling which file, what was being done, and the way out."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as problem:
        raise PlatformFault(f"{doing}: {path}: {_explain(problem)}") from problem


def _explain(problem: Exception) -> str:
    text = str(problem)
    if "not a database" in text or "malformed" in text:
        return f"{text}; the file is damaged or no invoker store: move it away to start afresh"
    if "locked" in text:
        return f"{text}; another process has held it for {BUSY_TIMEOUT_S:g} s: stop that one and try again"
    if "unable to open" in text:
        return f"{text}; does its directory exist, and may this user write there?"
    return text


async def open_file(
    path: Path, synchronous: Synchronous, migrations: Sequence[str] = MIGRATIONS
) -> aiosqlite.Connection:
    """Open `path` for writing, making it or bringing its schema up to date. Raises PlatformFault."""
    with faults_named(path, "the store can't be opened"):
        connection = await connect(path)
        try:
            await _write_ahead(connection)
            await connection.execute(f"PRAGMA synchronous = {synchronous}")
            await connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
            await _migrate(connection, path, migrations)
        except BaseException:
            await connection.close()
            raise
        return connection


async def connect(path: Path) -> aiosqlite.Connection:
    """A connection in autocommit: transactions are begun where they are meant (`transaction`)."""
    connection = await aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        await connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KB}")
    except BaseException:
        await connection.close()
        raise
    return connection


@asynccontextmanager
async def transaction(connection: aiosqlite.Connection) -> AsyncGenerator[None]:
    """All or nothing, with the write lock from the start: what is read inside is still true when it is written."""
    await connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        await connection.rollback()
        raise
    await connection.commit()


async def _write_ahead(connection: aiosqlite.Connection) -> None:
    """Switch to the write-ahead log. SQLite doesn't wait for another process that opens the file just then; we do."""
    tries = round(BUSY_TIMEOUT_S / _BUSY_RETRY_S)
    for left in range(tries, -1, -1):
        try:
            await connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or left == 0:
                raise
            await asyncio.sleep(_BUSY_RETRY_S)
        else:
            return


async def _migrate(connection: aiosqlite.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Run what is missing, each step in a transaction of its own with its version."""
    known = len(migrations)
    while True:
        async with transaction(connection):  # another process may be opening the same new file
            version = await _number(connection, "PRAGMA user_version")
            await _check_owner(connection, path, version)
            if version > known:
                raise PlatformFault(
                    f"the store can't be opened: {path} has schema version {version}, this invoker knows {known}: "
                    "use the newer invoker that wrote it, or another data directory"
                )
            if version == known:
                return
            for statement in filter(str.strip, migrations[version].split(";")):
                await connection.execute(statement)
            await connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            await connection.execute(f"PRAGMA user_version = {version + 1}")


async def _check_owner(connection: aiosqlite.Connection, path: Path, version: int) -> None:
    """Refuse another program's database: adding our tables to it would do harm."""
    tables = await _number(connection, "SELECT count(*) FROM sqlite_schema")
    if (version or tables) and await _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise PlatformFault(
            f"the store can't be opened: {path} is another program's database: choose another data directory"
        )


async def _number(connection: aiosqlite.Connection, question: str) -> int:
    async with connection.execute(question) as cursor:
        row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0

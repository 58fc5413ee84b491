"""◆ The namespaces that may not run anything just now, as CouchDB's view of the subjects tells (contract, section 8).

Read at the start and every five minutes. When a read fails the last good set stays in force, and the log says so once;
at the start, where there is none yet, it is tried again soon.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from invoker.errors import PlatformFault
from invoker.io.couchdb.client import CouchClient, segment, told
from invoker.io.couchdb.pace import Pace, RealPace
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics

log = logging.getLogger(__name__)

DESIGN, VIEW = "namespaceThrottlings", "blockedNamespaces"
FIRST_SET_EVERY_S = 5.0
OPEN_WAIT_S = 5.0
ROWS_LIMIT_BYTES = 32 * 1024 * 1024
OK = 200


class _Row(msgspec.Struct):
    key: object = None


class _Rows(msgspec.Struct):
    rows: list[_Row]


class BlockedNamespaces:
    """`namespace in blocked` asks the last good set; none is blocked before there is one."""

    def __init__(
        self, client: CouchClient, settings: CouchDbSettings, metrics: Metrics, pace: Pace | None = None
    ) -> None:
        self._client = client
        self._every_s = settings.blocked_every_s
        self._path = f"{segment(settings.subjects_database)}/_design/{DESIGN}/_view/{VIEW}"
        self._metrics = metrics
        self._pace = pace or RealPace()
        self._names: frozenset[str] | None = None
        self._failing = False
        self._closing = asyncio.Event()
        self._first = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def __contains__(self, namespace: object) -> bool:
        return self._names is not None and namespace in self._names

    @property
    def names(self) -> frozenset[str]:
        """The last good set."""
        return self._names or frozenset()

    async def open(self) -> None:
        """Read the set, and go on reading it. Returns after the first try, or 5 s: CouchDB may be away at the start."""
        self._reader = asyncio.create_task(self._read_on(), name="blocked namespaces")
        await self._pace.wait(self._first, OPEN_WAIT_S)

    async def close(self) -> None:
        """Read no more. Twice is once."""
        self._closing.set()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])

    async def _read_on(self) -> None:
        while not self._closing.is_set():
            try:
                names = await self.read()
            except PlatformFault as problem:
                self._keeps(str(problem))
            else:
                self._takes(names)
            self._first.set()
            await self._pace.wait(self._closing, self._every_s if self._names is not None else FIRST_SET_EVERY_S)

    async def read(self) -> frozenset[str]:
        """What the view says now. Raises PlatformFault."""
        answer = await self._client.read(self._path, "reduce=false", limit_bytes=ROWS_LIMIT_BYTES)
        if answer.status != OK:
            raise PlatformFault(told(answer, "the question for blocked namespaces"))
        try:
            rows = msgspec.json.decode(answer.body, type=_Rows).rows
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            raise PlatformFault(f"the view {DESIGN}/{VIEW} can't be read: {problem}") from problem
        return frozenset(row.key for row in rows if isinstance(row.key, str))

    def _takes(self, names: frozenset[str]) -> None:
        if names != self._names and (names or self._names):
            log.info("blocked namespaces: %s", ", ".join(sorted(names)) or "none any more")
        elif self._failing:
            log.info("blocked namespaces can be read again")
        self._failing = False
        self._names = names
        self._metrics.blocked_namespaces.set(len(names))

    def _keeps(self, problem: str) -> None:
        if not self._failing:
            self._failing = True
            kept = "nobody is blocked until then" if self._names is None else "the last set stays in force"
            log.warning("blocked namespaces can't be read, %s: %s", kept, problem)

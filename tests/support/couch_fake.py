"""A CouchDB in the test's own process, as small as the calls of the invoker, and as faulty as a test wants it.

A dict of databases with revisions, over real HTTP on loopback. It shows what the real one does in these calls; what is
asserted of both is in tests/integration/couchdb.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web

USER, PASSWORD = "admin", "correct horse"
AUTHORIZED = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

LIMIT_S, POLL_S = 20.0, 0.001

Fault = Callable[[web.Request], web.StreamResponse]


class FakeCouch:
    """`databases`: name -> id -> revision -> document, `attachments`: (id, revision, name) -> bytes; `views`: what the
    one view answers. `faults` are answered before anything else, one a request; `refuse` is asked about each record."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.databases: dict[str, dict[str, dict[str, Any]]] = {"whisks": {}, "activations": {}, "subjects": {}}
        self.attachments: dict[tuple[str, str, str], bytes] = {}
        self.blocked: list[Any] = []
        self.faults: deque[Fault] = deque()
        self.refuse: Callable[[dict[str, Any]], tuple[str, str] | None] = lambda _: None
        self.refuse_body: Callable[[bytes], int | None] = lambda _: None
        self.requests: list[str] = []
        self.connections: set[Any] = set()
        self.batches: list[int] = []
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}" if self._context is None else f"https://localhost:{self._port}"

    async def start(self) -> None:
        """Answer, where it did before."""
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True, ssl_context=self._context)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Answer no more; connections end."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def put(self, database: str, document: dict[str, Any], attachments: dict[str, bytes] | None = None) -> str:
        """Keep a new revision of a document; its revision."""
        revisions = self.databases[database].setdefault(document["_id"], {})
        revision = f"{len(revisions) + 1}-{len(revisions) + 1:032x}"
        revisions[revision] = document | {"_rev": revision}
        for name, data in (attachments or {}).items():
            self.attachments[document["_id"], revision, name] = data
        return revision

    def records(self) -> dict[str, int]:
        """Each record's id, and how many times it was written."""
        return {name: len(revisions) for name, revisions in self.databases["activations"].items()}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        self.requests.append(f"{request.method} {request.rel_url.raw_path_qs}")
        if self.faults:
            return self.faults.popleft()(request)
        if request.headers.get("Authorization") != AUTHORIZED:
            return _json(401, {"error": "unauthorized", "reason": "Name or password is incorrect."})
        parts = [unquote(part) for part in request.rel_url.raw_path.strip("/").split("/")]
        if parts == [""]:
            return _json(200, {"couchdb": "Welcome", "version": "3.fake"})
        if parts[0] not in self.databases:
            return _json(404, {"error": "not_found", "reason": "Database does not exist."})
        if parts[1:] == ["_bulk_docs"]:
            return self._bulk(parts[0], await request.read())
        if "_view" in parts:
            rows = [{"id": "x", "key": key, "value": 1} for key in self.blocked]
            return _json(200, {"total_rows": len(rows), "offset": 0, "rows": rows})
        return self._get(parts, request.query.get("rev"))

    def _get(self, parts: list[str], revision: str | None) -> web.StreamResponse:
        if parts[1:2] == ["_design"]:
            return _json(200, {"_id": "/".join(parts[1:]), "views": {"blockedNamespaces": {}}})
        if len(parts) == 1:
            return _json(200, {"db_name": parts[0]})
        revisions = self.databases[parts[0]].get(parts[1], {})
        revision = revision or next(reversed(revisions), None)
        if revision is None or revision not in revisions:
            return _json(404, {"error": "not_found", "reason": "missing"})
        if len(parts) == 2:
            return _json(200, revisions[revision])
        data = self.attachments.get((parts[1], revision, parts[2]))
        if data is None:
            return _json(404, {"error": "not_found", "reason": "Document is missing attachment"})
        return web.Response(body=data)

    def _bulk(self, database: str, body: bytes) -> web.StreamResponse:
        status = self.refuse_body(body)
        if status is not None:
            return _json(status, {"error": "bad_request", "reason": "invalid UTF-8 JSON"})
        documents = json.loads(body)["docs"]
        self.batches.append(len(documents))
        entries: list[dict[str, Any]] = []
        for document in documents:
            name = document["_id"]
            refused = self.refuse(document)
            if refused is not None:
                entries.append({"id": name, "error": refused[0], "reason": refused[1]})
            elif name in self.databases[database]:
                entries.append({"id": name, "error": "conflict", "reason": "Document update conflict."})
            else:
                entries.append({"ok": True, "id": name, "rev": self.put(database, document)})
        return _json(201, entries)


def status(code: int, body: Any = None) -> Fault:
    """A fault: an answer of that status."""
    return lambda _: _json(code, body if body is not None else {"error": "fault", "reason": "wanted by a test"})


def cut(request: web.Request) -> web.StreamResponse:
    """A fault: the connection ends without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def fake_couch(context: ssl.SSLContext | None = None) -> AsyncGenerator[FakeCouch]:
    """One that answers for the body of the `with`, over TLS where a context is given."""
    server = FakeCouch(context)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Passing:
    """A Pace whose time passes at once: every wait is over as soon as it begins. `waited_s` has them."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.waited_s: list[float] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        await asyncio.sleep(0)
        if not event.is_set():
            self.waited_s.append(timeout_s)
            self.now_ns += int(timeout_s * 1e9)
        return event.is_set()


class Standing:
    """A Pace whose time stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._timers: list[tuple[int, asyncio.Event]] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._timers)

    async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
        over = asyncio.Event()
        timer = (self.now_ns + int(timeout_s * 1e9), over)
        self._timers.append(timer)
        waits = [asyncio.ensure_future(each.wait()) for each in (event, over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if timer in self._timers:
                self._timers.remove(timer)
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * 1e9)
        for due_ns, over in list(self._timers):
            if due_ns <= self.now_ns:
                over.set()


async def until(holds: Callable[[], object]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(POLL_S)


def _json(code: int, body: Any) -> web.Response:
    return web.Response(status=code, body=json.dumps(body).encode(), content_type="application/json")

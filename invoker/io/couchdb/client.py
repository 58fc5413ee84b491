"""◆ The calls to CouchDB that are on the way of activations: bytes in, bytes out, under a cap, each within its time.

An answer is never parsed here: a document is decoded once, by those who know what it is. Connections come in
generations: after 15 s a new pool is begun and the former one ends with its last request, so a database that moved is
found at once.
What only administers databases goes through aiocouch, in `couch_admin`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from invoker.errors import PlatformFault, SettingsError
from invoker.io.couchdb.pace import Pace, RealPace, waits_s
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.protocol.sizes import format_size

CONNECTIONS_MAX = 32
LAST_TRY_S = 0.1  # however little is left of the time in all, a try that is begun gets so much
REASON_MAX = 200  # characters of CouchDB's own words in a message of ours
NS = 1_000_000_000

MOMENTARY = frozenset({429, 502, 503, 504})
"""Statuses of a server, or a proxy before it, that can't answer just now: as good as no connection."""

_NO_DATABASE = (b"Database does not exist", b"no_db_file")


class CouchUnreachable(PlatformFault):
    """No answer came, or none of CouchDB's: worth another try later."""


class AnswerTooLarge(PlatformFault):
    """The answer is longer than the caller takes."""


class Answer(NamedTuple):
    """What CouchDB said."""

    status: int
    body: bytes


class _Reason(msgspec.Struct):
    error: str = ""
    reason: str = ""


class _Generation:
    """The connections that were begun within one lifetime."""

    def __init__(self, session: aiohttp.ClientSession, born_ns: int) -> None:
        self.session = session
        self.born_ns = born_ns
        self.users = 0
        self.retired = False

    async def left(self) -> None:
        """Close it once nobody uses it any more."""
        if self.retired and self.users == 0:
            await self.session.close()


class CouchClient:
    """Calls to one CouchDB. Safe to use from any number of tasks; at most 32 connections, the rest wait their turn."""

    def __init__(self, settings: CouchDbSettings, pace: Pace | None = None) -> None:
        self._settings = settings
        self._pace = pace or RealPace()
        self._ssl: ssl.SSLContext | None = None
        self._current: _Generation | None = None
        self._closed = asyncio.Event()
        self._headers = {
            "Authorization": authorization(settings),
            "Accept": "application/json, */*",
            "Accept-Encoding": "identity",
            "User-Agent": "functions-invoker",
        }

    async def open(self) -> None:
        """Read the certificates. Nothing is connected yet. Raises SettingsError."""
        self._ssl = await asyncio.to_thread(trust, self._settings)

    async def close(self) -> None:
        """End all connections, and the waits between tries. Twice is once."""
        self._closed.set()
        generation, self._current = self._current, None
        if generation is not None:
            generation.retired = True
            await generation.session.close()

    async def read(self, path: str, query: str = "", *, limit_bytes: int | None = None) -> Answer:
        """GET, tried again on connection trouble: after 100 ms doubling to 5 s, for 2 min in all.

        `path` is below the base URL, its parts quoted; `limit_bytes`: of the answer, else the setting's. Raises
        CouchUnreachable when the time is over, AnswerTooLarge.
        """
        return await self._again("GET", path, query, None, limit_bytes)

    async def write(self, path: str, body: bytes) -> Answer:
        """POST JSON, tried again in the same way: so only for what may come twice."""
        return await self._again("POST", path, "", body, None)

    async def _again(self, method: str, path: str, query: str, body: bytes | None, limit_bytes: int | None) -> Answer:
        until_ns = self._pace.monotonic_ns() + int(self._settings.retry_limit_s * NS)
        for wait_s in waits_s():
            left_s = max(LAST_TRY_S, (until_ns - self._pace.monotonic_ns()) / NS)
            try:
                answer = await self.once(method, path, query, body=body, limit_bytes=limit_bytes, timeout_s=left_s)
            except CouchUnreachable as problem:
                trouble = problem
            else:
                if answer.status not in MOMENTARY:
                    return answer
                trouble = CouchUnreachable(told(answer, f"{method} {path}"))
            if self._pace.monotonic_ns() + int(wait_s * NS) > until_ns:
                raise trouble
            if await self._pace.wait(self._closed, wait_s):
                raise trouble
        raise AssertionError  # the waits have no end

    async def once(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes | None = None,
        limit_bytes: int | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One try, whatever the answer's status; for as long as a request may take, or `timeout_s` where that is less.

        Raises CouchUnreachable, AnswerTooLarge.
        """
        settings = self._settings
        total_s = settings.request_timeout_s if timeout_s is None else min(timeout_s, settings.request_timeout_s)
        times = aiohttp.ClientTimeout(total=total_s, sock_connect=settings.connect_timeout_s)
        url = URL(f"{settings.url}/{path}{'?' if query else ''}{query}", encoded=True)
        headers = {} if body is None else {"Content-Type": "application/json"}
        payload = None if body is None else io.BytesIO(body)
        try:
            async with (
                self._session() as session,
                session.request(
                    method, url, data=payload, headers=headers, allow_redirects=False, timeout=times
                ) as response,
            ):
                return Answer(response.status, await _read(response, limit_bytes or settings.body_limit_bytes))
        except (aiohttp.ClientError, OSError) as problem:  # a time limit is an OSError, too
            raise CouchUnreachable(f"no answer from CouchDB at {settings.url}: {_words(problem)}") from problem

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[aiohttp.ClientSession]:
        generation = await self._generation()
        generation.users += 1
        try:
            yield generation.session
        finally:
            generation.users -= 1
            await generation.left()

    async def _generation(self) -> _Generation:
        if self._closed.is_set():
            raise CouchUnreachable("the connection to CouchDB is closed")
        now_ns = self._pace.monotonic_ns()
        former = self._current
        if former is not None and now_ns - former.born_ns < self._settings.connection_lifetime_s * NS:
            return former
        fresh = self._current = _Generation(self._begin(), now_ns)
        if former is not None:
            former.retired = True
            await former.left()
        return fresh

    def _begin(self) -> aiohttp.ClientSession:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            ssl=True if self._ssl is None else self._ssl,
            keepalive_timeout=settings.connection_lifetime_s,
            ttl_dns_cache=int(settings.connection_lifetime_s),
        )
        return aiohttp.ClientSession(connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())


def trust(settings: CouchDbSettings) -> ssl.SSLContext | None:
    """Whose certificates are believed: the system's authorities' and the cluster's; None for http. Blocks.

    Raises SettingsError.
    """
    if not settings.url.startswith("https:"):
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError) as problem:
            reason = getattr(problem, "strerror", None) or getattr(problem, "reason", None) or "no PEM data"
            raise SettingsError(
                f"the authority for CouchDB, {settings.ca_file}, can't be read: {reason}; mend the file or "
                "CLUSTER_CA_FILE (empty: the system's authorities alone)"
            ) from problem
    return context


def authorization(settings: CouchDbSettings) -> str:
    """The header of that name; a secret."""
    return "Basic " + base64.b64encode(f"{settings.username}:{settings.password}".encode()).decode()


def segment(text: str) -> str:
    """`text` as one segment of a path: `guest/hello` is `guest%2Fhello`."""
    return quote(text, safe="")


def told(answer: Answer, doing: str) -> str:
    """A status that was not hoped for, in CouchDB's words, and the way out where it is known."""
    try:
        reason = msgspec.json.decode(answer.body, type=_Reason)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        reason = _Reason()
    words = ": ".join(part for part in (reason.error, reason.reason) if part)[:REASON_MAX]
    remedies = {
        401: "; see COUCH_USERNAME and COUCH_PASSWORD",
        403: "; this user may not do that: see COUCH_USERNAME, and the database's _security",
        404: "; `invoker couchdb init` makes the databases",
    }
    return f"CouchDB answered {answer.status} to {doing}{': ' if words else ''}{words}{remedies.get(answer.status, '')}"


def no_database(answer: Answer) -> bool:
    """Whether a 404 means the whole database, and not one document of it."""
    return answer.status == 404 and any(words in answer.body for words in _NO_DATABASE)


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body, no longer than the limit, which its head may tell to be passed before a byte is read."""
    if (response.content_length or 0) > limit_bytes and response.method != "HEAD":
        raise _too_large(limit_bytes)
    body = bytearray()
    async for piece in response.content.iter_any():
        if len(body) + len(piece) > limit_bytes:
            raise _too_large(limit_bytes)
        body += piece
    return bytes(body)


def _too_large(limit_bytes: int) -> AnswerTooLarge:
    return AnswerTooLarge(
        f"CouchDB's answer is longer than {format_size(limit_bytes)}; shrink the action or raise COUCH_BODY_LIMIT"
    )


def _words(problem: Exception) -> str:
    if isinstance(problem, TimeoutError):
        return "none came in time"
    return str(problem) or type(problem).__name__

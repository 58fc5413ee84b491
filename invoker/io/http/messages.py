"""◆ What a handler sees of HTTP: the request, and the exchange it answers on.

Apart from `http_connection` because handlers and their tests need these words and nothing of parsing and timers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from invoker.io.http.peer import Peer

if TYPE_CHECKING:
    from invoker.io.http.shared import Shared

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
REASONS = {status.value: status.phrase for status in HTTPStatus}


class Wire(Protocol):
    """What an exchange needs of its connection."""

    shared: Shared
    transport: asyncio.Transport | None

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    def write(self, data: bytes) -> None:
        """Send, or drop where the peer has gone."""
        ...

    def exchange_done(self, keep_alive: bool) -> None:
        """The answer was written."""
        ...

    def abort(self) -> None:
        """Cut at once."""
        ...


class Refusal(Exception):
    """What is wrong with a request, as the answer it gets."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Framing(NamedTuple):
    """How a request is framed, from its head."""

    http10: bool
    chunked: bool
    expects_continue: bool


PLAIN = Framing(http10=False, chunked=False, expects_continue=False)
SPECIAL_FIELDS = frozenset({b"transfer-encoding", b"upgrade", b"expect"})
"""A head of HTTP/1.1 with a Host and none of these is framed PLAIN; all others are for `frame` to judge."""


def frame(version: str, fields: dict[bytes, bytes]) -> Framing:
    """Refuse what the parser lets through and another parser on the way might have read differently.

    `fields` by lower-case name. Raises Refusal.
    """
    http10 = version == "1.0"
    if not http10 and version != "1.1":
        raise Refusal(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if not http10 and b"host" not in fields:
        raise Refusal(400, "there is no Host field; HTTP/1.1 asks for one")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if http10:
            raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
        if coding.strip().lower() != b"chunked":
            raise Refusal(501, "the only transfer coding taken is chunked; send the body plain")
    has_body = coding is not None or b"content-length" in fields
    if has_body and b"upgrade" in fields:  # the parser would leave the body unread
        raise Refusal(501, "a request with a body can't ask for an upgrade; send it without the Upgrade field")
    expectation = None if http10 else fields.get(b"expect")
    if expectation is not None and expectation.strip().lower() != b"100-continue":
        raise Refusal(417, "the only expectation met is 100-continue")
    return Framing(http10, coding is not None, expectation is not None)


class Request:
    """A whole request. `path` is as sent (percent-encoding kept), `query` what follows `?`."""

    __slots__ = ("_connection", "_fields", "_headers", "body", "method", "path", "query")

    def __init__(self, method: str, target: bytes, fields: dict[bytes, bytes], body: bytes, connection: Wire) -> None:
        self.method = method
        text = target.decode("latin-1")
        if not text.startswith("/") and "://" in text:  # the absolute form, which proxies send
            text = "/" + text.partition("://")[2].partition("/")[2]
        self.path, _, self.query = text.partition("?")
        self.body = body
        self._fields = fields
        self._headers: dict[str, str] | None = None
        self._connection = connection

    @property
    def headers(self) -> dict[str, str]:
        """Field values by lower-case name; several of one name are joined by `, `. Decoded at the first look."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1"): value.decode("latin-1").strip() for name, value in self._fields.items()
            }
        return self._headers

    @property
    def peer(self) -> Peer:
        """Who sent it. Of a connection that has gone nothing is known, unless it was asked before."""
        return self._connection.peer

    @property
    def peer_subject(self) -> str | None:
        """The subject of the client's verified certificate as `CN=...,O=...`; None where there is none."""
        return self.peer.subject


class Heads:
    """Response heads up to the framing fields, kept for the second that their Date field names."""

    __slots__ = ("_by_kind", "_promise", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._by_kind: dict[tuple[int, str], bytes] = {}
        self._promise = b""

    def promise(self) -> bytes:
        """The whole head that acknowledges an activation message: 200, JSON, in chunks, the connection kept."""
        if int(time.time()) != self._second or not self._promise:
            self._promise = self.get(200, JSON) + b"Transfer-Encoding: chunked\r\n\r\n"
        return self._promise

    def get(self, status: int, content_type: str) -> bytes:
        """Status line, Content-Type and Date, without the empty line."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._promise = b""
            self._by_kind.clear()
        head = self._by_kind.get((status, content_type))
        if head is None:
            line = f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\nContent-Type: {content_type}\r\n"
            head = f"{line}Date: {formatdate(second, usegmt=True)}\r\n".encode("latin-1")
            self._by_kind[status, content_type] = head
        return head


class Exchange:
    """The answer to one request. Once the peer has gone, writing goes nowhere and never raises.

    Either `respond`, or `begin` and later `finish`; any other order is a defect and raises RuntimeError.
    """

    __slots__ = ("_begun", "_connection", "_done", "_head_only", "_http10", "_keep_alive")

    def __init__(self, connection: Wire, head_only: bool, http10: bool, keep_alive: bool) -> None:
        self._connection = connection
        self._head_only = head_only
        self._http10 = http10
        self._keep_alive = keep_alive
        self._begun = False
        self._done = False

    @property
    def gone(self) -> bool:
        """The peer is known to have left."""
        return self._connection.transport is None

    @property
    def begun(self) -> bool:
        """A head was sent."""
        return self._begun

    @property
    def done(self) -> bool:
        """The answer is complete."""
        return self._done

    def begin(self, status: int = 200, content_type: str = JSON) -> None:
        """Send the head now; the body follows with `finish`.

        It is handed to the socket before anything that the handler awaits can come about (uvloop writes at the end of
        the loop's turn, in the order of the calls), so to the peer it acknowledges receipt (contract, section 4).
        """
        if self._begun or self._done:
            raise RuntimeError("begin: the head was sent already")
        self._begun = True
        connection = self._connection
        heads = connection.shared.heads
        closes = self._closes()
        if status == 200 and content_type == JSON and not closes:  # the hot path; in HTTP/1.0 it always closes
            connection.write(heads.promise())
            return
        head = heads.get(status, content_type)
        if self._http10:  # no chunks there: the end of the connection is the end of the body
            connection.write(head + b"Connection: close\r\n\r\n")
        elif closes:
            connection.write(head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        else:
            connection.write(head + b"Transfer-Encoding: chunked\r\n\r\n")

    def finish(self, body: bytes = b"") -> None:
        """Send `body` and the end in one write."""
        if self._done or not self._begun:
            raise RuntimeError("finish: begin first, and finish once")
        self._done = True
        if self._http10:
            tail = b"" if self._head_only else body
        elif self._head_only:
            tail = b""
        elif body:
            tail = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            tail = b"0\r\n\r\n"
        if tail:
            self._connection.write(tail)
        self._connection.exchange_done(self._keep_alive)

    def respond(
        self, status: int, body: bytes = b"", content_type: str = TEXT, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send the whole answer at once, with its Content-Length."""
        if self._begun or self._done:
            raise RuntimeError("respond: an answer was sent already")
        self._begun = self._done = True
        head = self._connection.shared.heads.get(status, content_type)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        if self._closes():
            fields += "Connection: close\r\n"
        head += f"{fields}Content-Length: {len(body)}\r\n\r\n".encode("latin-1")
        self._connection.write(head if self._head_only else head + body)
        self._connection.exchange_done(self._keep_alive)

    def fail(self) -> None:
        """The handler failed: 500 where no head was sent, else the connection is cut and the body seen to be short."""
        if self._done:
            return
        if self._begun:
            self._done = True
            self._connection.abort()
        else:
            self.respond(500, error_body("the request could not be served; see the invoker's log"), JSON)

    def _closes(self) -> bool:
        if self._connection.shared.draining:
            self._keep_alive = False
        return not self._keep_alive


def error_body(text: str) -> bytes:
    """`{"error": text}`."""
    return msgspec.json.encode({"error": text})

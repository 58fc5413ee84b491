"""◆ HTTP to an action container: `/init`, `/run` and the question whether it answers yet.

Every warm activation waits for this client, and it must tell apart what no general client tells apart: refused, cut
off, timed out, answered at too great a length. So it is an asyncio.Protocol of our own with httptools for the head; the
bytes of a body with a known length never pass through the parser. It never raises for what the container does: that is
in the Reply.

A request whose bytes were written is never sent again, for an action must not run twice. A kept connection that the
runtime closes in that very moment would therefore cost an activation; so only connections that were idle for less than
`IDLE_LIMIT_S` are used again, far below the idle time of any runtime's HTTP server. A freeze counts as idleness, for a
runtime's own timers go on meanwhile and fire at the thaw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import httptools

from invoker.policy.outcome import Reply

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]

RESPONSE_LIMIT_BYTES = 1_048_576
"""Of an answer's body; what goes beyond is cut off (contract, section 12)."""

HEAD_LIMIT_BYTES = 16_384
IDLE_LIMIT_S = 2.0
IDLE_CONNECTIONS_MAX = 16

CHUNK_OVERHEAD = 8
"""A chunked body may take this many times the response limit on the wire (one-byte chunks take six)."""

COPIED_BODY_BYTES = 16_384
"""Up to here, joining head and body is cheaper than handing the transport two buffers."""

PROBE_FIRST_S = 0.001
PROBE_CAP_S = 0.016
PROBE_TRY_S = 5.0

_NO_ANSWER = Reply()
_TIMED_OUT = Reply(timed_out=True)


def tcp(address: str, port: int) -> Connect:
    """Connect to `address` (an IP address) and `port`."""

    async def connect(protocol: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, asyncio.Protocol]:
        return await asyncio.get_running_loop().create_connection(protocol, address, port)

    return connect


def unix(path: str) -> Connect:
    """Connect to the Unix socket at `path`."""

    async def connect(protocol: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, asyncio.Protocol]:
        return await asyncio.get_running_loop().create_unix_connection(protocol, path)

    return connect


class RuntimeClient:
    """Calls to one container's runtime. Calls may overlap; each has a connection of its own, the last used first."""

    def __init__(self, connect: Connect, *, host: str, response_limit_bytes: int = RESPONSE_LIMIT_BYTES) -> None:
        self._connect = connect
        self._host = host
        self._limit_bytes = response_limit_bytes
        self._heads: dict[str, bytes] = {}
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<RuntimeClient {self._host} busy={len(self._busy)} idle={len(self._idle)}>"

    async def post(self, path: str, body: bytes, timeout_s: float) -> Reply:
        """POST `body` (JSON) to `path`; connecting, sending and reading together may take `timeout_s`.

        The Reply's `status` is None where no whole answer came: refused, cut off, a malformed or too long head, closed.
        Its `condition` stays "running": what became of the container is its engine's to find out.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        connection = self._take_idle(loop.time())
        if connection is None:
            connection = _Connection(self._limit_bytes, self._idle)
            failure = await self._open(connection, timeout_s)
            if failure is not None:
                return failure
        self._busy.add(connection)
        try:
            reply = await connection.exchange(self._head(path), body, deadline)
        finally:
            self._busy.discard(connection)
            self._put_back(connection, loop.time())
        return reply

    async def ready(self, give_up_s: float) -> bool:
        """Ask until the runtime answers anything at all in HTTP; False where it did not within `give_up_s`.

        The waits between the tries start at 1 ms and double up to 16 ms: a refused connection costs next to nothing,
        and half of the last wait is lost on average (the reference asks every 50 ms; contract, section 12).
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + give_up_s
        wait_s = PROBE_FIRST_S
        while not self._closed:
            reply = await self.post("/", b"{}", min(PROBE_TRY_S, deadline - loop.time()))
            if reply.status is not None:
                return True
            if loop.time() + wait_s >= deadline:
                break
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, PROBE_CAP_S)
        return False

    def drop_idle(self) -> None:
        """Close the kept connections."""
        idle, self._idle[:] = list(self._idle), []
        for connection in idle:
            connection.abort()

    def close(self) -> None:
        """Close all connections. Calls under way end without an answer, later ones at once. Twice is once."""
        self._closed = True
        self.drop_idle()
        for connection in list(self._busy):
            connection.abort()

    async def _open(self, connection: _Connection, timeout_s: float) -> Reply | None:
        """Connect; the Reply to give where that failed."""
        if self._closed:
            return _NO_ANSWER
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect(lambda: connection)
        except TimeoutError:
            return _TIMED_OUT
        except OSError:
            return _NO_ANSWER
        if self._closed:
            connection.abort()
        return None

    def _take_idle(self, now_s: float) -> _Connection | None:
        if not self._idle:
            return None
        connection = self._idle.pop()
        if now_s - connection.idle_since_s < IDLE_LIMIT_S and connection.usable:
            return connection
        connection.abort()  # those below it have been idle for longer still
        self.drop_idle()
        return None

    def _put_back(self, connection: _Connection, now_s: float) -> None:
        if connection.usable and not self._closed and len(self._idle) < IDLE_CONNECTIONS_MAX:
            connection.idle_since_s = now_s
            self._idle.append(connection)
        else:
            connection.abort()

    def _head(self, path: str) -> bytes:
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = (
                f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
                "Accept: application/json\r\nContent-Length: "
            ).encode("ascii")
        return head


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time. Also what httptools calls back (`on_...`)."""

    __slots__ = (
        "_announced",
        "_chunked",
        "_head",
        "_head_seen",
        "_idle",
        "_keep",
        "_limit_bytes",
        "_parser",
        "_pieces",
        "_room_bytes",
        "_status",
        "_transport",
        "_waiter",
        "_whole",
        "_wire_bytes",
        "idle_since_s",
        "reusable",
    )

    def __init__(self, limit_bytes: int, idle: list[_Connection]) -> None:
        self._limit_bytes = limit_bytes
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self.reusable = False
        self.idle_since_s = 0.0
        self._await_head()

    def _await_head(self) -> None:
        self._head = b""
        self._parser: httptools.HttpResponseParser | None = None  # set once the head was read
        self._status = 0
        self._announced: int | None = None
        self._chunked = False
        self._head_seen = False
        self._keep = False
        self._whole = False
        self._pieces: list[bytes] = []
        self._room_bytes = 0
        self._wire_bytes = 0

    async def exchange(self, head: bytes, body: bytes, deadline_s: float) -> Reply:
        """Send one request and wait for its answer until `deadline_s` (the loop's time)."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return _NO_ANSWER
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self.reusable = False
        start = b"%b%d\r\n\r\n" % (head, len(body))
        if len(body) <= COPIED_BODY_BYTES:
            transport.write(start + body)
        else:
            transport.writelines((start, body))
        timer = loop.call_at(deadline_s, self._settle, _TIMED_OUT)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            self._await_head()

    @property
    def usable(self) -> bool:
        """Whether a request may be written: the last answer was whole, and nobody has closed."""
        return self.reusable and self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once; an exchange under way ends without an answer."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()
        self._settle(_NO_ANSWER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        ended_by_close = exc is None and self._parser is not None and self._announced is None and not self._chunked
        self._settle(self._answer() if ended_by_close else _NO_ANSWER)
        self.reusable = False
        if self in self._idle:
            self._idle.remove(self)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:  # nothing was asked: whatever this is, the next answer would be in doubt
            self.abort()
        elif self._parser is None:
            self._read_head(data)
        elif self._chunked:
            self._read_chunks(data)
        else:
            self._read_body(data)

    def _read_head(self, data: bytes) -> None:
        if self._head:
            data = self._head + data
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 and len(data) <= HEAD_LIMIT_BYTES:
                self._head = data
                return
            parser = httptools.HttpResponseParser(self)
            if end < 4 or end > HEAD_LIMIT_BYTES or not self._feed(parser, data[:end]) or not self._head_seen:
                self.abort()
                return
            self._status = parser.get_status_code()
            data = data[end:]
            if self._status >= 200:
                break
            if self._status == 101:
                self.abort()
                return
            self._await_head()  # an interim answer; the real one follows
        self._parser = parser
        self._begin_body(data)

    def _begin_body(self, data: bytes) -> None:
        assert self._parser is not None
        self._keep = self._parser.should_keep_alive()
        self._room_bytes = self._limit_bytes
        if self._chunked:
            # Where a chunked answer ends is the parser's word alone, so its connection serves no second one.
            if data:
                self._read_chunks(data)
        elif self._whole or self._announced == 0:
            self._finish(surplus=bool(data))
        else:
            if self._announced is not None:
                self._room_bytes = min(self._announced, self._limit_bytes)
            if data:
                self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        """Take bytes of a body that ends by its length, or by the connection's end."""
        room_bytes = self._room_bytes - len(data)
        self._room_bytes = room_bytes
        if room_bytes > 0:
            self._pieces.append(data)
            return
        if room_bytes == 0:
            self._pieces.append(data)
            if self._announced is not None:
                self._finish()
            return  # without a length, one byte more would be one too many
        self._pieces.append(data[:room_bytes])
        self._finish(surplus=True)

    def _finish(self, *, surplus: bool = False) -> None:
        """The answer is whole, or as long as it may be; `surplus` bytes came behind it."""
        transport = self._transport
        truncated = surplus if self._announced is None else self._announced > self._limit_bytes
        unsent = transport is not None and transport.get_write_buffer_size() > 0
        self.reusable = self._keep and not (surplus or truncated or unsent)
        self._settle(self._answer(truncated=truncated and not self._whole))

    def _answer(self, *, truncated: bool = False) -> Reply:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return Reply(self._status, body, self._announced, truncated)

    def _settle(self, reply: Reply) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def _read_chunks(self, data: bytes) -> None:
        assert self._parser is not None
        self._wire_bytes += len(data)
        fine = self._feed(self._parser, data)
        if self._waiter is None:  # the end, or the limit, was among these bytes
            return
        if not fine or self._wire_bytes > CHUNK_OVERHEAD * self._limit_bytes + HEAD_LIMIT_BYTES:
            self.abort()

    @staticmethod
    def _feed(parser: httptools.HttpResponseParser, data: bytes) -> bool:
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the two headers that say where the body ends; the parser has checked that they agree."""
        lowered = name.lower()
        if lowered == b"content-length":
            self._announced = int(value)
        elif lowered == b"transfer-encoding":
            self._chunked = b"chunked" in value.lower()

    def on_headers_complete(self) -> None:
        """The head is whole and well-formed."""
        self._head_seen = True

    def on_body(self, piece: bytes) -> None:
        """Take a chunk's bytes."""
        if self._waiter is None:
            return
        self._room_bytes -= len(piece)
        self._pieces.append(piece if self._room_bytes >= 0 else piece[: self._room_bytes])
        if self._room_bytes < 0:
            self._settle(self._answer(truncated=True))

    def on_message_complete(self) -> None:
        """The parser saw the end: of a chunked body, or of an answer that has none (204)."""
        self._whole = True
        if self._chunked and self._parser is not None:
            self._settle(self._answer())

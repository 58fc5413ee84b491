"""◆ One connection to an action container: a request out, its answer in, and whether it may serve another.

The head goes through httptools, the bytes of a body with a known length never do: they are counted. Where a body ends
is the parser's to say only for a chunked one.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

import httptools

from invoker.policy.outcome import Reply

HEAD_LIMIT_BYTES = 16_384
KNOWN_HEADS_MAX = 64
KNOWN_HEAD_BYTES_MAX = 1024
"""Heads that were parsed are recognised when they come again: a runtime's differ by their date and length alone."""

CHUNK_OVERHEAD = 8
"""A chunked body may take this many times the response limit on the wire (one-byte chunks take six)."""

COPIED_BODY_BYTES = 16_384
"""Up to here, joining head and body is cheaper than handing the transport two buffers."""

NO_ANSWER = Reply()
TIMED_OUT = Reply(timed_out=True)


class Head(NamedTuple):
    """What a head says of its body, where no parser is needed to find the end."""

    status: int
    announced: int | None
    keep: bool
    whole: bool


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time. Also what httptools calls back (`on_...`)."""

    __slots__ = (
        "_announced",
        "_chunked",
        "_head",
        "_head_seen",
        "_idle",
        "_in_body",
        "_keep",
        "_known_heads",
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

    def __init__(self, limit_bytes: int, idle: list[Connection], known_heads: dict[bytes, Head]) -> None:
        self._limit_bytes = limit_bytes
        self._idle = idle
        self._known_heads = known_heads
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self.reusable = False
        self.idle_since_s = 0.0
        self._await_head()

    def _await_head(self) -> None:
        self._head: bytes = b""
        self._in_body = False
        self._parser: httptools.HttpResponseParser | None = None
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
            return NO_ANSWER
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self.reusable = False
        start = b"%b%d\r\n\r\n" % (head, len(body))
        if len(body) <= COPIED_BODY_BYTES:
            transport.write(start + body)
        else:
            transport.writelines((start, body))
        timer = loop.call_at(deadline_s, self._settle, TIMED_OUT)
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
        self._settle(NO_ANSWER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        ended_by_close = exc is None and self._in_body and self._announced is None and not self._chunked
        self._settle(self._answer() if ended_by_close else NO_ANSWER)
        self.reusable = False
        if self in self._idle:
            self._idle.remove(self)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:  # nothing was asked: whatever this is, the next answer would be in doubt
            self.abort()
        elif not self._in_body:
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
            if end < 4 or end > HEAD_LIMIT_BYTES or not self._understand(data[:end]) or self._status == 101:
                self.abort()
                return
            data = data[end:]
            if self._status >= 200:
                break
            self._await_head()  # an interim answer; the real one follows
        self._in_body = True
        self._begin_body(data)

    def _understand(self, head: bytes) -> bool:
        """Find out what a whole head says; False where it is malformed."""
        known = self._known_heads.get(head)
        if known is not None:
            self._status, self._announced, self._keep, self._whole = known
            return True
        parser = self._parser = httptools.HttpResponseParser(self)
        if not self._feed(parser, head) or not self._head_seen:
            return False
        self._status = parser.get_status_code()
        if not self._chunked and len(head) <= KNOWN_HEAD_BYTES_MAX:
            if len(self._known_heads) >= KNOWN_HEADS_MAX:
                self._known_heads.clear()
            self._known_heads[head] = Head(self._status, self._announced, self._keep, self._whole)
        return True

    def _begin_body(self, data: bytes) -> None:
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
        assert self._parser is not None
        self._head_seen = True
        self._keep = self._parser.should_keep_alive()  # asked later, it has forgotten a length of 0

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

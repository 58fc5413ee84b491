"""◆ One HTTP/1.1 connection: bytes in, one request at a time to a handler, bytes out.

Written on asyncio.Protocol because the invocation path allows some 20 µs of CPU for HTTP. llhttp (in httptools) parses
and is strict about framing; what it lets through and an invoker must not (no Host, stacked transfer codings, HTTP/1.0
with chunks) is refused here. Requests are served in order, one at a time, and nothing is read meanwhile: a peer that
sends faster than it is served is held back by TCP. One timer a connection, moved lazily, bounds every wait.
"""

from __future__ import annotations

import asyncio
from typing import Literal, cast

import httptools

from invoker.io.http.messages import JSON, PLAIN, SPECIAL_FIELDS, Exchange, Refusal, Request, error_body, frame
from invoker.io.http.peer import UNKNOWN, Peer, identify
from invoker.io.http.shared import Shared

NEVER_S = float("inf")
CHUNK_OVERHEAD = 8  # bytes of framing that a byte of body may cost: `1 CRLF x CRLF` costs 5

Phase = Literal["between", "head", "body"]
Waiting = Literal["accept", "idle", "head", "body", "handler", "linger", "flush"]


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection.

    `_phase` is where the parser stands in the message being received, `_waiting` whom the deadline is for.
    """

    __slots__ = (
        "_accounted_bytes", "_body", "_body_bytes", "_continue", "_deadline_s", "_ended", "_exchange",
        "_fed_bytes", "_fields", "_framing", "_head", "_held", "_parser", "_peer", "_phase", "_pumping", "_queue",
        "_reading_paused", "_refusal", "_repeated", "_target", "_timer", "_timer_s", "_waiting",
        "_write_paused", "closing", "shared", "transport",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._peer: Peer | None = None
        self._phase: Phase = "between"
        self._waiting: Waiting = "accept"
        self._queue: list[tuple[Request, Exchange]] = []
        self._exchange: Exchange | None = None
        self._refusal: Refusal | None = None
        self._held = b""  # read while a request was being served; at most one read, for reading is paused then
        self.closing = self._ended = False
        self._pumping = self._reading_paused = self._write_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = self._deadline_s = NEVER_S
        self._fields: dict[bytes, bytes] = {}  # of the head, or the trailers, that is coming in
        self._head: dict[bytes, bytes] = self._fields
        self._body: list[bytes] = []
        self._accounted_bytes = 0
        self._reset_message()

    # -- called by the transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        shared = self.shared
        if len(shared.connections) >= shared.limits.connections and not shared.make_room():
            shared.connections[self] = None
            limit = shared.limits.connections
            self._refuse(Refusal(503, f"the invoker serves {limit} connections, its limit; try again later"))
            self._close()
            return
        shared.connections[self] = None
        self._wait("accept", shared.limits.head_timeout_s)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if self._exchange is not None or self._write_paused:
            self._held += data
            self._pause_reading()
            return
        self._parse(data)
        self._pump()

    def eof_received(self) -> bool:
        """The peer sends no more, and may still read. True keeps the connection open to answer."""
        self._ended = True
        if self.closing:
            return False
        if self._exchange is not None or self._queue:
            return True
        if self._phase == "body":
            self._refuse(Refusal(500, f"the body could not be read: it ended after {self._body_bytes} bytes"))
        elif self._phase == "head":
            self._refuse(Refusal(400, "the request's head ended early"))
        return False

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = self._parser = None  # the parser holds us: without this only the cycle collector frees both
        self.closing = True
        self._queue.clear()
        self._held = b""
        self._reset_message()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.shared.connections.pop(self, None)
        self.shared.on_change()

    # -- called by the exchange and the server -------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """Who is at the other end; found out once."""
        if self._peer is None:
            transport = self.transport
            if transport is None:
                return UNKNOWN
            self._peer = identify(transport.get_extra_info("peername"), transport.get_extra_info("peercert"))
        return self._peer

    def write(self, data: bytes) -> None:
        """Send, or drop where the peer has gone."""
        if self.transport is not None:
            self.transport.write(data)

    def exchange_done(self, keep_alive: bool) -> None:
        """The answer was written; go on with the next request, or close."""
        self._exchange = None
        if self.transport is None:
            return
        if not keep_alive or self.shared.draining:
            self._close()
        elif self._write_paused:
            self._wait("flush", self.shared.limits.idle_timeout_s)
        else:
            self._pump()

    def abort(self) -> None:
        """Cut at once."""
        self.closing = True
        self._exchange = None
        if self.transport is not None:
            self.transport.abort()

    @property
    def idle(self) -> bool:
        """No request is being served, nor received (then its own deadline bounds it)."""
        return self._exchange is None and not self._queue and self._phase == "between" and not self.closing

    @property
    def deadline_s(self) -> float:
        """When the present wait ends, on the loop's clock: of two idle connections the longer idle has the earlier."""
        return self._deadline_s

    def close_if_idle(self) -> None:
        """Close unless a request is being served or received."""
        if self.idle:
            self._close()

    # -- called by the parser ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._phase = "head"

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        fields = self._fields
        if name in fields:
            value = self._joined(name, value)
        fields[name] = value

    def on_headers_complete(self) -> None:
        parser, limits = self._parser, self.shared.limits
        self._phase = "body"
        self._head = fields = self._fields
        self._fields = {}  # for trailers, which nobody asked for, and for the next message
        if len(fields) > limits.head_fields:
            raise self._too_many_fields()
        if self._fed_bytes > limits.head_bytes:  # an upper bound was passed: count exactly
            exact = len(self._target) + sum(len(name) + len(value) + 4 for name, value in fields.items())
            if exact > limits.head_bytes:
                raise self._head_too_large()
        self._fed_bytes = 0
        length = fields.get(b"content-length")
        version = parser.get_http_version() if parser is not None else ""
        if version != "1.1" or b"host" not in fields or not SPECIAL_FIELDS.isdisjoint(fields):
            self._framing = framing = frame(version, fields)
            self._continue = framing.expects_continue and (framing.chunked or length is not None)
        if length is not None and int(length) > limits.body_bytes:
            raise self._body_too_large()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self.shared.limits.body_bytes:
            raise self._body_too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._phase = "between"
        parser, queue = self._parser, self._queue
        if parser is None:
            return
        limit = self.shared.limits.pipelined_requests
        if len(queue) < limit:
            method = parser.get_method().decode("latin-1")
            body = self._body.pop() if len(self._body) == 1 else b"".join(self._body)
            http10 = self._framing.http10
            keep_alive = parser.should_keep_alive() and not http10 and len(queue) + 1 < limit
            exchange = Exchange(self, method == "HEAD", http10, keep_alive)
            queue.append((Request(method, self._target, self._head, body, self), exchange))
        self._reset_message()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _reset_message(self) -> None:
        self._target = b""
        self._body.clear()
        self._body_bytes = self._fed_bytes = self._repeated = 0
        self._framing = PLAIN
        self._continue = False
        if self._accounted_bytes:
            self.shared.receiving_bytes -= self._accounted_bytes
            self._accounted_bytes = 0

    def _joined(self, name: bytes, value: bytes) -> bytes:
        """A field that was there before; each costs a copy, so their number is bounded as they come."""
        if name == b"host":
            raise Refusal(400, "there are two Host fields; send one")
        self._repeated += 1
        if self._repeated > self.shared.limits.head_fields:
            raise self._too_many_fields()
        return self._fields[name] + b", " + value

    def _too_many_fields(self) -> Refusal:
        return Refusal(431, f"the head has more than {self.shared.limits.head_fields} fields; send fewer")

    def _parse(self, data: bytes) -> None:
        """Feed the parser; whole requests go to the queue, the first mistake to `_refusal`."""
        parser = self._parser
        if parser is None:
            return
        self._fed_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ended = True  # nothing is offered to upgrade to: answered in HTTP/1.1, then closed
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, Refusal):
                raise
            self._refusal = error.__context__
        except httptools.HttpParserError as error:
            self._refusal = Refusal(400, f"the request is malformed: {error}")
        if self._phase != "between" and self._refusal is None:
            self._check_partial()

    def _check_partial(self) -> None:
        """Bound what a message that is still coming may hold."""
        limits, shared = self.shared.limits, self.shared
        if self._phase == "head":
            if self._fed_bytes > limits.head_bytes:
                self._refusal = self._head_too_large()
            return
        if self._framing.chunked and self._fed_bytes > limits.head_bytes + CHUNK_OVERHEAD * self._body_bytes:
            self._refusal = Refusal(400, "the body's chunks carry too little; send larger ones, without extensions")
            return
        shared.receiving_bytes += self._body_bytes - self._accounted_bytes
        self._accounted_bytes = self._body_bytes
        if shared.receiving_bytes > limits.receiving_bytes:
            self._refusal = Refusal(
                503, f"bodies of more than {limits.receiving_bytes} bytes are on their way in; try again later"
            )

    def _head_too_large(self) -> Refusal:
        return Refusal(
            431, f"the head has more than {self.shared.limits.head_bytes} bytes; send fewer or shorter fields"
        )

    def _body_too_large(self) -> Refusal:
        return Refusal(
            413, f"the body has more than {self.shared.limits.body_bytes} bytes; send a smaller one or raise BODY_LIMIT"
        )

    def _pump(self) -> None:
        """Serve what was parsed, one exchange at a time, then what was held back, then read on."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._exchange is None and not (self.closing or self._write_paused):
                if self._queue:
                    self._serve(*self._queue.pop(0))
                elif self._refusal is not None:
                    self._refuse(self._refusal)
                elif self._held:
                    data, self._held = self._held, b""
                    self._parse(data)
                else:
                    self._read_on()
                    return
        finally:
            self._pumping = False

    def _serve(self, request: Request, exchange: Exchange) -> None:
        self._exchange = exchange
        self._waiting, self._deadline_s = "handler", NEVER_S  # the timer may fire meanwhile, and finds nothing due
        self.shared.dispatch(request, exchange)

    def _read_on(self) -> None:
        """Nothing is left to serve: wait for more, each wait with its bound."""
        if self._ended:
            self._close()
            return
        if self._reading_paused and self.transport is not None:
            self._reading_paused = False
            self.transport.resume_reading()
        limits = self.shared.limits
        if self._phase == "between":
            if self._waiting != "accept":
                self._wait("idle", limits.idle_timeout_s)
        elif self._phase == "head":
            if self._waiting not in ("head", "accept"):
                self._wait("head", limits.head_timeout_s)
        else:
            if self._continue:
                self._continue = False
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._waiting != "body":
                self._wait("body", limits.body_timeout_s)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a mistake, then read and drop for a moment: closing on unread bytes would reset the answer away."""
        self.shared.on_refused(refusal.status)
        body = error_body(refusal.text)
        head = self.shared.heads.get(refusal.status, JSON)
        self.write(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self.closing = True
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            transport.resume_reading()
        self._wait("linger", self.shared.limits.linger_timeout_s)

    def _close(self) -> None:
        """Close once what was written has gone out, in bounded time."""
        self.closing = True
        self._queue.clear()
        if self.transport is not None:
            self.transport.close()
            self._wait("flush", self.shared.limits.idle_timeout_s)

    # -- the one timer -------------------------------------------------------------------------------------------------

    def _wait(self, waiting: Waiting, bound_s: float) -> None:
        """Move the deadline. The timer is touched only where it would fire too late."""
        self._waiting = waiting
        self._deadline_s = deadline_s = self.shared.loop.time() + bound_s
        if self._timer is not None:
            if self._timer_s <= deadline_s:
                return
            self._timer.cancel()
        self._timer_s = deadline_s
        self._timer = self.shared.loop.call_at(deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline_s == NEVER_S or self.transport is None:
            return
        if self.shared.loop.time() < self._deadline_s:
            self._timer_s = self._deadline_s
            self._timer = self.shared.loop.call_at(self._deadline_s, self._on_timer)
            return
        limits = self.shared.limits
        if self._waiting in ("linger", "flush") or self.transport.get_write_buffer_size():
            self.abort()
        elif self._phase == "between":
            self._close()
        elif self._phase == "head":
            self._refuse(Refusal(408, f"the head did not come within {limits.head_timeout_s:g} s; send it at once"))
        else:
            self._refuse(Refusal(408, f"the body did not come within {limits.body_timeout_s:g} s; send it faster"))

"""◆ TLS beneath an HTTP connection: between the socket's transport and `http_connection`, on OpenSSL's memory buffers.

The event loops bring a TLS of their own, which an exposed listener can't use as it is: connections in their handshake
are beyond every count, asyncio keeps a buffer of 256 KiB for each connection, a transport can't be half closed (so a
refusal may be reset away before it is read), and the context is fixed when the listener starts. This layer does what a
server needs and no more: a handshake that is bounded and counted, records in, records out, an orderly end. The context
is asked for at each accept, so a renewed certificate serves from the next connection on.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, cast

from invoker.io.http.connection import Connection
from invoker.io.http.shared import Shared

RECORD_BYTES = 16 * 1024  # the most that TLS puts in one
PIECE_BYTES = 32 * 1024  # OpenSSL's buffers never shrink: what passes through them at once stays taken
OWN_ANSWERS_BYTES = 64 * 1024  # what TLS itself may have to say to a peer that doesn't read


class TlsLayer(asyncio.Protocol, asyncio.Transport):
    """One connection's TLS: a protocol to the socket's transport, and a transport to the `Connection` above it.

    Until the handshake is done there is no `Connection`, and the layer stands in `shared.handshakes`.
    """

    __slots__ = ("_connection", "_incoming", "_outgoing", "_shared", "_ssl", "_timer", "_transport")

    def __init__(self, shared: Shared, context: ssl.SSLContext) -> None:
        self._shared = shared
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- called by the socket's transport ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        shared = self._shared
        if len(shared.handshakes) >= shared.limits.handshakes:  # the oldest is the likeliest to be stalled on purpose
            next(iter(shared.handshakes)).fail("crowded")
        shared.handshakes[self] = None
        self._timer = shared.loop.call_later(shared.limits.handshake_timeout_s, self.fail, "timeout")

    def data_received(self, data: bytes) -> None:
        if len(data) <= PIECE_BYTES:
            self._take(data)
            return
        for start in range(0, len(data), PIECE_BYTES):
            self._take(data[start : start + PIECE_BYTES])

    def eof_received(self) -> bool:
        if self._connection is None:
            self.fail("left")
            return False
        return self._connection.eof_received()

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("left")
        self._transport = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection_lost(exc)

    # -- the handshake, and what comes in ------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """End a handshake that came to nothing; `reason` is for a metric. Later it does nothing."""
        if self not in self._shared.handshakes:
            return
        self._settle()
        self._shared.on_handshake_failed(reason)
        self._shared.on_change()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    def _settle(self) -> None:
        del self._shared.handshakes[self]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _shake_hands(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            self._flush()  # the alert that tells the peer
            if self._transport is not None:
                self._transport.close()
            self.fail("refused")
        else:
            self._flush()
            self._settle()
            connection = self._connection = Connection(self._shared)
            connection.connection_made(self)

    def _take(self, data: bytes) -> None:
        incoming = self._incoming
        incoming.write(data)
        if self._connection is None:
            self._shake_hands()
        connection = self._connection
        while incoming.pending and connection is not None:
            if connection.closing:
                incoming.read()  # what comes after the end is dropped, and must not pile up
                return
            try:
                plain = self._ssl.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # the peer's farewell: it sends no more
                if not connection.eof_received():
                    self.close()
                return
            except ssl.SSLError:
                self.abort()
                return
            connection.data_received(plain)
        if self._outgoing.pending:  # TLS's own answer, to a change of keys
            self._flush()
            if self.get_write_buffer_size() > OWN_ANSWERS_BYTES and connection is not None and connection.idle:
                self.abort()

    # -- called by the connection --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            if len(data) <= PIECE_BYTES:
                self._ssl.write(data)
                transport.write(self._outgoing.read())
                return
            view = memoryview(data)
            for start in range(0, len(view), PIECE_BYTES):
                self._ssl.write(view[start : start + PIECE_BYTES])
                transport.write(self._outgoing.read())
        except ssl.SSLError:  # the peer broke the protocol meanwhile
            self.abort()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._say_farewell()
        if self._transport is not None:
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._say_farewell()
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peercert` and `ssl_object` of TLS; all else is the socket's."""
        if name == "peercert":
            return self._ssl.getpeercert()
        if name == "ssl_object":
            return self._ssl
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    def _say_farewell(self) -> None:
        with suppress(ssl.SSLError):  # it wants the peer's farewell too, which nobody waits for
            self._ssl.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing.pending and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())

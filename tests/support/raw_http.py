"""A server on loopback and raw sockets to it: what HTTP tests say and hear, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from invoker.io.http.server import HttpServer, Limits, Router

WAIT_S = 5.0


class Answer:
    """One response: its status, its fields by lower-case name, and its body, unchunked."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body


class Peer:
    """The client's side of one connection. Every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        """The next head: status and fields."""
        async with asyncio.timeout(WAIT_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        return int(lines[0].split(" ")[1]), fields

    async def body(self, fields: dict[str, str]) -> bytes:
        """The body that follows a head with these fields."""
        async with asyncio.timeout(WAIT_S):
            if "content-length" in fields:
                return await self.reader.readexactly(int(fields["content-length"]))
            if "transfer-encoding" not in fields:
                return await self.reader.read()
            parts: list[bytes] = []
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                parts.append((await self.reader.readexactly(size + 2))[:-2])
            assert await self.reader.readexactly(2) == b"\r\n"
            return b"".join(parts)

    async def answer(self) -> Answer:
        """The next response, whole."""
        status, fields = await self.head()
        return Answer(status, fields, await self.body(fields))

    async def ask(self, data: bytes) -> Answer:
        """Send, and wait for the response."""
        self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """All until the server closes; a reset counts as closing."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self.reader.read()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        """Leave without a farewell: the server gets a reset."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.abort()

    def abort(self) -> None:
        self.writer.transport.abort()


class Served:
    """A running server, what it reported, and peers of it."""

    def __init__(self, server: HttpServer, errors: list[tuple[str, BaseException]], refused: list[int]) -> None:
        self.server = server
        self.errors = errors
        self.refused = refused

    @asynccontextmanager
    async def peer(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=tls, server_hostname="localhost" if tls else None
        )
        peer = Peer(reader, writer)
        try:
            yield peer
        finally:
            peer.abort()


@asynccontextmanager
async def serving(
    router: Router,
    limits: Limits | None = None,
    tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    grace_s: float = 1.0,
    on_handshake_failed: Callable[[str], None] = lambda _reason: None,
) -> AsyncIterator[Served]:
    """Serve on loopback for the body of the `with`; nothing is left open after it."""
    errors: list[tuple[str, BaseException]] = []
    refused: list[int] = []
    server = HttpServer(
        router,
        limits,
        tls,
        on_error=lambda what, error: errors.append((what, error)),
        on_refused=refused.append,
        on_handshake_failed=on_handshake_failed,
    )
    await server.start("127.0.0.1", 0)
    try:
        yield Served(server, errors, refused)
    finally:
        await server.close(grace_s)
        assert server.connections == 0


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds, for at most WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - it is about the server's own books, which announce nothing
            await asyncio.sleep(0)


def post(body: bytes, path: str = "/invoke", *fields: str) -> bytes:
    """A POST with a Content-Length."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body

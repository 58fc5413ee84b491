"""◆ A Unix socket in front of the Docker daemon's, where commands can be made to fail.

It passes one request a connection on to the daemon, whole and unread but for the first line, unless a fault is set for
it. Faults are set by a text that the request line has to contain, as `POST .../create`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from invoker.io.docker.daemon import socket_path

PIECE_BYTES = 65_536
HEAD_BYTES_MAX = 65_536


class Exchange:
    """One request on its way: `line` is its first line, `head` all of its head."""

    def __init__(self, line: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.line = line
        self.head = head
        self.reader = reader
        self.writer = writer

    async def forward(self, *, deaf: bool = False) -> None:
        """Have the daemon do it; its answer is kept from the caller where `deaf`."""
        reader, writer = await asyncio.open_unix_connection(socket_path())
        try:
            writer.write(self.head)
            upward = asyncio.create_task(_copy(self.reader, writer))
            try:
                if deaf:
                    await reader.readuntil(b"\r\n\r\n")
                else:
                    await _copy(reader, self.writer)
            finally:
                upward.cancel()
                with suppress(asyncio.CancelledError):
                    await upward
        finally:
            writer.transport.abort()

    def answer(self, status: int, message: str) -> None:
        """Answer in the daemon's place."""
        body = f'{{"message":"{message}"}}'
        self.writer.write(
            f"HTTP/1.1 {status} Fault\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )


class DockerProxy:
    """Listens at `path` while entered. `lines` are the requests seen;"""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self._faults: list[tuple[str, str, int, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def fail(self, text: str, *, status: int = 500, message: str = "made to fail", times: int = 100) -> None:
        """Answer the next `times` requests whose first line has `text` with an error, in the daemon's place."""
        self._faults += [(text, "fail", status, message)] * times

    def lose(self, text: str) -> None:
        """Have the daemon do the next such request, and close without its answer."""
        self._faults.append((text, "lose", 0, ""))

    def hang(self, text: str) -> None:
        """Never answer the next such request."""
        self._faults.append((text, "hang", 0, ""))

    def mend(self) -> None:
        """No faults from now on."""
        self._faults.clear()

    async def __aenter__(self) -> DockerProxy:
        await self.start()
        return self

    async def start(self) -> None:
        """Take connections, again after `stop`."""
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=HEAD_BYTES_MAX)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Take no more connections, as a daemon that is down."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            if b"upgrade" not in rest.lower():
                rest = b"Connection: close\r\n" + rest
            await self._pass(Exchange(line.decode(), line + b"\r\n" + rest, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the caller has gone, or the test is over
        finally:
            writer.transport.close()
            self._tasks.discard(task)

    async def _pass(self, exchange: Exchange) -> None:
        self.lines.append(exchange.line)
        fault = next((fault for fault in self._faults if fault[0] in exchange.line), None)
        if fault is None:
            await exchange.forward()
            return
        self._faults.remove(fault)
        _, kind, status, message = fault
        if kind == "lose":
            await exchange.forward(deaf=True)
        elif kind == "hang":
            await asyncio.Event().wait()
        else:
            exchange.answer(status, message)
            await exchange.writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()

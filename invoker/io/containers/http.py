"""◆ HTTP to an action container: `/init`, `/run` and the question whether it answers yet.

Every warm activation waits for this client, and it must tell apart what no general client tells apart: refused, cut
off, timed out, answered at too great a length. So it is a client of our own; one connection of it is in
`container_connection`. It never raises for what the container does: that is in the Reply.

A request whose bytes were written is never sent again, for an action must not run twice. A kept connection that the
runtime closes in that very moment would therefore cost an activation; so only connections that were idle for less than
`IDLE_LIMIT_S` are used again, far below the idle time of any runtime's HTTP server. A freeze counts as idleness, for a
runtime's own timers go on meanwhile and fire at the thaw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from invoker.io.containers.connection import NO_ANSWER, TIMED_OUT, Connection, Head
from invoker.policy.outcome import Reply

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]

RESPONSE_LIMIT_BYTES = 1_048_576
"""Of an answer's body; what goes beyond is cut off (contract, section 12)."""

IDLE_LIMIT_S = 2.0
IDLE_CONNECTIONS_MAX = 16

PROBE_FIRST_S = 0.001
PROBE_CAP_S = 0.016
PROBE_TRY_S = 5.0


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
        self._known_heads: dict[bytes, Head] = {}
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
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
            connection = Connection(self._limit_bytes, self._idle, self._known_heads)
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

    async def _open(self, connection: Connection, timeout_s: float) -> Reply | None:
        """Connect; the Reply to give where that failed."""
        if self._closed:
            return NO_ANSWER
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect(lambda: connection)
        except TimeoutError:
            return TIMED_OUT
        except OSError:
            return NO_ANSWER
        if self._closed:
            connection.abort()
        return None

    def _take_idle(self, now_s: float) -> Connection | None:
        if not self._idle:
            return None
        connection = self._idle.pop()
        if now_s - connection.idle_since_s < IDLE_LIMIT_S and connection.usable:
            return connection
        connection.abort()  # those below it have been idle for longer still
        self.drop_idle()
        return None

    def _put_back(self, connection: Connection, now_s: float) -> None:
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

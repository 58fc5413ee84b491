"""◆ What the connections of one HTTP listener have in common: their limits, their books, and where requests go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from invoker.io.http.messages import Exchange, Heads, Request

if TYPE_CHECKING:
    from invoker.io.http.connection import Connection
    from invoker.io.http.tls_layer import TlsLayer

MIB = 1024 * 1024
ROOM_SAMPLE = 16  # connections looked at to find one that can be spared


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener allows. Past a limit the peer gets a 4xx or 503 that says so, and the connection ends.

    `body_bytes`: upstream allows payloads of 1 MiB and the queue takes messages of 2 MiB; encrypted parameters grow
    by a third and escapes may double a text, so 5 MiB refuses nothing that a controller sends.
    """

    head_timeout_s: float = 1.0  # from accept, or a request's first byte, to its whole head (contract, section 4)
    head_bytes: int = 16 * 1024
    head_fields: int = 100
    body_bytes: int = 5 * MIB
    body_timeout_s: float = 30.0  # from the head to the body's last byte
    receiving_bytes: int = 256 * MIB  # bodies on their way in, all connections together
    idle_timeout_s: float = 120.0  # between requests; also how long a peer may take to read an answer
    linger_timeout_s: float = 1.0  # after a refusal: how long the peer may go on sending before it is cut off
    handshake_timeout_s: float = 5.0  # TLS
    handshakes: int = 1000  # TLS handshakes under way; one more ends the oldest of them
    connections: int = 10_000  # once shaken hands; one more ends an idle one, and is refused where none is found
    pipelined_requests: int = 64  # parsed ahead out of one read; the rest is dropped and the connection closed


class Shared:
    """What the connections of one listener have in common."""

    __slots__ = (
        "connections",
        "dispatch",
        "draining",
        "handshakes",
        "heads",
        "limits",
        "loop",
        "on_change",
        "on_handshake_failed",
        "on_refused",
        "receiving_bytes",
    )

    def __init__(
        self,
        limits: Limits,
        dispatch: Callable[[Request, Exchange], None],
        on_change: Callable[[], None],
        on_refused: Callable[[int], None],
        on_handshake_failed: Callable[[str], None],
    ) -> None:
        self.limits = limits
        self.dispatch = dispatch
        self.on_change = on_change  # a connection ended
        self.on_refused = on_refused  # a request was refused with this status before any handler saw it
        self.on_handshake_failed = on_handshake_failed
        self.heads = Heads()
        self.connections: dict[Connection, None] = {}
        self.handshakes: dict[TlsLayer, None] = {}  # the oldest first
        self.draining = False
        self.receiving_bytes = 0
        self.loop = asyncio.get_running_loop()

    def make_room(self) -> bool:
        """End the longest idle of a few connections, so that those who hold many can't keep newcomers out.

        The few are taken from the front and put at the back: all have their turn, and no accept looks at thousands.
        False where all of them are busy.
        """
        connections = self.connections
        sample = list(islice(connections, ROOM_SAMPLE))
        for connection in sample:
            connections[connection] = connections.pop(connection)
        spare = min(
            (connection for connection in sample if connection.idle),
            key=lambda connection: connection.deadline_s,
            default=None,
        )
        if spare is None:
            return False
        spare.abort()  # and not `close`, which waits for what the peer may never read
        return True

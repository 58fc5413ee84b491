"""Crowds of connections against a listener in its own process: memory is bounded, and newcomers are served."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.integration.http.conftest import Listening
from tests.support.authority import Authority

IDLE = 10_000
IDLE_OVER_TLS = 2_000
SPARE_FILES = 500
WAIT_S = 10.0
PLAIN_BYTES_MAX = 12 * 1024  # resident, for an idle connection, the kernel's buffers not counted
TLS_BYTES_MAX = 90 * 1024
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"

Start = Callable[..., Listening]


def dial(port: int, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connection, every wait on it bounded."""
    connection = socket.create_connection(("127.0.0.1", port), WAIT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a request waits for the handshake's ACK
    return tls.wrap_socket(connection, server_hostname="localhost") if tls else connection


def ask(connection: socket.socket, request: bytes = PING) -> bytes:
    """The status line of the answer; b"" where the connection has ended."""
    connection.sendall(request)
    return connection.recv(65536).partition(b"\r\n")[0]


def has_ended(connection: socket.socket) -> bool:
    """Whether the listener has closed it; what was not read of it yet is dropped."""
    connection.settimeout(WAIT_S)
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


@contextmanager
def crowd(listening: Listening, size: int, tls: ssl.SSLContext | None = None) -> Iterator[list[socket.socket]]:
    """So many connections, each of which was served once and says nothing more."""
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(size):
            connection = stack.enter_context(dial(listening.port, tls))
            assert ask(connection) == b"HTTP/1.1 200 OK"
            connections.append(connection)
        yield connections


def report(what: str, listening: Listening, size: int, bound_bytes: int) -> None:
    """Print and judge what the connections cost."""
    state = listening.state()
    each_bytes = (state["resident_bytes"] - listening.first["resident_bytes"]) / size
    total_mib = state["resident_bytes"] >> 20
    print(f"\n{size} idle {what} connections: {each_bytes / 1024:.1f} KiB each, {total_mib} MiB in all")
    assert state["connections"] == size
    assert each_bytes < bound_bytes


@pytest.mark.contract("4")
def test_ten_thousand_idle_connections_cost_little_and_keep_nobody_out(listening: Start, files_max: int) -> None:
    size = min(IDLE, files_max - SPARE_FILES)
    listener = listening(connections=size)
    with crowd(listener, size) as connections:
        report("plain", listener, size, PLAIN_BYTES_MAX)
        began_s = time.monotonic()
        for _ in range(100):
            with dial(listener.port) as newcomer:
                assert ask(newcomer) == b"HTTP/1.1 200 OK"
        assert time.monotonic() - began_s < WAIT_S
        assert has_ended(connections[0]), "an idle connection made room"
        assert ask(connections[-1]) == b"HTTP/1.1 200 OK"
        assert listener.state()["refused"] == {}
    until(lambda: listener.state()["connections"] == 0)
    assert listener.state()["descriptors"] <= listener.first["descriptors"]


def test_idle_connections_over_tls(listening: Start, authority: Authority, files_max: int) -> None:
    size = min(IDLE_OVER_TLS, files_max - SPARE_FILES)
    listener = listening(*authority.issue("localhost"), connections=size)
    with crowd(listener, size, authority.client()):
        report("TLS", listener, size, TLS_BYTES_MAX)
        with dial(listener.port, authority.client()) as newcomer:
            assert ask(newcomer) == b"HTTP/1.1 200 OK"


def test_handshakes_that_stall_keep_nobody_out(listening: Start, authority: Authority, files_max: int) -> None:
    """More of them than may be under way at once, and none ever ends by itself."""
    stalled = min(3_000, files_max - SPARE_FILES)
    listener = listening(*authority.issue("localhost"), handshakes=1_000, handshake_timeout_s=60)
    with ExitStack() as stack:
        for number in range(stalled):
            connection = stack.enter_context(dial(listener.port))
            if number % 2:
                connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        with dial(listener.port, authority.client()) as newcomer:
            assert ask(newcomer) == b"HTTP/1.1 200 OK"
            state = listener.state()
            assert state["connections"] <= 1_001
            assert state["refused"] == {"crowded": stalled + 1 - 1_000}


def test_clients_that_never_read_are_cut_off_and_their_answers_given_back(listening: Start) -> None:
    """Each is owed 20 MB; what they are owed is let go of when their time is over."""
    listener = listening(idle_timeout_s=0.5)
    with ExitStack() as stack:
        deaf = [stack.enter_context(dial(listener.port)) for _ in range(10)]
        for connection in deaf:
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with dial(listener.port) as other:
            assert ask(other) == b"HTTP/1.1 200 OK"
        until(lambda: listener.state()["connections"] == 0)
        state = listener.state()
        grown_bytes = state["resident_bytes"] - listener.first["resident_bytes"]
        print(f"\nafter 10 deaf clients: {grown_bytes >> 20} MiB more than before")
        assert grown_bytes < 50_000_000
        assert all(has_ended(connection) for connection in deaf)


def test_a_thousand_slow_heads_are_cut_off_within_their_second(listening: Start) -> None:
    """Each drips a byte whenever it can; all are told or cut within the limit, and meanwhile others are served."""
    listener = listening(head_timeout_s=1.0)
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(1_000):
            connection = stack.enter_context(dial(listener.port))
            connection.sendall(b"GET /ping HTTP/1.1\r\nX: ")
            selector.register(connection, selectors.EVENT_READ)
        began_s = time.monotonic()
        with dial(listener.port) as other:
            assert ask(other) == b"HTTP/1.1 200 OK"
        left = 1_000
        while left:
            assert time.monotonic() - began_s < WAIT_S
            for key, _ in selector.select(0.05):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
                selector.unregister(connection)
                left -= 1
            for key in list(selector.get_map().values()):
                drip(key.fileobj)
    assert listener.state()["refused"] == {"408": 1_000}


def drip(connection: object) -> None:
    """One more byte, where it still goes."""
    assert isinstance(connection, socket.socket)
    with suppress(ConnectionResetError, BrokenPipeError):
        connection.send(b"x")


def until(condition: Callable[[], bool]) -> None:
    """Ask the listener until it holds; each question waits for an answer, so this is no busy loop."""
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s

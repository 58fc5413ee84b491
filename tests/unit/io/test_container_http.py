"""The HTTP client of action containers, against scripted peers that behave and misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from invoker.io.containers import http as container_http
from invoker.io.containers.connection import HEAD_LIMIT_BYTES, KNOWN_HEADS_MAX
from invoker.io.containers.http import RuntimeClient, tcp, unix
from invoker.policy.outcome import Reply

EACH_LOOP = True
WAIT_S = 5.0
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """A server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Read one request: its head and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return head, await self.reader.readexactly(length)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def gone(self) -> None:
        """Wait until the client has closed."""
        while await self.reader.read(65_536):
            pass


class Server:
    """Listens on a Unix socket; each connection is served by the current script."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.script: Script = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        self.connections = 0
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone: many scripts end so
        except Exception as error:  # noqa: BLE001 - told at the end of the test
            self.failures.append(error)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT_S)
        assert not self._tasks, "a script is still waiting: the client has not closed its connection"
        assert not self.failures, self.failures


def answer(*pieces: bytes, close: bool = False) -> Script:
    """Answer every request with these bytes, a write each."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                peer.send(piece)
                await peer.writer.drain()
                await asyncio.sleep(0)
            if close:
                return

    return script


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "socket")
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[RuntimeClient]:
    client = RuntimeClient(unix(server.path), host="test", response_limit_bytes=1000)
    yield client
    client.close()


async def no_idle(client: RuntimeClient) -> None:
    async with asyncio.timeout(WAIT_S):
        while "idle=0" not in repr(client):  # noqa: ASYNC110 - nothing tells of it but the next call
            await asyncio.sleep(0.001)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_request_is_whole_and_json(server: Server, client: RuntimeClient) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            seen.append(await peer.request())
            peer.send(ok(b"{}"))
        await peer.gone()

    server.script = script
    assert await client.post("/init", b'{"value":{}}', WAIT_S) == Reply(200, b"{}", 2)
    big = b"x" * 500_000
    assert await client.post("/run", big, WAIT_S) == Reply(200, b"{}", 2)
    assert seen[0] == (
        b"POST /init HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        b"Content-Length: 12\r\n\r\n",
        b'{"value":{}}',
    )
    assert seen[1][1] == big
    assert server.connections == 1


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([ok(b'{"a":1}')], Reply(200, b'{"a":1}', 7)),
        ([b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\n{}"], Reply(502, b"{}", 2)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], Reply(200, b"", 0)),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], Reply(204, b"", None)),
        ([bytes([octet]) for octet in ok(b'{"a":1}')], Reply(200, b'{"a":1}', 7)),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", ok(b"{}")], Reply(200, b"{}", 2)),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"{}")], Reply(200, b"{}", 2)),
        ([ok(b"x" * 1000)], Reply(200, b"x" * 1000, 1000)),
        ([ok(b"x" * 1001)], Reply(200, b"x" * 1000, 1001, truncated=True)),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", b"y" * 1000],
            Reply(200, b"y" * 1000, 999_999_999_999, True),
        ),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n2\r\n", b"de\r\n0\r\n\r\n"],
            Reply(200, b"abcde", None),
        ),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"258\r\n%b\r\n" % (b"z" * 600) * 2],
            Reply(200, b"z" * 1000, None, truncated=True),
        ),
    ],
)
async def test_answers(server: Server, client: RuntimeClient, pieces: list[bytes], expected: Reply) -> None:
    server.script = answer(*pieces)
    assert await client.post("/run", b"{}", WAIT_S) == expected


@pytest.mark.contract("12")
@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (999, Reply(200, b"x" * 999)),
        (1000, Reply(200, b"x" * 1000)),
        (1001, Reply(200, b"x" * 1000, None, truncated=True)),
    ],
)
async def test_body_until_close(server: Server, client: RuntimeClient, size_bytes: int, expected: Reply) -> None:
    server.script = answer(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * size_bytes, close=True)
    assert await client.post("/run", b"{}", WAIT_S) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * HEAD_LIMIT_BYTES + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_no_whole_answer(server: Server, client: RuntimeClient, data: bytes) -> None:
    server.script = answer(data, close=True)
    assert await client.post("/run", b"{}", WAIT_S) == Reply()


async def test_endless_head_is_cut(server: Server, client: RuntimeClient) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        while not peer.reader.at_eof():
            peer.send(b"A: b\r\n" * 1000)
            await peer.writer.drain()

    server.script = script
    assert await client.post("/run", b"{}", WAIT_S) == Reply()


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"1;" + b"e" * 500 + b"\r\nx\r\n", b"0\r\nT: t\r\n"])
async def test_chunks_that_are_mostly_wrapping_are_cut(server: Server, client: RuntimeClient, piece: bytes) -> None:
    """Neither extensions nor trailers nor tiny chunks make us read without end."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + piece)
        trailer = piece if not piece.startswith(b"0") else b"T: t\r\n"
        while not peer.reader.at_eof():
            peer.send(trailer)
            await peer.writer.drain()

    server.script = script
    reply = await client.post("/run", b"{}", WAIT_S)
    assert not reply.timed_out
    assert reply.status is None or reply.truncated
    assert len(reply.body) <= 1000


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_timeout_closes_the_connection(server: Server, client: RuntimeClient, data: bytes) -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(data)
        await peer.gone()
        closed.set()

    server.script = script
    assert await client.post("/run", b"{}", 0.05) == Reply(timed_out=True)
    await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_timeout_covers_connecting() -> None:
    async def never(_: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, asyncio.Protocol]:
        await asyncio.Event().wait()
        raise AssertionError

    assert await RuntimeClient(never, host="test").post("/run", b"{}", 0.01) == Reply(timed_out=True)


async def test_refused_and_missing(tmp_path: Path, unused_tcp_port: int) -> None:
    assert await RuntimeClient(unix(str(tmp_path / "none")), host="test").post("/run", b"{}", WAIT_S) == Reply()
    assert await RuntimeClient(tcp("127.0.0.1", unused_tcp_port), host="test").post("/run", b"{}", WAIT_S) == Reply()


async def test_tcp(server: Server) -> None:
    listener = await asyncio.start_server(server._serve, "127.0.0.1", 0)
    client = RuntimeClient(tcp("127.0.0.1", listener.sockets[0].getsockname()[1]), host="test")
    assert await client.post("/run", b"{}", WAIT_S) == Reply(200, b"{}", 2)
    client.close()
    listener.close()


async def test_overlapping_calls_have_a_connection_each_and_the_last_used_is_first(
    server: Server, client: RuntimeClient
) -> None:
    arrived, go = asyncio.Barrier(3), asyncio.Event()
    numbers: list[int] = []

    async def script(peer: Peer) -> None:
        number = server.connections
        await peer.request()
        await arrived.wait()
        if number == 2:
            await go.wait()
        peer.send(ok(b"{}"))
        while True:
            await peer.request()
            numbers.append(number)
            peer.send(ok(b"{}"))

    server.script = script
    calls = [asyncio.create_task(client.post("/run", b"{}", WAIT_S)) for _ in range(2)]
    await arrived.wait()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    go.set()
    await asyncio.gather(*calls)
    await client.post("/run", b"{}", WAIT_S)
    assert numbers == [2]
    assert repr(client) == "<RuntimeClient test busy=0 idle=2>"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}surplus",
    ],
)
async def test_connections_not_kept(server: Server, client: RuntimeClient, head: bytes) -> None:
    server.script = answer(head)
    for _ in range(2):
        assert (await client.post("/run", b"{}", WAIT_S)).body == b"{}"
    assert server.connections == 2


async def test_idle_too_long_is_not_used_again(
    server: Server, client: RuntimeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/run", b"{}", WAIT_S)
    monkeypatch.setattr(container_http, "IDLE_LIMIT_S", 0.0)
    await client.post("/run", b"{}", WAIT_S)
    assert server.connections == 2


async def test_closed_by_the_peer_while_idle_is_not_used_again(server: Server, client: RuntimeClient) -> None:
    server.script = answer(ok(b"{}"), close=True)
    assert (await client.post("/run", b"{}", WAIT_S)).status == 200
    await no_idle(client)
    assert (await client.post("/run", b"{}", WAIT_S)).status == 200


async def test_unasked_bytes_while_idle_end_the_connection(server: Server, client: RuntimeClient) -> None:
    ask = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(ok(b"{}"))
        await ask.wait()
        peer.send(ok(b'{"forged":1}'))
        await peer.gone()

    server.script = script
    await client.post("/run", b"{}", WAIT_S)
    ask.set()
    await no_idle(client)
    server.script = answer(ok(b'{"true":1}'))
    assert (await client.post("/run", b"{}", WAIT_S)).body == b'{"true":1}'


@pytest.mark.contract("12")
async def test_a_request_that_was_written_is_never_sent_twice(server: Server, client: RuntimeClient) -> None:
    requests = 0

    async def script(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1
        peer.send(ok(b"{}"))
        await peer.request()
        requests += 1  # and close without a byte

    server.script = script
    assert (await client.post("/run", b"{}", WAIT_S)).status == 200
    assert await client.post("/run", b"{}", WAIT_S) == Reply()
    assert (requests, server.connections) == (2, 1)


async def test_cancelled_call_closes_its_connection(server: Server, client: RuntimeClient) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
        asked.set()
        await peer.gone()
        closed.set()

    server.script = script
    call = asyncio.create_task(client.post("/run", b"{}", WAIT_S))
    await asked.wait()
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(closed.wait(), WAIT_S)
    assert repr(client) == "<RuntimeClient test busy=0 idle=0>"


async def test_answer_before_the_request_was_sent_is_taken_and_the_connection_dropped(server: Server) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        await peer.gone()

    server.script = script
    client = RuntimeClient(unix(server.path), host="test")
    assert await client.post("/run", b"x" * 50_000_000, WAIT_S) == Reply(413, b"{}", 2)
    assert "idle=0" in repr(client)
    client.close()


@pytest.mark.contract("12")
async def test_ready_once_anything_answers(tmp_path: Path) -> None:
    server = Server(tmp_path / "late")
    server.script = answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    client = RuntimeClient(unix(server.path), host="test")
    waiting = asyncio.create_task(client.ready(WAIT_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    await server.open()
    assert await asyncio.wait_for(waiting, WAIT_S)
    client.close()
    await server.close()


@pytest.mark.contract("12")
async def test_ready_gives_up(tmp_path: Path, server: Server) -> None:
    assert not await RuntimeClient(unix(str(tmp_path / "none")), host="test").ready(0.02)
    server.script = answer(b"garbage\r\n\r\n", close=True)
    client = RuntimeClient(unix(server.path), host="test")
    assert not await client.ready(0.02)
    client.close()


async def test_probe_waits_double_up_to_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)
        await real_sleep(0)
        if len(waits) == 9:
            client.close()

    monkeypatch.setattr(container_http.asyncio, "sleep", sleep)
    client = RuntimeClient(unix(str(tmp_path / "none")), host="test")
    assert not await client.ready(60)
    assert waits == [0.001, 0.002, 0.004, 0.008, 0.016, 0.016, 0.016, 0.016, 0.016]


async def test_drop_idle_and_close(server: Server, client: RuntimeClient) -> None:
    await client.post("/run", b"{}", WAIT_S)
    client.drop_idle()
    assert repr(client) == "<RuntimeClient test busy=0 idle=0>"
    asked = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()

    server.script = silent
    call = asyncio.create_task(client.post("/run", b"{}", WAIT_S))
    await asked.wait()
    client.close()
    client.close()
    assert await call == Reply()
    assert await client.post("/run", b"{}", WAIT_S) == Reply()
    assert server.connections == 2


@pytest.mark.parametrize(
    ("wire", "reply", "connections"),
    [
        (ok(b"{}"), Reply(200, b"{}", 2), 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Reply(204, b"", None), 1),
        (b"HTTP/1.1 502 Oh\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", Reply(502, b"x", 1), 3),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"abc"), Reply(200, b"abc", 3), 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Reply(200, b"{}", None), 3),
    ],
)
async def test_a_head_that_comes_again_means_the_same(
    server: Server, client: RuntimeClient, wire: bytes, reply: Reply, connections: int
) -> None:
    server.script = answer(wire)
    assert [await client.post("/run", b"{}", WAIT_S) for _ in range(3)] == [reply] * 3
    assert server.connections == connections


async def test_more_heads_than_are_remembered(server: Server, client: RuntimeClient) -> None:
    rounds = 3 * KNOWN_HEADS_MAX

    async def script(peer: Peer) -> None:
        for number in range(rounds):
            await peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: %d\r\n\r\n" % (number, number % 7))
            peer.send(b"y" * (number % 7))
        await peer.gone()

    server.script = script
    for number in range(rounds):
        assert (await client.post("/run", b"{}", WAIT_S)).body == b"y" * (number % 7)
    assert server.connections == 1

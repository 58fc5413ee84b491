"""Attaching to a container's output, against a scripted daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from invoker.io.docker.attach import ANSWER_LIMIT_BYTES, attach
from invoker.io.docker.daemon import DockerFault

EACH_LOOP = True
WAIT_S = 5.0
CONTAINER = "c" * 64
SWITCH = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def daemon(path: Path, script: Script) -> AsyncIterator[list[bytes]]:
    """Serves each connection by `script`, once its request was read; the requests."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            await script(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller has gone
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    yield requests
    server.close()


@pytest.mark.contract("10")
async def test_frames_reach_the_feed_and_the_end_is_seen(tmp_path: Path) -> None:
    fed: list[bytes] = []
    more = asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> None:
        for piece in (SWITCH[:20], SWITCH[20:] + b"first"):
            writer.write(piece)
            await writer.drain()
        await more.wait()
        writer.write(b"second")

    async with daemon(tmp_path / "socket", script) as requests:
        stream = await attach(str(tmp_path / "socket"), "v1.41", CONTAINER, fed.append, limit_s=WAIT_S)
        assert not stream.ended.done()
        more.set()
        await asyncio.wait_for(stream.ended, WAIT_S)
        assert b"".join(fed) == b"firstsecond"
        head = f"POST /v1.41/containers/{CONTAINER}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n".encode()
        assert requests[0].startswith(head)
        stream.close()
        stream.close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'HTTP/1.1 404 Not Found\r\n\r\n{"message":"No such container"}', "No such container"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "500 Oops"),
        (b"nonsense\r\n\r\n", "nonsense"),
        (b"HTTP/1.1 101 ", "the daemon closed the connection"),
        (b"x" * (ANSWER_LIMIT_BYTES + 1), "has no end"),
    ],
)
async def test_refusals(tmp_path: Path, answer: bytes, message: str) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with daemon(tmp_path / "socket", script):
        with pytest.raises(DockerFault, match=f"docker attach of container cccccccccccc: .*{message}"):
            await attach(str(tmp_path / "socket"), "v1.41", CONTAINER, lambda _: None, limit_s=WAIT_S)


async def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> None:
        await over.wait()

    async with daemon(tmp_path / "socket", script):
        with pytest.raises(DockerFault, match=r"gave up after 0\.05 s"):
            await attach(str(tmp_path / "socket"), "v1.41", CONTAINER, lambda _: None, limit_s=0.05)
        over.set()


async def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(DockerFault, match="no daemon answers at"):
        await attach(str(tmp_path / "none"), "v1.41", CONTAINER, lambda _: None, limit_s=WAIT_S)

"""◆ What a container prints, straight from the daemon's socket.

A container whose output nobody reads blocks in its next write, so the stream is read all the time, whatever becomes of
it. Docker "hijacks" the connection: after one HTTP answer it carries frames and nothing else. They go to the decoder in
`data_received` itself, with no queue and no task between, for the end of every activation waits for its last line here.

The stream has to be opened before the container starts (attached later, lines are missed, and attached to one that has
exited, no end ever comes). Its end means that the container's main process has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from invoker.io.docker.daemon import DockerFault

ANSWER_LIMIT_BYTES = 16_384


async def attach(
    socket: str, api_version: str, container: str, feed: Callable[[bytes], object], *, limit_s: float
) -> OutputStream:
    """Open the output stream of `container` (its id), which is created and not yet started.

    `feed` is given the raw frames as they come, and must not raise. Raises DockerFault, also after `limit_s`.
    """
    loop = asyncio.get_running_loop()
    stream = OutputStream(feed)
    what = f"docker attach of container {container[:12]}"
    try:
        async with asyncio.timeout(limit_s):
            transport, _ = await loop.create_unix_connection(lambda: stream, socket)
            transport.write(
                (
                    f"POST /{api_version}/containers/{container}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n"
                    "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
                ).encode("ascii")
            )
            refusal = await stream.answered
    except TimeoutError as error:
        stream.close()
        raise DockerFault(f"{what} gave up after {limit_s:g} s", None) from error
    except OSError as error:
        raise DockerFault(f"{what}: no daemon answers at {socket} ({error})", None) from error
    except BaseException:
        stream.close()
        raise
    if refusal is not None:
        stream.close()
        raise DockerFault(f"{what}: {refusal}", None)
    return stream


class OutputStream(asyncio.Protocol):
    """One attached stream. `answered` gets None, or the reason why there is no stream; `ended` when it is over."""

    def __init__(self, feed: Callable[[bytes], object]) -> None:
        loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[str | None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._feed = feed
        self._head = b""
        self._streaming = False
        self._transport: asyncio.Transport | None = None

    def close(self) -> None:
        """Stop reading. Twice is once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._streaming:
            self._feed(data)
        else:
            self._read_answer(data)

    def _read_answer(self, data: bytes) -> None:
        self._head += data
        head, end, frames = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > ANSWER_LIMIT_BYTES:
                self._answer("the daemon's answer has no end")
            return
        line = head.partition(b"\r\n")[0]
        if line.split(b" ")[1:2] not in ([b"101"], [b"200"]):  # 200 comes from daemons that know no upgrade
            text = frames[:ANSWER_LIMIT_BYTES].strip() or line
            self._answer(text.decode("utf-8", "replace"))
            return
        self._streaming = True
        self._head = b""
        self._answer(None)
        if frames:
            self._feed(frames)

    def _answer(self, refusal: str | None) -> None:
        if not self.answered.done():
            self.answered.set_result(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer(f"the daemon closed the connection ({exc})" if exc else "the daemon closed the connection")
        if not self.ended.done():
            self.ended.set_result(None)

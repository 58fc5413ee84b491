"""◆ A small server of either kind, for test_http_servers: answers POST /invoke with an early head, then a body.

Prints its port; when its standard input ends, prints the CPU seconds that it spent since the first line it read.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from invoker.io.http.server import Exchange, HttpServer, Request, Router

ANSWER = b'{"response":"' + b"x" * 200 + b'"}'


async def start_own() -> tuple[int, Callable[[], Awaitable[None]]]:
    """The invoker's own server: its port, and how to close it."""

    async def invoke(_request: Request, exchange: Exchange) -> None:
        exchange.begin()
        exchange.finish(ANSWER)

    router = Router()
    router.add("POST", "/invoke", invoke)
    server = HttpServer(router, on_error=lambda what, error: print(what, error, file=sys.stderr))
    await server.start("127.0.0.1", 0)

    async def close() -> None:
        await server.close(1.0)

    return server.port, close


async def start_aiohttp() -> tuple[int, Callable[[], Awaitable[None]]]:
    """aiohttp.web doing the same, its access log off."""

    async def invoke(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(ANSWER)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/invoke", invoke)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner.addresses[0][1], runner.cleanup


async def serve(kind: str) -> None:
    """Serve until standard input ends."""
    port, close = await (start_own() if kind == "own" else start_aiohttp())
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)  # the warm-up is over
    spent_s = time.process_time()
    print("measuring", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(time.process_time() - spent_s, flush=True)
    await close()


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(serve(sys.argv[1]))
    else:
        asyncio.run(serve(sys.argv[1]))

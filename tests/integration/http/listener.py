"""A listener in a process of its own, so that its memory, CPU and file descriptors can be told from the test's.

`python listener.py <limits as JSON> [<certificate> <key>]` prints a line of JSON when it serves, and one for each line
that it reads: its port, resident memory, CPU time, connections and open descriptors. It ends when its input does, so
also with the test that started it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import ssl
import sys
import time
from collections import Counter
from pathlib import Path

from invoker.io.http.server import Exchange, HttpServer, Limits, Request, Router
from invoker.io.http.tls import server_context

PAGE_BYTES = resource.getpagesize()
FILES_WANTED = 20_000
LARGE_BYTES = 20_000_000


def echo(request: Request, exchange: Exchange) -> None:
    """The body's length, or at `/large` more than anybody's buffers hold."""
    exchange.respond(200, b"x" * LARGE_BYTES if request.path == "/large" else b"%d" % len(request.body))


async def serve(limits: Limits, tls: ssl.SSLContext | None) -> None:
    """Serve until the input ends."""
    router = Router()
    for method, path in (("POST", "/invoke"), ("GET", "/ping"), ("GET", "/large")):
        router.add(method, path, echo)
    refused: Counter[str] = Counter()
    server = HttpServer(
        router,
        limits,
        tls,
        on_error=lambda what, error: print(what, repr(error), file=sys.stderr),
        on_refused=lambda status: refused.update([str(status)]),
        on_handshake_failed=lambda reason: refused.update([reason]),
    )
    await server.start("127.0.0.1", 0)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while True:
        gc.collect()
        state = {
            "port": server.port,
            "resident_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,  # noqa: ASYNC240
            "cpu_s": time.process_time(),
            "connections": server.connections,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "refused": refused,
        }
        print(json.dumps(state), flush=True)
        if not await lines.readline():
            break
    await server.close(0.1)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_WANTED, hard), hard))
    files = [Path(argument) for argument in sys.argv[2:]]
    context = server_context(*files) if files else None
    import uvloop

    uvloop.run(serve(Limits(**json.loads(sys.argv[1])), context))

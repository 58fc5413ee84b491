"""Why the invoker has an HTTP server of its own: CPU per small POST with an early head, beside aiohttp.web's.

`python -m tests.benchmarks.http_cpu`; docs/decisions/0003 quotes what this prints.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONNECTIONS = 8
REQUESTS_EACH = 500
WARM_UP_EACH = 100
ROUNDS = 3
BODY = b'{"content":"' + b"y" * 600 + b'"}'
REQUEST = b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
END = b"0\r\n\r\n"


async def ask(port: int, times: int) -> None:
    """One connection's requests, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(times):
        writer.write(REQUEST)
        answer = await reader.readuntil(END)
        assert answer.startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def ask_all(port: int, times: int) -> None:
    """All connections at once."""
    await asyncio.wait_for(asyncio.gather(*(ask(port, times) for _ in range(CONNECTIONS))), 60)


def cpu_per_request_us(kind: str, loop: str) -> float:
    """CPU of the server's process per request."""
    command = [sys.executable, "-m", "tests.benchmarks.http_servers", kind, loop]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        asyncio.run(ask_all(port, WARM_UP_EACH))
        server.stdin.write("\n")
        server.stdin.flush()
        server.stdout.readline()
        asyncio.run(ask_all(port, REQUESTS_EACH))
        server.stdin.close()
        spent_s = float(server.stdout.readline())
    return spent_s / (CONNECTIONS * REQUESTS_EACH) * 1e6


def table() -> list[str]:
    """Rows of Markdown."""
    rows = ["| loop | server | CPU a POST, median µs | least - most |", "|---|---|---|---|"]
    for loop in ("asyncio", "uvloop"):
        figures: dict[str, list[float]] = {"own": [], "aiohttp.web": []}
        for _ in range(ROUNDS):
            for kind, rounds in figures.items():
                rounds.append(cpu_per_request_us(kind.removesuffix(".web"), loop))
        for kind, rounds in figures.items():
            rows.append(
                f"| {loop} | {kind} | {statistics.median(rounds):.0f} | {min(rounds):.0f} - {max(rounds):.0f} |"
            )
    return rows


if __name__ == "__main__":
    print("\n".join(table()))

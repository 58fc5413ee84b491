"""The watch of the cluster against an API server in a process of its own, over TLS, that is killed and comes back.

It is a pod's case in full: credentials in a directory, an address from the environment's variables, real time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import IPAddress

from invoker.firewall.state import ClusterState
from invoker.io.kubernetes.settings import KubernetesSettings
from invoker.io.kubernetes.watch import ClusterWatch
from tests.support.authority import Authority
from tests.support.kubernetes_api import (
    API_SLICES,
    DNS_SERVICES,
    DNS_SLICES,
    NODES,
    endpoint_slice,
    node,
    service,
    service_account,
)
from tests.support.kubernetes_following import News

ROOT = Path(__file__).parents[3]
DNS = "serverless-coredns"
TIMEOUT_S = 30.0


class ApiServerProcess:
    """The fake API server as a child. It ends with its standard input, so it outlives no test, killed or not."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    async def order(self, *order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        assert await self.line() == "done"

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def api_server(chain: tuple[Path, Path], port: int = 0, version: int = 100) -> AsyncIterator[ApiServerProcess]:
    command = [sys.executable, "-m", "tests.support.kubernetes_api", str(port), *map(str, chain), str(version)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    server = ApiServerProcess(process, "")
    try:
        server.url = await server.line()
        assert server.url
        yield server
    finally:
        if process.returncode is None:
            await server.kill()


async def populate(server: ApiServerProcess, external: str) -> None:
    await server.order("put", NODES, "node-1", node(("ExternalIP", external)))
    await server.order("put", API_SLICES, "kubernetes", endpoint_slice("kubernetes", "198.51.100.1"))
    await server.order("put", DNS_SERVICES, DNS, service("10.245.0.10"))
    await server.order("put", DNS_SLICES, f"{DNS}-abcde", endpoint_slice(DNS, "10.244.0.5"))


def expected(external: str) -> ClusterState:
    return ClusterState((external,), ("198.51.100.1",), "10.245.0.10", ("10.244.0.5",))


@pytest.mark.contract("17")
@pytest.mark.parametrize("restored", [False, True], ids=["versions go on", "versions of a restored backup"])
async def test_a_killed_api_server_is_followed_when_it_comes_back(tmp_path: Path, restored: bool) -> None:
    """Where its versions are those of an older backup, a watch from the future says nothing: the resync finds out."""
    authority = Authority(tmp_path)
    chain = authority.issue("api-server", alternatives=[IPAddress(ip_address("127.0.0.1"))])
    account = service_account(tmp_path / "account", authority=authority.file.read_text())
    news = News()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(api_server(chain, version=1000))
        await populate(server, "203.0.113.1")
        settings = KubernetesSettings(
            url=server.url, credentials_dir=str(account), resync_s=1.0, backoff_first_s=0.05, settle_s=0.01
        )
        watch = ClusterWatch(settings, news.changed, observer=news)
        assert (await watch.check()).startswith("reachable, version v1.")
        stack.push_async_callback(watch.close)
        await watch.open()
        assert watch.state() == expected("203.0.113.1")
        await server.order("put", NODES, "node-1", node(("ExternalIP", "203.0.113.2")))
        await news.until(lambda: watch.state() == expected("203.0.113.2"), "a change is seen")

        await server.kill()
        await news.until(lambda: news.faults >= 4, "nobody answers")
        assert watch.state() == expected("203.0.113.2"), "the last state holds"

        port = int(server.url.rpartition(":")[2])
        again = await stack.enter_async_context(api_server(chain, port, 10 if restored else 5000))
        await populate(again, "203.0.113.3")
        await news.until(lambda: watch.state() == expected("203.0.113.3"), "the new server's state is seen")
        await news.until(lambda: news.changes >= 2, "both changes are told")

"""◆ Reflectors under test: their time and chance are the test's, and what they are told can be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from invoker.io.kubernetes.api import KubernetesApi
from invoker.io.kubernetes.objects import Node, nodes
from invoker.io.kubernetes.reflector import Pace, Reflector
from invoker.io.kubernetes.settings import KubernetesSettings
from tests.support.kubernetes_api import NODES, FakeApiServer, service_account

WAIT_S = 10.0


class Pacing:
    """Time that passes only when told to. `waits` holds the seconds of every wait; none of them takes time."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []
        self.waited = asyncio.Event()

    async def wait(self, span_s: float) -> None:
        self.waits.append(span_s)
        self.waited.set()
        await asyncio.sleep(0)

    @property
    def pace(self) -> Pace:
        return Pace(self.wait, lambda: self.now_s, lambda: 0.5)


class News:
    """Callback and Observer in one: everything wakes who waits for a condition."""

    def __init__(self) -> None:
        self.changes = 0
        self.lists = 0
        self.faults = 0
        self.up: dict[str, bool] = {}
        self._something = asyncio.Event()

    def changed(self) -> None:
        self.changes += 1
        self._something.set()

    def listed(self, resource: str) -> None:
        self.lists += 1
        self._something.set()

    def watching(self, resource: str, up: bool) -> None:
        self.up[resource] = up
        self._something.set()

    def failed(self, resource: str) -> None:
        self.faults += 1
        self._something.set()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition holds; it may change only with what is told here."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._something.clear()
                    await self._something.wait()
        except TimeoutError:
            raise AssertionError(f"did not come about: {what}") from None


class Following:
    """A reflector of the nodes, and how it is followed."""

    def __init__(self, server: FakeApiServer, reflector: Reflector[Node], news: News, pacing: Pacing) -> None:
        self.server = server
        self.reflector = reflector
        self.news = news
        self.pacing = pacing

    async def equal(self) -> None:
        """Wait until the copy is what the server has: the same names, of the same objects, at the same versions."""

        def theirs() -> set[tuple[str, str, str]]:
            metadata = [found["metadata"] for found in self.server.objects(NODES).values()]
            return {(meta["name"], meta["uid"], meta["resourceVersion"]) for meta in metadata}

        def ours() -> set[tuple[str, str, str]]:
            metadata = [found.metadata for found in self.reflector.objects.values()]
            return {(meta.name, meta.uid, meta.resource_version) for meta in metadata}

        await self.news.until(lambda: ours() == theirs(), "the copy is like the original")

    async def asked(self, verb: Any, times: int) -> None:
        """Wait until the server has had so many of these requests; a watch is answered by then."""
        async with asyncio.timeout(WAIT_S):
            await self.server.watched(NODES, verb, times - 1)


@asynccontextmanager
async def following(server: FakeApiServer, directory: Path, **given: Any) -> AsyncIterator[Following]:
    """A reflector that runs; `given` are settings."""
    settings = KubernetesSettings(url=server.url, credentials_dir=str(service_account(directory)), **given)
    news, pacing = News(), Pacing()
    api = KubernetesApi(settings)
    reflector = Reflector(api, nodes(), settings, news.changed, news, pacing.pace)
    task = asyncio.create_task(reflector.run())
    try:
        yield Following(server, reflector, news, pacing)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()

"""The Docker engine's lab: real containers of a real daemon, on a network of this run's own."""

from __future__ import annotations

import functools
import itertools
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from invoker.io.docker.engine import DockerEngine
from invoker.io.docker.settings import DockerSettings
from invoker.ports import Container
from tests.contract.engine.lab import LIMIT_S, LOST, MUTE, spec
from tests.support import docker_images as images
from tests.support.docker_fixtures import inspect, marked

IMAGES = Path(__file__).parent / "images"
_identities = itertools.count(1001)  # the fixtures count from 1


@functools.cache
def odd_images() -> dict[str, str]:
    """Kind -> image of the kinds that only tests want; asked of the daemon once in a run."""
    base = images.base_image("python")
    kinds = ((LOST, "lost"), (MUTE, "mute"))
    return {kind: images.build(IMAGES / place, base=base, repository=place) for kind, place in kinds}


class DockerLab:
    """Implements Lab."""

    name = "docker"

    def __init__(self, request: pytest.FixtureRequest, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._settings: Callable[..., DockerSettings] = request.getfixturevalue("docker_settings")
        self._images: dict[str, str] = dict(request.getfixturevalue("docker_images"))
        self.identities: list[int] = []
        self._owner = self._settings().owner
        self._images |= odd_images()

    async def engine(self, *, ready_timeout_s: float = LIMIT_S, identity: int | None = None) -> DockerEngine:
        engine = self._new(identity if identity is not None else next(_identities), ready_timeout_s)
        await engine.open()
        self._stack.push_async_callback(engine.close)
        return engine

    def image(self, kind: str) -> str:
        return self._images.get(kind, "functions-invoker-test/there-is-none:such")

    async def orphan(self) -> int:
        """The engine is only closed after its container was removed by the one that the test opens."""
        identity = next(_identities)
        engine = await self.engine(identity=identity)
        await engine.start(spec(self), lambda _: None)
        return identity

    def standing(self, identity: int) -> list[str]:
        return marked(self._owner, identity)

    async def kill(self, container: Container) -> None:
        os.kill(inspect(container.id)["State"]["Pid"], signal.SIGKILL)

    def _new(self, identity: int, ready_timeout_s: float) -> DockerEngine:
        self.identities.append(identity)
        prefix = f"lab{os.getpid()}-{identity}"
        settings = self._settings(instance=identity, name_prefix=prefix, ready_timeout_s=ready_timeout_s)
        return DockerEngine(settings)

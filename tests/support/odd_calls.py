"""Calls to containers of the odd runtime, for tests of the Docker engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from invoker.io.docker.container import DockerContainer
from invoker.io.docker.engine import DockerEngine
from invoker.policy.types import ContainerId
from invoker.ports import ContainerSpec
from tests.support.docker_fixtures import docker

WAIT_S = 20.0
LOG_LIMIT_BYTES = 10_000
MEMORY_MB = 128


def unexpected(oom: bool) -> None:
    """For containers that are to live until they are removed."""
    raise AssertionError(f"a container died unasked, oom={oom}")


class Deaths:
    """What a container's engine reports of its end."""

    def __init__(self) -> None:
        self.reported: list[bool] = []
        self.first = asyncio.Event()

    def __call__(self, oom: bool) -> None:
        self.reported.append(oom)
        self.first.set()


def spec(image: str, number: int = 1) -> ContainerSpec:
    """What to start."""
    return ContainerSpec(ContainerId(number), "python:3", image, MEMORY_MB, ("guest", "hello"))


def value(**parameters: Any) -> bytes:
    """The body of a run."""
    return json.dumps({"value": parameters}).encode()


async def run(container: DockerContainer, **parameters: Any) -> dict[str, Any]:
    """A good run, with its log; its result."""
    container.arm_logs(LOG_LIMIT_BYTES)
    reply = await container.run(value(**parameters), WAIT_S)
    log = await container.collect_logs(WAIT_S)
    assert reply.status == 200, reply
    assert log.complete
    return json.loads(reply.body)


async def gone(engine: DockerEngine, name: str) -> None:
    """Wait until Docker no longer knows the container, and its address is free."""
    async with asyncio.timeout(WAIT_S):
        while name in docker("ps", "--all", "--format", "{{.Names}}").split() or "taken=0 " not in repr(engine):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

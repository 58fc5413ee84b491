"""Where an engine is put under test: how it is made, and how its machine is looked at and interfered with.

The tests know engines only through this. `fake`, `process` and `docker` each have a Lab; a new engine needs a new one,
and no new test.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from invoker.policy.outcome import Reply
from invoker.policy.types import ContainerId
from invoker.ports import Container, ContainerEngine, ContainerSpec

ACTION = (Path(__file__).parent / "act.py").read_text()
MEMORY_MB = 128
LIMIT_S = 30.0
LOG_LIMIT_BYTES = 1_000_000

LOST = "the container's runtime never starts"  # kinds that a lab offers beside python:3
MUTE = "the container's runtime never answers"

_numbers = itertools.count(1)


class Deaths:
    """What `died` was told."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self._event = asyncio.Event()

    def __call__(self, oom: bool) -> None:
        self.told.append(oom)
        self._event.set()

    async def first(self) -> bool:
        """The first report, once it has come."""
        async with asyncio.timeout(LIMIT_S):
            await self._event.wait()
        return self.told[0]


class Lab(Protocol):
    """One engine's place of work."""

    name: str
    identities: list[int]
    """Of all its engines so far."""

    async def engine(self, *, ready_timeout_s: float = LIMIT_S, identity: int | None = None) -> ContainerEngine:
        """A new engine, opened; the lab closes it. The same `identity`: another life of the same invoker."""
        ...

    def image(self, kind: str) -> str:
        """The image of a kind; anything for engines that know no images."""
        ...

    async def orphan(self) -> int:
        """Leave a container as an invoker does that is killed; the identity of its invoker."""
        ...

    def standing(self, identity: int) -> list[str]:
        """What there is of this identity's containers on the machine: none when all was removed."""
        ...

    async def kill(self, container: Container) -> None:
        """Kill the main process from outside; a frozen one may die only when it is thawed."""
        ...


def spec(lab: Lab, kind: str = "python:3", memory_mb: int = MEMORY_MB) -> ContainerSpec:
    """What to start, under a new number."""
    return ContainerSpec(ContainerId(next(_numbers)), kind, lab.image(kind), memory_mb, ("guest", "act"))


async def started(lab: Lab, engine: ContainerEngine, died: Callable[[bool], None] | None = None) -> Container:
    """A started container of python:3."""
    return await engine.start(spec(lab), died or Deaths())


async def initialised(lab: Lab, engine: ContainerEngine, died: Callable[[bool], None] | None = None) -> Container:
    """A container that has taken the action."""
    container = await started(lab, engine, died)
    reply = await init(container)
    assert reply.status == 200, reply
    return container


async def init(container: Container, timeout_s: float = LIMIT_S, **env: str) -> Reply:
    """/init with the action, and an environment."""
    value = {"name": "act", "main": "main", "code": ACTION, "binary": False, "env": env}
    return await container.init(json.dumps({"value": value}).encode(), timeout_s)


async def run(container: Container, do: str = "echo", timeout_s: float = LIMIT_S, **value: Any) -> Reply:
    """/run with parameters."""
    return await container.run(json.dumps({"value": {"do": do} | value}).encode(), timeout_s)


def result(reply: Reply) -> Any:
    """The JSON of an answer that is good."""
    assert reply.status == 200, reply
    return json.loads(reply.body)


async def eventually(true: Callable[[], object], what: str) -> None:
    """Wait, with a bound, until something is true that no event tells."""
    give_up_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < give_up_s, f"not within {LIMIT_S:g} s: {what}"
        await asyncio.sleep(0.01)


def open_files() -> int:
    """How many file descriptors this process has. uvloop opens the null device once and keeps it: not counted."""
    return sum(_target(descriptor) not in (None, os.devnull) for descriptor in os.listdir("/proc/self/fd"))


def _target(descriptor: str) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # the one that the listing itself took
        return None

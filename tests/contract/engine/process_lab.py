"""The process engine's lab: real processes, on the highest rungs of the ladder that this machine has."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path

from invoker.io.containers.cgroup import ControlGroup
from invoker.io.process.container import ProcessContainer
from invoker.io.process.engine import ProcessEngine, ProcessSettings
from invoker.io.process.isolation import Runtime, default_runtimes
from invoker.ports import Container
from tests.contract.engine.lab import LIMIT_S, LOST, MUTE

ROOT = Path(__file__).parents[3]
_identities = itertools.count(1)


class ProcessLab:
    """Implements Lab."""

    name = "process"

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="engine-lab-")))
        self._runtimes = default_runtimes() | {
            LOST: Runtime(("/bin/sh", "-c", "exit 0")),
            MUTE: Runtime(("/bin/sh", "-c", "exec sleep 600")),
        }
        self._prefixes: dict[int, str] = {}
        self.identities: list[int] = []

    async def engine(self, *, ready_timeout_s: float = LIMIT_S, identity: int | None = None) -> ProcessEngine:
        engine = self._new(identity if identity is not None else next(_identities), ready_timeout_s)
        await engine.open()
        self._stack.push_async_callback(engine.close)
        return engine

    def image(self, kind: str) -> str:
        return ""

    async def orphan(self) -> int:
        """Its guard is killed first, so that what is frozen stays."""
        identity = next(_identities)
        life, guard, _ = await self.life(identity)
        os.kill(guard, signal.SIGKILL)
        life.kill()
        await life.wait()
        return identity

    async def life(self, identity: int) -> tuple[Process, int, list[int]]:
        """An invoker in a process of its own: the process, its guard, its containers' main processes."""
        self._new(identity, LIMIT_S)
        life = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.contract.engine.process_life", str(self._directory), str(identity)),
            stdout=PIPE,
            cwd=ROOT,
        )
        assert life.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            guard, *containers = map(int, (await life.stdout.readline()).split())
        return life, guard, containers

    def standing(self, identity: int) -> list[str]:
        """Directories and control groups; what runs is in one of them."""
        directory = self._directory / f"functions-invoker.{identity}"
        try:
            directories = [path.name for path in directory.iterdir()]
        except FileNotFoundError:
            directories = []
        return directories + [group.name for group in ControlGroup.find(self._prefixes[identity])]

    async def kill(self, container: Container) -> None:
        assert isinstance(container, ProcessContainer)
        os.kill(container.pid, signal.SIGKILL)

    def _new(self, identity: int, ready_timeout_s: float) -> ProcessEngine:
        self.identities.append(identity)
        engine = ProcessEngine(
            ProcessSettings(
                directory=self._directory,
                runtimes=self._runtimes,
                instance=identity,
                ready_timeout_s=ready_timeout_s,
            )
        )
        self._prefixes[identity] = engine._prefix  # pyright: ignore[reportPrivateUsage] - of its control groups
        return engine

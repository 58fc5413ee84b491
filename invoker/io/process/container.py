"""◆ One action container of the process engine: a process group; its calls, its log, its freezer and its end.

Its main process is what was spawned; its end is the container's. What it left behind (children that outlive it) is
killed with the control group, or else with the process group. As with Docker, the kernel's count of kills for want of
memory is asked first: it knows at once, and also of a child that was killed while the main process lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import msgspec

from invoker.errors import ContainerFault, PlatformFault
from invoker.io.containers.base import Observe, RuntimeContainer, Spawn
from invoker.io.containers.cgroup import ControlGroup
from invoker.io.containers.http import RuntimeClient
from invoker.io.containers.log import ContainerLog
from invoker.io.process.state import fate, start_time
from invoker.policy.events import Fault
from invoker.policy.outcome import Condition, Reply

DEATH_NOTICE_S = 0.5
"""How long after a broken connection the end of the main process may take to be known."""

END_WAIT_S = 10.0
"""How long killed processes may take to be gone; much memory takes a while to be freed."""

PROCESS_FILE = "process"
"""In a container's directory: its main process's id and start time, for whoever has to kill it in another life."""

SOCKET_FILE = "socket"


class Output(ContainerLog, asyncio.SubprocessProtocol):
    """What the container prints, from its two pipes into its log; always read. `ended` when the main process has."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._over:
            return
        self._collector.feed(fd, data, time.time_ns())
        if self._waiters and self._collector.complete:
            self._wake_first()

    def process_exited(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end()  # both pipes have ended too: nothing more can come

    def close(self) -> None:
        """Stop reading. Twice is once."""
        if self.transport is not None:
            self.transport.close()


def kill_group(pid: int, number: int) -> None:
    """Send a signal to a process group, which may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


class ProcessContainer(RuntimeContainer):
    """Implements `invoker.ports.Container`. Made by ProcessEngine, which `gone` tells that it is removed.

    In `start_timings`, `run` is directory, control group and spawn.
    """

    def __init__(
        self,
        directory: Path,
        *,
        client: RuntimeClient,
        output: Output,
        group: ControlGroup | None,
        freezer: bool,
        observe: Observe,
        gone: Callable[[ProcessContainer], None],
        spawn: Spawn,
    ) -> None:
        assert output.transport is not None  # it was just started
        super().__init__(client=client, log=output, over=output.ended, observe=observe, spawn=spawn)
        self._directory = directory
        self._output = output
        self._pid = output.transport.get_pid()
        self._group = group
        self._by_group = freezer and group is not None
        self._gone = gone
        output.ended.add_done_callback(lambda _: self._note_end())

    def __str__(self) -> str:
        return f"container {self.id}"

    def __repr__(self) -> str:
        return f"<ProcessContainer {self.id} process {self._pid} {self._state}>"

    @property
    def id(self) -> str:
        """Its directory's name."""
        return self._directory.name

    @property
    def address(self) -> str:
        """Its socket's path."""
        return str(self._directory / SOCKET_FILE)

    @property
    def pid(self) -> int:
        """Its main process."""
        return self._pid

    async def _call(self, path: Literal["/init", "/run"], body: bytes, timeout_s: float) -> Reply:
        reply = await self._client.post(path, body, timeout_s)
        if reply.status == 200:
            return reply
        if reply.status is None and not reply.timed_out and not self.ended:
            await asyncio.wait((self._output.ended,), timeout=DEATH_NOTICE_S)
        return msgspec.structs.replace(reply, condition=await self.condition())

    async def pause(self) -> None:
        """Freeze all its processes. Raises ContainerFault, with fault `oom` or `exited` where it is found dead."""
        async with self._turn:
            if self.ended:
                raise self._lost("can't be paused: its main process has ended")
            self._oom_kills_seen = self._oom_kills()  # what happened before was the last activation's
            begun_s = time.perf_counter()
            try:
                if self._by_group and self._group is not None:
                    await self._group.freeze()
                else:
                    kill_group(self._pid, signal.SIGSTOP)
            except PlatformFault as error:
                raise self._lost(f"can't be paused: {error}") from error
            self._frozen = True
            self._observe("pause", time.perf_counter() - begun_s)

    async def unpause(self) -> None:
        """Thaw. Raises ContainerFault, with fault `oom` or `exited` where it is found dead."""
        async with self._turn:
            doomed = self._frozen and fate(self._pid) != "lives"
            begun_s = time.perf_counter()
            try:
                await self._thaw()
            except PlatformFault as error:
                raise self._lost(f"can't be thawed: {error}") from error
            self._observe("unpause", time.perf_counter() - begun_s)
            if doomed:  # it dies of its SIGKILL now, or is about to
                await asyncio.wait((self._output.ended,), timeout=DEATH_NOTICE_S)
            if self.ended or self._oom_kills() > self._oom_kills_seen:
                raise self._lost("died while it was paused")

    async def _thaw(self) -> None:
        if not self._frozen:
            return
        if self._by_group and self._group is not None:
            await self._group.thaw()
        else:
            kill_group(self._pid, signal.SIGCONT)
        self._frozen = False

    async def _remove(self) -> None:
        async with self._turn:
            begun_s = time.perf_counter()
            try:
                await self._end()
                self._output.close()
                shutil.rmtree(self._directory)
            except FileNotFoundError:
                pass  # a removal that was tried before got this far
            except (PlatformFault, OSError) as error:
                raise ContainerFault(
                    f"{self} could not be removed: {error}; its main process was {self._pid}"
                ) from error
            self._observe("rm", time.perf_counter() - begun_s)
        self._gone(self)

    async def _end(self) -> None:
        """Kill, and wait until all is dead. What is frozen dies when it is thawed, before it does anything else."""
        if self._group is not None:
            self._group.kill_all()
        if not self.ended:
            kill_group(self._pid, signal.SIGKILL)
        with contextlib.suppress(PlatformFault):  # if it matters, the wait below tells
            await self._thaw()
        try:
            async with asyncio.timeout(END_WAIT_S):
                await asyncio.shield(self._output.ended)
        except TimeoutError as error:
            raise PlatformFault(f"it did not die within {END_WAIT_S:g} s of its SIGKILL") from error
        kill_group(self._pid, signal.SIGKILL)  # children that were left in its process group
        if self._group is not None:
            self._group.kill_all()  # and those that were being born
            await self._group.remove(END_WAIT_S)

    async def condition(self) -> Condition:
        """Running, out of memory (also a child killed while the main process lives), or exited."""
        if self._oom_kills() > self._oom_kills_seen:
            return "oom"
        return "exited" if self.ended or self._leaving else "running"

    def _lost(self, what: str) -> ContainerFault:
        fault: Fault = "platform"
        if self._oom_kills() > self._oom_kills_seen:
            fault = "oom"
        elif self.ended:
            fault = "exited"
        return ContainerFault(f"{self} {what}", fault)

    def _oom_kills(self) -> int:
        """The kernel's count for its group; what was seen last where the group is gone, or there is none."""
        if self._group is None:
            return self._oom_kills_seen
        try:
            return self._group.oom_kills()
        except PlatformFault:
            return self._oom_kills_seen


def read_process_file(directory: Path) -> int | None:
    """The main process of a container of a former life, if it still is that process; None where it is gone."""
    try:
        pid, begun = (int(word) for word in (directory / PROCESS_FILE).read_text().split())
    except (OSError, ValueError):
        return None
    return pid if start_time(pid) == begun else None


def write_process_file(directory: Path, pid: int) -> None:
    """Note the main process for another life."""
    (directory / PROCESS_FILE).write_text(f"{pid} {start_time(pid) or 0}\n")

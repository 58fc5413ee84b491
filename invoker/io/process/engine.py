"""◆ Action containers that are processes of this machine; implements `invoker.ports.ContainerEngine`.

The engine of `invoker dev`, where a newcomer has no daemon and no image. A container is a process group with a private
directory and a Unix socket in it, isolated as far as the machine lets it (`isolation`): for development, not between
tenants.

The engine binds and listens before the runtime is started, which inherits the socket. So nobody has to ask again and
again whether it is there: the first request waits in the socket until the runtime takes it, or its death breaks it off.

Nothing outlives the invoker. Runtimes end when their standard input does, a sandbox ends with its parent, and a guard
kills what is frozen. What could still be left the next life finds by directory, process file and control group. A lock
on the directory keeps two lives from overlapping.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.io.containers.base import EngineBase, Observe, unobserved
from invoker.io.containers.cgroup import ControlGroup
from invoker.io.containers.http import RESPONSE_LIMIT_BYTES, RuntimeClient, unix
from invoker.io.process.container import (
    PROCESS_FILE,
    SOCKET_FILE,
    Output,
    ProcessContainer,
    kill_group,
    read_process_file,
    write_process_file,
)
from invoker.io.process.guard import CLEANING_MAX_S, Guard
from invoker.io.process.isolation import PIDS_MAX, Isolation, Runtime, default_runtimes, environment, probe
from invoker.ports import ContainerSpec

STARTS_A_CPU = 2
BACKLOG = 128
LOCK_STEP_S = 0.01
LOCK_WAIT_S = CLEANING_MAX_S + 1.0
"""How long a former life's guard may still have the directory."""

LAST_WORDS_S = 0.5
"""For the output of a runtime that ended while it was started."""


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How containers are made.

    `directory`: where their directories go; `owner` and `instance` tell apart invokers that share one. `groups` and
    `bubblewrap` false: not to be used though they may be there. `network`: whether functions have the machine's.
    """

    directory: Path
    runtimes: Mapping[str, Runtime] = msgspec.field(default_factory=default_runtimes)
    api_host: str = ""
    owner: str = "functions-invoker"
    instance: int = 0
    groups: bool = True
    bubblewrap: bool = True
    network: bool = True
    starts_at_a_time: int | None = None
    ready_timeout_s: float = 30.0
    response_limit_bytes: int = RESPONSE_LIMIT_BYTES


class ProcessEngine(EngineBase):
    """Makes, keeps and removes the containers of one invoker. `observe` is told how long each part of a life took."""

    def __init__(self, settings: ProcessSettings, *, observe: Observe = unobserved) -> None:
        super().__init__()
        self._settings = settings
        self._observe = observe
        name = f"{re.sub('[^A-Za-z0-9_-]', '', settings.owner)}.{settings.instance}"
        self._directory = settings.directory.absolute() / name
        # Control groups are the whole machine's, so their names tell whose they are by where their directories stand.
        self._prefix = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:12] + "."
        self._starts = asyncio.Semaphore(settings.starts_at_a_time or STARTS_A_CPU * (os.cpu_count() or 1))
        self._containers: dict[str, ProcessContainer] = {}
        self._guard = Guard()
        self._isolation: Isolation | None = None
        self._descriptor: int | None = None  # the directory's, which holds its lock

    def __repr__(self) -> str:
        return f"<ProcessEngine {self._directory} containers={len(self._containers)}>"

    async def open(self) -> None:
        """Take the directory, probe what isolation the machine offers, and remove what a former life left.

        Raises PlatformFault, with nothing left open, also where another invoker has the directory.
        """
        wanted = self._settings
        descriptor = self._descriptor = await self._take_directory()
        try:
            self._isolation = await probe(
                wanted.runtimes, groups=wanted.groups, bubblewrap=wanted.bubblewrap, network=wanted.network
            )
            await self._remove_orphans()
            await self._guard.start(self._directory, descriptor, PROCESS_FILE, self._prefix)
        except BaseException:
            self._free_directory()
            raise

    async def start(self, spec: ContainerSpec, died: Callable[[bool], None]) -> ProcessContainer:
        """As the port says. What spawns is limited in number at a time and seen to its end even when the caller is
        cancelled; waiting for the runtime to answer is not."""
        isolation = self._isolation
        runtime = self._settings.runtimes.get(spec.kind)
        if runtime is None:
            known = ", ".join(sorted(self._settings.runtimes))
            raise StartFailed(f"there is no runtime of kind {spec.kind} on this machine; there are {known}")
        await self._starts.acquire()
        if isolation is None or self._closing is not None:  # also closed while this waited
            self._starts.release()
            raise StartFailed(f"no container of kind {spec.kind} can be started: the engine is not open")
        return await self._started(self._launch(spec, runtime, isolation), self._await_ready, died)

    def describe(self) -> dict[str, str]:
        """What was found, for people."""
        found = self._isolation.describe() if self._isolation is not None else {"isolation": "not probed yet"}
        kinds = ", ".join(sorted(self._settings.runtimes))
        return {"engine": "process", **found, "kinds": kinds, "directory": str(self._directory)}

    # ---- the directory

    async def _take_directory(self) -> int:
        """Make it, private to this user, and lock it: two lives at once would kill each other's containers.

        The guard of a former life may still be at work there. Returns the descriptor that holds the lock.
        """
        give_up_s = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return _locked(self._directory)
            except (BlockingIOError, FileNotFoundError) as error:
                if time.monotonic() >= give_up_s:
                    raise PlatformFault(
                        f"another invoker has its containers in {self._directory}; end it first"
                    ) from error
            except OSError as error:
                raise PlatformFault(f"{self._directory} can't be used for containers: {error}") from error
            await asyncio.sleep(LOCK_STEP_S)

    def _free_directory(self) -> None:
        """Give it back; it goes where nothing is left in it."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._directory.rmdir()
            os.close(self._descriptor)
            self._descriptor = None

    def _socket(self, directory: Path) -> str:
        """A container's socket by way of the open directory: a path of a socket may have 107 bytes and no more."""
        return f"/proc/self/fd/{self._descriptor}/{directory.name}/{SOCKET_FILE}"

    async def _remove_orphans(self) -> None:
        """Kill and remove what a former life left. What can't be removed stays, under names never used again."""
        for group in ControlGroup.find(self._prefix):
            group.kill_all()
            with contextlib.suppress(PlatformFault):
                await group.thaw()
            with contextlib.suppress(PlatformFault):
                await group.remove()
        for directory in [path for path in self._directory.iterdir() if path.is_dir()]:
            pid = read_process_file(directory)
            if pid is not None:
                kill_group(pid, signal.SIGKILL)
                kill_group(pid, signal.SIGCONT)
            shutil.rmtree(directory, ignore_errors=True)

    # ---- starting

    async def _launch(self, spec: ContainerSpec, runtime: Runtime, isolation: Isolation) -> ProcessContainer:
        """Make the directory, the control group and the socket, and spawn. On failure everything is undone."""
        begun_s = time.perf_counter()
        name = f"{spec.number}-{secrets.token_hex(4)}"
        directory = self._directory / name
        group: ControlGroup | None = None
        try:
            if isolation.groups:
                group = ControlGroup.create(
                    self._prefix + name, memory_mb=spec.memory_mb, cpu_shares=spec.memory_mb, pids_max=PIDS_MAX
                )
            directory.mkdir(mode=0o700)
            (directory / "tmp").mkdir(mode=0o700)
            output = await self._run(spec, runtime, isolation, group, directory)
        except (OSError, PlatformFault) as error:
            leaked = not await _undone(group, directory)
            raise StartFailed(f"no container of kind {spec.kind} can be started: {error}", leaked=leaked) from error
        finally:
            self._starts.release()
        container = ProcessContainer(
            directory,
            client=RuntimeClient(
                unix(self._socket(directory)), host=name, response_limit_bytes=self._settings.response_limit_bytes
            ),
            output=output,
            group=group,
            freezer=isolation.freezer,
            observe=self._observe,
            gone=self._gone,
            spawn=self.spawn,
        )
        self._containers[name] = container
        try:
            write_process_file(directory, container.pid)
        except OSError as error:
            raise await self._failed(container, str(error)) from error
        container.start_timings["run"] = time.perf_counter() - begun_s
        self._observe("run", container.start_timings["run"])
        return container

    async def _run(
        self, spec: ContainerSpec, runtime: Runtime, isolation: Isolation, group: ControlGroup | None, directory: Path
    ) -> Output:
        """Spawn the runtime with a listening socket of its own. Raises OSError."""
        temporary = "/tmp" if isolation.bubblewrap else str(directory / "tmp")  # noqa: S108 - the sandbox's own
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self._socket(directory))
            listener.listen(BACKLOG)
            arguments = ("--fd", str(listener.fileno()), "--watch-stdin")
            _, output = await asyncio.get_running_loop().subprocess_exec(
                Output,
                *isolation.command(runtime, group, spec.memory_mb, arguments),
                env=environment(self._settings.api_host, temporary),
                cwd=directory / "tmp",
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        return output

    async def _await_ready(self, container: ProcessContainer) -> None:
        """Wait for its answer. Raises ContainerFault where none comes."""
        begun_s = time.perf_counter()
        ready = await container.ready(self._settings.ready_timeout_s)
        container.start_timings["poll"] = time.perf_counter() - begun_s
        self._observe("poll", container.start_timings["poll"])
        if container.ended:
            last = await container.collect_logs(LAST_WORDS_S)
            said = " / ".join(last.lines[:-1][-3:]) or "nothing"
            raise ContainerFault(f"its runtime ended before it answered; it said: {said}")
        if not ready or container.id not in self._containers:
            raise ContainerFault(f"its runtime did not answer within {self._settings.ready_timeout_s:g} s")

    # ---- ending

    async def _close(self) -> None:
        await self._settle()
        containers = list(self._containers.values())
        removed = await asyncio.gather(*(self._discard(container) for container in containers))
        await self._settle()
        await self._guard.dismiss()
        self._free_directory()
        left = [container.id for container, gone in zip(containers, removed, strict=True) if not gone]
        if left:
            raise PlatformFault(f"containers could not be removed from {self._directory}: {', '.join(left)}")

    def _gone(self, container: ProcessContainer) -> None:
        self._containers.pop(container.id, None)


def _locked(directory: Path) -> int:
    """Make and lock it. Raises BlockingIOError where somebody has it, FileNotFoundError where somebody removes it."""
    with contextlib.suppress(
        FileExistsError
    ):  # it was there and is being removed, or is no directory: the opening tells
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(descriptor, 0o700)
        if os.fstat(descriptor).st_ino != directory.stat().st_ino:
            raise FileNotFoundError(f"{directory} is another one now")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


async def _undone(group: ControlGroup | None, directory: Path) -> bool:
    """Remove what a failed launch made; False where something stands."""
    try:
        if group is not None:
            await group.remove()
        shutil.rmtree(directory)
    except FileNotFoundError:
        return True
    except (OSError, PlatformFault):
        return False
    return True

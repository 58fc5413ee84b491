"""◆ The control groups of the kernel: freeze, count what was killed for want of memory, limit. Versions 1 and 2.

A freeze or a thaw is a write to one file, some tens of microseconds, where a container engine's command takes
milliseconds; a thaw lies on the path of the next activation. The count of OOM kills is the only word the machine has
for a child that was killed while its main process lives on.

Version 1 has a tree of directories for each controller; of a container's four we use `freezer`, `memory`, `pids` and
`cpu`. Version 2 has one tree; freezing belongs to every group there, the limits to the groups whose parent enables the
controllers. On a machine with both, the tree that holds the memory controller is the one that counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from invoker.errors import PlatformFault

PARENT = "functions-invoker"
"""The group above all groups of our own making."""

CONTROLLERS = ("memory", "freezer", "pids", "cpu")

FREEZE_WAIT_S = 2.0
REMOVE_WAIT_S = 2.0
STEP_S = 0.001
SPINS = 20
"""Reads of the freezer's state before the first sleep; a small group is frozen within the first few."""

FILE_BYTES_MAX = 4096
"""Of the files read here, each a few short lines."""

CPU_SHARES_MIN, CPU_SHARES_MAX = 2, 262_144
CPU_WEIGHT_MAX = 10_000


class CgroupSupport(NamedTuple):
    """What may be done here. `version` is None where no groups are mounted; `reason` says why something is missing."""

    version: int | None
    freezer: bool
    memory: bool
    reason: str


@dataclass(frozen=True)
class _Mounts:
    """Where the trees are: version 1's by controller, and version 2's. `root` is the mount's own place in its tree."""

    v1: dict[str, tuple[str, Path]]
    v2: tuple[str, Path] | None

    @property
    def version(self) -> int | None:
        """The version whose tree holds the limits of containers."""
        if "memory" in self.v1 or "freezer" in self.v1:
            return 1
        return 2 if self.v2 is not None else None


def _mounts(proc: Path) -> _Mounts:
    v1: dict[str, tuple[str, Path]] = {}
    v2: tuple[str, Path] | None = None
    with contextlib.suppress(OSError):
        for line in (proc / "self/mountinfo").read_text().splitlines():
            ours, _, theirs = line.partition(" - ")
            root, point = ours.split()[3:5]
            kind, _, options = theirs.split()[:3]
            if kind == "cgroup2" and v2 is None:
                v2 = (root, Path(point))
            elif kind == "cgroup":
                for controller in set(options.split(",")) & set(CONTROLLERS):
                    v1.setdefault(controller, (root, Path(point)))
    return _Mounts(v1, v2)


def _place(mount: tuple[str, Path], path: str) -> Path:
    """The directory of the group `path` of a tree, of which `mount` shows a part."""
    root, point = mount
    inside = path.removeprefix(root.rstrip("/")) if root != "/" else path
    return point / inside.lstrip("/")


class ControlGroup:
    """One container's group. Raises PlatformFault for what the kernel refuses."""

    __slots__ = ("_directories", "_name", "_version")

    def __init__(self, name: str, version: int, directories: dict[str, Path]) -> None:
        """`directories`: version 1's by controller, version 2's single one under the name ""."""
        self._name = name
        self._version = version
        self._directories = directories

    def __repr__(self) -> str:
        return f"<ControlGroup v{self._version} {self._name}>"

    @property
    def name(self) -> str:
        """Its last name; of our own groups the one given to `create`."""
        return self._name

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where a process writes itself to `cgroup.procs` to be in it."""
        return tuple(self._directories.values())

    @property
    def limits_memory(self) -> bool:
        """Whether its memory is bounded and counted here."""
        directory = self._of("memory")
        return directory is not None and (self._version == 1 or (directory / "memory.max").exists())

    @classmethod
    def of_process(cls, pid: int, what: str = "process", *, proc: Path = Path("/proc")) -> ControlGroup:
        """The group that process `pid` is in, for freezing and counting; `what` names its owner in an error.

        Raises PlatformFault, with the reason, where there is none that can be written from here.
        """
        try:
            group = cls(f"of {what} {pid}", *_groups_of(pid, proc))
            own = cls("", *_groups_of("self", proc))
        except OSError as error:
            raise PlatformFault(f"the control group of {what} {pid} can't be read: {_words(error)}") from error
        freezer = group._freezer()
        if freezer is None or not os.access(freezer, os.W_OK):
            where = freezer or "no freezer in sight"  # the root group has none either
            raise PlatformFault(f"the control group of {what} {pid} can't be frozen from here ({where})")
        if freezer == own._freezer():
            raise PlatformFault(f"{what} {pid} shares this process's own control group, which must not be frozen")
        return group

    @classmethod
    def create(
        cls, name: str, *, memory_mb: int, cpu_shares: int, pids_max: int, proc: Path = Path("/proc")
    ) -> ControlGroup:
        """Make a group of our own with limits; memory and swap together are bounded by `memory_mb`.

        What the machine has no controller for is left out (`limits_memory` tells). Raises PlatformFault, nothing left.
        """
        mounts = _mounts(proc)
        parents = _parents(mounts)
        if not parents:
            raise PlatformFault(f"no control groups are mounted, so there is none for {name}")
        group = cls(name, mounts.version or 1, {key: parent / name for key, parent in parents.items()})
        try:
            _enable(parents)
            for directory in group.directories:
                directory.mkdir()
            group._limit(memory_mb, cpu_shares, pids_max)
        except OSError as error:
            for directory in group.directories:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            raise PlatformFault(f"control group {name} can't be made: {_words(error)}") from error
        return group

    @classmethod
    def find(cls, prefix: str, *, proc: Path = Path("/proc")) -> list[ControlGroup]:
        """The groups of our own making whose names begin with `prefix`; also those that stand in some trees only."""
        mounts = _mounts(proc)
        found: dict[str, dict[str, Path]] = {}
        for key, parent in _parents(mounts).items():
            if parent.is_dir():
                for directory in parent.iterdir():
                    if directory.name.startswith(prefix) and directory.is_dir():
                        found.setdefault(directory.name, {})[key] = directory
        return [cls(name, mounts.version or 1, found[name]) for name in sorted(found)]

    def add(self, pid: int) -> None:
        """Put process `pid` in; its later children are in it too."""
        for directory in self.directories:
            self._write(directory / "cgroup.procs", str(pid))

    async def freeze(self) -> None:
        """Freeze all its processes; returns when the kernel says that they are, at most after FREEZE_WAIT_S."""
        await self._switch(frozen=True)

    async def thaw(self) -> None:
        """Let all its processes run again; as `freeze`."""
        await self._switch(frozen=False)

    @property
    def frozen(self) -> bool:
        """Whether the kernel says that all its processes are frozen."""
        directory = self._of("freezer")
        if directory is None:
            return False
        if self._version == 1:
            return self._read(directory / "freezer.state").strip() == "FROZEN"
        return _field(self._read(directory / "cgroup.events"), "frozen") == 1

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        directory = self._of("memory")
        if directory is None:
            return 0
        name = "memory.oom_control" if self._version == 1 else "memory.events"
        return _field(self._read(directory / name), "oom_kill")

    def pids(self) -> set[int]:
        """Its processes, as this process's namespace numbers them."""
        found: set[int] = set()
        for directory in self.directories:
            with contextlib.suppress(FileNotFoundError):
                found.update(int(pid) for pid in (directory / "cgroup.procs").read_text().split())
        return found - {0}

    def kill_all(self) -> None:
        """SIGKILL to all its processes; frozen ones of version 1 die when thawed."""
        directory = self._directories.get("")
        if directory is not None and (directory / "cgroup.kill").exists():
            with contextlib.suppress(PlatformFault):
                self._write(directory / "cgroup.kill", "1")
                return
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    async def remove(self, wait_s: float = REMOVE_WAIT_S) -> None:
        """Remove it, waiting for killed processes to be gone. Twice is once. Raises PlatformFault where it stands."""
        until_s = time.monotonic() + wait_s
        while True:
            try:
                for directory in self.directories:
                    with contextlib.suppress(FileNotFoundError):
                        directory.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() >= until_s:
                    raise PlatformFault(f"control group {self._name} can't be removed: {_words(error)}") from error
                await asyncio.sleep(STEP_S)
            else:
                return

    async def _switch(self, *, frozen: bool) -> None:
        freezer = self._freezer()
        if freezer is None:
            raise PlatformFault(f"control group {self._name} has no freezer")
        order = {1: ("THAWED", "FROZEN"), 2: ("0", "1")}[self._version][frozen]
        self._write(freezer, order)
        for _ in range(SPINS):
            if self.frozen is frozen:
                return
        until_s = time.monotonic() + FREEZE_WAIT_S
        while self.frozen is not frozen:
            if time.monotonic() >= until_s:
                state = "frozen" if frozen else "thawed"
                raise PlatformFault(f"control group {self._name} was not {state} within {FREEZE_WAIT_S:g} s")
            await asyncio.sleep(STEP_S)
            self._write(freezer, order)  # a process that was being made meanwhile escapes version 1's first order

    def _limit(self, memory_mb: int, cpu_shares: int, pids_max: int) -> None:
        limits: list[tuple[str, str, int]]
        memory_bytes = memory_mb << 20
        if self._version == 1:
            limits = [
                ("memory", "memory.limit_in_bytes", memory_bytes),
                ("memory", "memory.memsw.limit_in_bytes", memory_bytes),
                ("cpu", "cpu.shares", max(CPU_SHARES_MIN, cpu_shares)),
                ("pids", "pids.max", pids_max),
            ]
        else:
            limits = [
                ("", "memory.max", memory_bytes),
                ("", "memory.swap.max", 0),
                ("", "cpu.weight", cpu_weight(cpu_shares)),
                ("", "pids.max", pids_max),
            ]
        for controller, name, value in limits:
            directory = self._directories.get(controller)
            if directory is not None and (directory / name).exists():  # not each kernel accounts swap
                (directory / name).write_text(str(value))

    def _of(self, controller: str) -> Path | None:
        return self._directories.get("") or self._directories.get(controller)

    def _freezer(self) -> Path | None:
        directory = self._of("freezer")
        if directory is None:
            return None
        return directory / ("freezer.state" if self._version == 1 else "cgroup.freeze")

    def _read(self, path: Path) -> str:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # an open file object costs more than the read
            try:
                return os.read(descriptor, FILE_BYTES_MAX).decode("ascii")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PlatformFault(f"control group {self._name}: {path.name} can't be read: {_words(error)}") from error

    def _write(self, path: Path, text: str) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, text.encode("ascii"))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PlatformFault(f"control group {self._name}: {path.name} can't be written: {_words(error)}") from error


def cpu_weight(shares: int) -> int:
    """Version 2's weight (1 to 10,000) for version 1's shares (2 to 262,144): the same place on its scale."""
    shares = min(max(shares, CPU_SHARES_MIN), CPU_SHARES_MAX)
    return 1 + (shares - CPU_SHARES_MIN) * (CPU_WEIGHT_MAX - 1) // (CPU_SHARES_MAX - CPU_SHARES_MIN)


def probe(*, proc: Path = Path("/proc")) -> CgroupSupport:
    """Find out, by making a group and removing it, what may be done here."""
    version = _mounts(proc).version
    if version is None:
        return CgroupSupport(None, freezer=False, memory=False, reason="no control groups are mounted")
    name = f"probe-{os.getpid()}"
    try:
        group = ControlGroup.create(name, memory_mb=16, cpu_shares=CPU_SHARES_MIN, pids_max=1, proc=proc)
    except PlatformFault as error:
        return CgroupSupport(version, freezer=False, memory=False, reason=str(error))
    freezer = group._freezer()  # pyright: ignore[reportPrivateUsage] - of the same module
    can_freeze = freezer is not None and os.access(freezer, os.W_OK)
    can_limit = group.limits_memory
    for directory in group.directories:
        with contextlib.suppress(OSError):
            directory.rmdir()
    missing = [word for word, there in (("freezer", can_freeze), ("memory controller", can_limit)) if not there]
    reason = f"this machine's groups have no {' and no '.join(missing)}" if missing else ""
    return CgroupSupport(version, can_freeze, can_limit, reason)


def _groups_of(pid: int | str, proc: Path) -> tuple[int, dict[str, Path]]:
    """(version, directories) of the group that a process is in. Raises OSError."""
    mounts = _mounts(proc)
    directories: dict[str, Path] = {}
    for line in (proc / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts.v1:
                directories[controller] = _place(mounts.v1[controller], path)
        if not controllers and mounts.version == 2 and mounts.v2 is not None:
            directories[""] = _place(mounts.v2, path)
    return 2 if "" in directories else 1, directories


def parents(*, proc: Path = Path("/proc")) -> tuple[Path, ...]:
    """The directories above our own groups, one in each tree."""
    return tuple(_parents(_mounts(proc)).values())


def _parents(mounts: _Mounts) -> dict[str, Path]:
    """The directory above our own groups, by controller; version 2's under the name ""."""
    if mounts.version == 2 and mounts.v2 is not None:
        return {"": mounts.v2[1] / PARENT}
    return {controller: point / PARENT for controller, (_, point) in sorted(mounts.v1.items())}


def _enable(parents: dict[str, Path]) -> None:
    """Make the groups above ours and, in version 2, hand the controllers down as far as the kernel lets us."""
    for key, parent in parents.items():
        parent.mkdir(exist_ok=True)
        if key:
            continue
        for directory in (parent.parent, parent):
            for controller in ("memory", "pids", "cpu"):
                with contextlib.suppress(OSError):  # not there, or the group above holds processes itself
                    (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def _field(text: str, name: str) -> int:
    """The number behind `name` in lines of `name number`; 0 where there is none."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _words(error: OSError) -> str:
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error.strerror or error)

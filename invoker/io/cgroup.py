"""◆ One container's control group: its limits, its freezer, the kernel's count of kills, on cgroup v1 and v2.

Freezing through the kernel's own file takes a tenth of a millisecond where a daemon takes ten, and the kernel is the
one witness who knows at once, and of children too, that a process was killed for want of memory. The files are read and
written in place: they are the kernel's memory, no disk is behind them.

Two things must never happen here: that a group is frozen or killed which is not one container's alone, and that a group
which is in use is taken for gone. So the root group and the group this process is in itself are never returned.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from invoker.errors import PlatformFault

PARENT = "functions-invoker"
"""The group that holds the groups made here, so that they are found again after a crash."""

PROC = Path("/proc")
CONTROLLERS = ("memory", "freezer", "pids", "cpu")
MIB_BYTES = 1_048_576
UNBOUNDED = "max"

SETTLE_LIMIT_S = 2.0
"""How long a group may take to freeze or thaw. A process in an uninterruptible sleep delays it."""

REMOVE_LIMIT_S = 5.0
"""How long killed processes may take to end: much memory takes a while to be freed."""

SPINS = 8
STEP_S = 0.001


class CgroupSupport(msgspec.Struct, frozen=True):
    """What can be made here. `version` is 0 where nothing can; `reason` then says why, and what to do."""

    version: int
    freezer: bool = False
    memory: bool = False
    pids: bool = False
    reason: str = ""


class Mount(msgspec.Struct, frozen=True):
    """One mounted hierarchy: its `point`, and the group (`root`, a path in the hierarchy) that is seen there."""

    version: int
    controllers: frozenset[str]
    root: str
    point: Path

    def directory(self, group: str) -> Path | None:
        """Where the group (a path in the hierarchy) is to be found; None where it lies outside of what is mounted."""
        root = self.root.rstrip("/")
        if ".." in group.split("/") or not f"{group}/".startswith(f"{root}/"):
            return None
        return self.point / group[len(root) :].strip("/")


def mounts(proc: Path = PROC) -> list[Mount]:
    """The hierarchies with a controller of ours, as /proc/self/mountinfo tells; [] where it can't be read."""
    try:
        lines = (proc / "self" / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    found: list[Mount] = []
    for line in lines:
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        root, point = head.split(" ")[3:5]
        if kind == "cgroup2":
            found.append(_unified(root, Path(point)))
        elif kind == "cgroup":
            found.append(Mount(1, frozenset(options.split(",")) & frozenset(CONTROLLERS), root, Path(point)))
    return [mount for mount in found if mount.controllers]


def _unified(root: str, point: Path) -> Mount:
    """The v2 hierarchy. Its freezer is part of every group but the root; in hybrid set-ups it has no controllers."""
    try:
        controllers = frozenset((point / "cgroup.controllers").read_text().split()) & frozenset(CONTROLLERS)
    except OSError:
        controllers = frozenset[str]()
    return Mount(2, controllers | {"freezer"} if controllers else controllers, root, point)


def memberships(pid: int | str, proc: Path = PROC) -> list[tuple[frozenset[str], str]]:
    """(controllers, group) for each hierarchy the process is in; none in the set: the v2 hierarchy. Raises OSError."""
    lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    parts = (line.split(":", 2) for line in lines)
    return [(frozenset(names.split(",")) if names else frozenset(), group) for _, names, group in parts]


def available(proc: Path = PROC) -> dict[str, Mount]:
    """Controller -> the hierarchy it is in; all of v2 where memory is there, else all of v1."""
    all_mounts = mounts(proc)
    version = 2 if any(mount.version == 2 and "memory" in mount.controllers for mount in all_mounts) else 1
    return {name: mount for mount in all_mounts if mount.version == version for name in mount.controllers}


class ControlGroup:
    """One container's group: a directory in each hierarchy. Foreign failures become PlatformFault."""

    def __init__(self, name: str, version: int, directories: Mapping[str, Path]) -> None:
        """`directories`: controller -> the group's directory; v2 has the same one for all."""
        self.name = name
        self._version = version
        self._directories = dict(directories)

    def __repr__(self) -> str:
        return f"<ControlGroup {self.name} v{self._version} {'+'.join(sorted(self._directories))}>"

    @property
    def controllers(self) -> frozenset[str]:
        """Those of `memory`, `freezer`, `pids`, `cpu` that it has."""
        return frozenset(self._directories)

    @property
    def directories(self) -> tuple[Path, ...]:
        """The group's directories, each once; a process is in the group when it is in all of them."""
        return tuple(dict.fromkeys(self._directories.values()))

    # ---- finding and making

    @classmethod
    def of_process(cls, pid: int, *, proc: Path = PROC) -> ControlGroup | None:
        """The group of another container's main process, for its freezer and its count of kills.

        None where there is no writable freezer for it here, where it is the root group, or this process's own.
        """
        try:
            theirs, ours = memberships(pid, proc), memberships("self", proc)
        except OSError:
            return None
        directories: dict[str, Path] = {}
        hierarchies = available(proc)
        for controller, mount in hierarchies.items():
            group, own = _group_of(theirs, mount, controller), _group_of(ours, mount, controller)
            directory = mount.directory(group) if group not in (None, "/", own) else None
            if directory is not None and directory != mount.point and directory.is_dir():
                directories[controller] = directory
        if "freezer" not in directories:
            return None
        found = cls(directories["freezer"].name, hierarchies["freezer"].version, directories)
        return found if os.access(found._freeze_file, os.W_OK) else None

    @classmethod
    def create(
        cls,
        name: str,
        *,
        memory_mb: int | None = None,
        cpu_shares: int | None = None,
        pids_max: int | None = None,
        proc: Path = PROC,
    ) -> ControlGroup:
        """Make a group `functions-invoker/<name>` in every hierarchy there is, with memory and swap together bounded.

        Raises PlatformFault, with nothing left behind, where one of the limits asked for can't be set, or it exists.
        """
        group = cls._at(name, proc)
        if group is None:
            raise PlatformFault("no control groups are mounted here; see `invoker doctor`")
        made: list[Path] = []
        try:
            group._make_parents()
            for directory in group.directories:
                directory.mkdir()
                made.append(directory)
            group._limit(memory_mb, cpu_shares, pids_max)
        except OSError as error:
            for directory in made:
                directory.rmdir()
            raise PlatformFault(f"control group {name} can't be made: {error}") from error
        return group

    @classmethod
    def standing(cls, prefix: str, *, proc: Path = PROC) -> list[ControlGroup]:
        """The groups made here, in this life or a former one, whose name begins with `prefix`; in order of name."""
        parents = {mount.point / PARENT for mount in available(proc).values()}
        names = {path.name for parent in parents if parent.is_dir() for path in parent.iterdir() if path.is_dir()}
        found = (cls._at(name, proc) for name in sorted(names) if name.startswith(prefix))
        return [group for group in found if group is not None]

    @classmethod
    def _at(cls, name: str, proc: Path) -> ControlGroup | None:
        hierarchies = available(proc)
        if not hierarchies or "/" in name or name in ("", ".", ".."):
            return None
        directories = {controller: mount.point / PARENT / name for controller, mount in hierarchies.items()}
        version = next(iter(hierarchies.values())).version
        return cls(name, version, directories)

    def _make_parents(self) -> None:
        """v2 hands a controller down only where the level above says so, at each level."""
        for directory in self.directories:
            directory.parent.mkdir(exist_ok=True)
            if self._version == 2:
                wanted = " ".join(f"+{name}" for name in sorted(self.controllers - {"freezer"}))
                (directory.parent.parent / "cgroup.subtree_control").write_text(wanted)
                (directory.parent / "cgroup.subtree_control").write_text(wanted)

    def _limit(self, memory_mb: int | None, cpu_shares: int | None, pids_max: int | None) -> None:
        if memory_mb is not None:
            memory, limit_bytes = self._directories["memory"], str(memory_mb * MIB_BYTES)
            if self._version == 1:
                (memory / "memory.limit_in_bytes").write_text(limit_bytes)
                _write_where_there(memory / "memory.memsw.limit_in_bytes", limit_bytes)
            else:
                (memory / "memory.max").write_text(limit_bytes)
                _write_where_there(memory / "memory.swap.max", "0")
        if pids_max is not None:
            (self._directories["pids"] / "pids.max").write_text(str(pids_max))
        if cpu_shares is not None and "cpu" in self._directories:
            shares = max(cpu_shares, 2)
            name, value = ("cpu.shares", shares) if self._version == 1 else ("cpu.weight", _weight(shares))
            (self._directories["cpu"] / name).write_text(str(value))

    # ---- processes

    def add(self, pid: int) -> None:
        """Move a process in; what it starts from now on is born inside. Raises PlatformFault."""
        try:
            for directory in self.directories:
                (directory / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise PlatformFault(f"process {pid} can't be moved into control group {self.name}: {error}") from error

    def pids(self) -> set[int]:
        """The processes in it, in any of its directories; empty where the group is gone."""
        found: set[int] = set()
        for directory in self.directories:
            try:
                found.update(map(int, (directory / "cgroup.procs").read_text().split()))
            except OSError:
                continue
        return found - {0}

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory, children too. Raises PlatformFault."""
        if "memory" not in self._directories:
            return 0
        name = "memory.oom_control" if self._version == 1 else "memory.events"
        path = self._directories["memory"] / name
        try:
            return int(_fields(path).get("oom_kill", "0"))
        except (OSError, ValueError) as error:
            raise PlatformFault(f"{path} can't be read: {error}") from error

    async def kill_all(self) -> None:
        """SIGKILL to every process in it, also to those that are being started; thaws. Does not wait for their end.

        Raises PlatformFault where it can't be thawed, for a frozen process does not die on v1.
        """
        kill_file = self.directories[0] / "cgroup.kill" if self._version == 2 else None
        if kill_file is not None and kill_file.exists():
            try:
                kill_file.write_text("1")
            except OSError as error:
                raise PlatformFault(f"{kill_file} can't be written: {error}") from error
        else:
            for pid in self.pids():
                _kill(pid)
        await self.thaw()

    async def remove(self) -> None:
        """Kill what is left in it, again until nothing is, and remove it. One that is gone already is no error.

        Raises PlatformFault where processes are still in it after `REMOVE_LIMIT_S`.
        """
        give_up_s = time.monotonic() + REMOVE_LIMIT_S
        while True:
            await self.kill_all()
            error = self._remove_directories()
            if error is None:
                return
            if time.monotonic() >= give_up_s:
                raise PlatformFault(f"control group {self.name} can't be removed: {error}")
            await asyncio.sleep(STEP_S)

    def _remove_directories(self) -> OSError | None:
        for directory in self.directories:
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                return error
        return None

    # ---- freezing

    @property
    def frozen(self) -> bool:
        """Whether the kernel says that all its processes stand still. Raises PlatformFault."""
        return self._frozen_is(True)

    @property
    def _freeze_file(self) -> Path:
        return self._directories["freezer"] / ("freezer.state" if self._version == 1 else "cgroup.freeze")

    async def freeze(self) -> None:
        """Stop all its processes; returns when they stand still. Raises PlatformFault, thawed again where possible."""
        if not await self._settle("FROZEN" if self._version == 1 else "1", frozen=True):
            await self.thaw()
            raise PlatformFault(f"control group {self.name} did not freeze within {SETTLE_LIMIT_S:g} s")

    async def thaw(self) -> None:
        """Let its processes run again. One that is not frozen, or gone, is no error. Raises PlatformFault."""
        if "freezer" not in self._directories or not self._directories["freezer"].exists():
            return
        if not await self._settle("THAWED" if self._version == 1 else "0", frozen=False):
            raise PlatformFault(f"control group {self.name} did not thaw within {SETTLE_LIMIT_S:g} s")

    async def _settle(self, order: str, *, frozen: bool) -> bool:
        """Write the order and wait until the kernel has done it; v1 wants it again while processes come and go."""
        give_up_s = time.monotonic() + SETTLE_LIMIT_S
        tries = 0
        while True:
            try:
                self._freeze_file.write_text(order)
            except OSError as error:
                raise PlatformFault(f"{self._freeze_file} can't be written: {error}") from error
            if self._frozen_is(frozen):
                return True
            if time.monotonic() >= give_up_s:
                return False
            tries += 1
            await asyncio.sleep(0 if tries < SPINS else STEP_S)

    def _frozen_is(self, wanted: bool) -> bool:
        """v1 knows a state between the two (FREEZING), which is neither."""
        try:
            if self._version == 1:
                return self._freeze_file.read_text().strip() == ("FROZEN" if wanted else "THAWED")
            return (_fields(self._freeze_file.with_name("cgroup.events")).get("frozen") == "1") is wanted
        except OSError as error:
            raise PlatformFault(f"the freezer of control group {self.name} can't be read: {error}") from error


def probe(*, proc: Path = PROC) -> CgroupSupport:
    """Make a group, give it limits, and remove it: what then worked is what can be had here."""
    hierarchies = available(proc)
    if not hierarchies:
        return CgroupSupport(0, reason="no control groups are mounted under /sys/fs/cgroup")
    name = f"probe-{os.getpid()}"
    version = next(iter(hierarchies.values())).version
    memory_mb, pids_max = (64 if "memory" in hierarchies else None), (64 if "pids" in hierarchies else None)
    try:
        group = ControlGroup.create(name, memory_mb=memory_mb, pids_max=pids_max, proc=proc)
    except PlatformFault as error:
        return CgroupSupport(0, reason=f"{error}; be root, or mount /sys/fs/cgroup writable")
    freezer = "freezer" in hierarchies and os.access(group._freeze_file, os.W_OK)  # pyright: ignore[reportPrivateUsage]
    failure = group._remove_directories()  # pyright: ignore[reportPrivateUsage]
    if failure is not None:
        return CgroupSupport(0, reason=f"{failure}")
    return CgroupSupport(version, freezer, memory=memory_mb is not None, pids=pids_max is not None)


def _group_of(groups: list[tuple[frozenset[str], str]], mount: Mount, controller: str) -> str | None:
    for names, group in groups:
        if (controller in names) if mount.version == 1 else not names:
            return group
    return None


def _fields(path: Path) -> dict[str, str]:
    """Lines of `key value`. Raises OSError."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _write_where_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _weight(shares: int) -> int:
    """cgroup v2's 1..10000 for v1's 2..262144, ends on ends."""
    return 1 + (min(shares, 262_144) - 2) * 9_999 // 262_142


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return

"""Control groups: the kernel's own where they can be written here, and trees of plain files for what is not here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from invoker.errors import PlatformFault
from invoker.io.containers import cgroup
from invoker.io.containers.cgroup import PARENT, ControlGroup, cpu_weight, parents, probe

SUPPORT = probe()
real = pytest.mark.skipif(not SUPPORT.freezer, reason=f"no control groups: {SUPPORT.reason}")
limited = pytest.mark.skipif(not SUPPORT.memory, reason=f"no control groups: {SUPPORT.reason}")
LIMIT_S = 20.0

V2_FILES = ("cgroup.procs", "cgroup.freeze", "cgroup.events", "cgroup.kill", "memory.max", "memory.swap.max")
V2_FILES += ("memory.events", "cpu.weight", "pids.max")
V1_FILES = {
    "memory": ("cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"),
    "freezer": ("cgroup.procs", "freezer.state"),
    "pids": ("cgroup.procs", "pids.max"),
    "cpu": ("cgroup.procs", "cpu.shares"),
}

Machine = Callable[[int], Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes a machine of plain files with the given version of control groups; its /proc. New groups get the files that
    the kernel would give them, and lose them when they are removed."""
    make, remove = Path.mkdir, Path.rmdir

    def files(directory: Path) -> tuple[str, ...]:
        return V2_FILES if directory.parts[-3] == "unified" else V1_FILES.get(directory.parts[-3], ())

    def mkdir(self: Path, *arguments: object, **options: object) -> None:
        make(self, *arguments, **options)  # type: ignore[arg-type]
        if self.parent.name == PARENT:
            for name in files(self):
                (self / name).write_text("")

    def rmdir(self: Path) -> None:
        for file in [path for path in self.iterdir() if path.is_file()]:
            file.unlink()
        remove(self)

    def build(version: int) -> Path:
        proc, trees = tmp_path / "proc", tmp_path / "trees"
        lines = ["21 1 8:1 / / rw - ext4 /dev/vda rw"]
        for name in V1_FILES if version == 1 else ("unified",):
            make(trees / name, parents=True)
            kind, options = ("cgroup", f"rw,{name}") if version == 1 else ("cgroup2", "rw")
            lines.append(f"30 21 0:26 / {trees / name} rw,relatime shared:4 - {kind} {kind} {options}")
        if version == 2:
            (trees / "unified" / "cgroup.subtree_control").write_text("")
        make(proc / "self", parents=True)
        (proc / "self" / "mountinfo").write_text("\n".join(lines) + "\n")
        (proc / "self" / "cgroup").write_text("0::/\n" if version == 2 else "4:freezer:/\n0::/\n")
        monkeypatch.setattr(Path, "mkdir", mkdir)
        monkeypatch.setattr(Path, "rmdir", rmdir)
        return proc

    return build


def made(proc: Path, name: str = "one") -> ControlGroup:
    return ControlGroup.create(name, memory_mb=64, cpu_shares=64, pids_max=10, proc=proc)


def only(group: ControlGroup, file: str) -> Path:
    """The one file of that name that the group has."""
    (path,) = [directory / file for directory in group.directories if (directory / file).exists()]
    return path


def test_version_1_bounds_memory_and_swap_together(machine: Machine) -> None:
    group = made(machine(1))
    assert group.limits_memory
    assert only(group, "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert only(group, "memory.memsw.limit_in_bytes").read_text() == str(64 << 20)
    assert only(group, "cpu.shares").read_text() == "64"
    assert only(group, "pids.max").read_text() == "10"


def test_version_2_bounds_memory_and_allows_no_swap(machine: Machine, tmp_path: Path) -> None:
    group = made(machine(2))
    assert group.directories == (tmp_path / "trees" / "unified" / PARENT / "one",)
    assert group.limits_memory
    assert only(group, "memory.max").read_text() == str(64 << 20)
    assert only(group, "memory.swap.max").read_text() == "0"
    assert only(group, "cpu.weight").read_text() == str(cpu_weight(64))
    assert only(group, "pids.max").read_text() == "10"
    assert (tmp_path / "trees" / "unified" / "cgroup.subtree_control").read_text().startswith("+")


@pytest.mark.parametrize("version", [1, 2])
async def test_a_freeze_waits_until_the_kernel_says_so(machine: Machine, version: int) -> None:
    group = made(machine(version))
    order = only(group, "freezer.state" if version == 1 else "cgroup.freeze")
    answer = order if version == 1 else only(group, "cgroup.events")
    states = ("FREEZING", "FROZEN", "THAWED") if version == 1 else ("frozen 0", "frozen 1", "frozen 0")
    answer.write_text(states[0] + "\n")
    freeze = asyncio.create_task(group.freeze())
    await asyncio.sleep(0)
    assert not freeze.done()
    if version == 2:
        assert order.read_text() == "1"
    while not freeze.done():  # bounded by the freeze itself
        answer.write_text(states[1] + "\n")
        await asyncio.sleep(0)
    await freeze
    assert group.frozen
    answer.write_text(states[2] + "\n")
    await group.thaw()
    assert not group.frozen


@pytest.mark.parametrize("version", [1, 2])
async def test_a_freeze_that_does_not_come_is_given_up(
    machine: Machine, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "FREEZE_WAIT_S", 0.01)
    group = made(machine(version))
    order = only(group, "freezer.state" if version == 1 else "cgroup.freeze")
    monkeypatch.setattr(ControlGroup, "frozen", property(lambda _: False))
    with pytest.raises(PlatformFault, match="was not frozen within"):
        await group.freeze()
    assert order.read_text() == ("FROZEN" if version == 1 else "1")


@pytest.mark.parametrize(("version", "file"), [(1, "memory.oom_control"), (2, "memory.events")])
def test_kills_are_counted(machine: Machine, version: int, file: str) -> None:
    group = made(machine(version))
    assert group.oom_kills() == 0
    only(group, file).write_text("oom_kill_disable 0\nlow 0\noom 7\noom_kill 3\noom_group_kill 9\n")
    assert group.oom_kills() == 3


def test_version_2_kills_by_its_own_file(machine: Machine) -> None:
    group = made(machine(2))
    group.kill_all()
    assert only(group, "cgroup.kill").read_text() == "1"


@pytest.mark.parametrize("version", [1, 2])
async def test_groups_are_found_by_their_prefix_and_removed(machine: Machine, version: int) -> None:
    proc = machine(version)
    made(proc, "a.1")
    made(proc, "a.2")
    made(proc, "b.1")
    found = ControlGroup.find("a.", proc=proc)
    assert [group.name for group in found] == ["a.1", "a.2"]
    for group in found:
        await group.remove()
        await group.remove()
    assert [group.name for group in ControlGroup.find("", proc=proc)] == ["b.1"]


def test_a_group_that_stands_is_not_made_again(machine: Machine) -> None:
    proc = machine(2)
    made(proc)
    with pytest.raises(PlatformFault, match="one can't be made"):
        made(proc)


@pytest.mark.parametrize("version", [1, 2])
def test_the_group_of_a_process(machine: Machine, version: int) -> None:
    proc = machine(version)
    group = made(proc, "theirs")
    (proc / "77").mkdir()
    path = f"/{PARENT}/theirs"
    (proc / "77" / "cgroup").write_text(
        f"0::{path}\n" if version == 2 else f"5:freezer:{path}\n4:memory:{path}\n0::/\n"
    )
    found = ControlGroup.of_process(77, "container", proc=proc)
    assert set(found.directories) <= set(group.directories)
    assert found.limits_memory


@pytest.mark.parametrize(
    ("line", "why"),
    [("0::/\n", "can't be frozen"), ("0::/../elsewhere\n", "can't be frozen"), ("0::/gone\n", "can't be frozen")],
)
def test_a_group_out_of_reach_is_refused(machine: Machine, line: str, why: str) -> None:
    proc = machine(2)
    (proc / "77").mkdir()
    (proc / "77" / "cgroup").write_text(line)
    with pytest.raises(PlatformFault, match=why):
        ControlGroup.of_process(77, proc=proc)


def test_the_own_group_is_refused(machine: Machine) -> None:
    proc = machine(2)
    made(proc, "ours")
    (proc / "self" / "cgroup").write_text(f"0::/{PARENT}/ours\n")
    (proc / "77").mkdir()
    (proc / "77" / "cgroup").write_text(f"0::/{PARENT}/ours\n")
    with pytest.raises(PlatformFault, match="own control group"):
        ControlGroup.of_process(77, proc=proc)


def test_a_process_that_is_gone(machine: Machine) -> None:
    with pytest.raises(PlatformFault, match="can't be read"):
        ControlGroup.of_process(78, proc=machine(2))


@pytest.mark.parametrize("version", [1, 2])
def test_a_probe_tells_what_works_and_leaves_nothing(machine: Machine, version: int) -> None:
    proc = machine(version)
    assert probe(proc=proc) == (version, True, True, "")
    assert ControlGroup.find("", proc=proc) == []
    above = parents(proc=proc)
    assert len(above) == (len(V1_FILES) if version == 1 else 1)
    assert {place.name for place in above} == {PARENT}


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/vda rw\n")
    support = probe(proc=tmp_path)
    assert support.version is None
    assert not support.freezer
    assert support.reason
    assert parents(proc=tmp_path) == ()
    with pytest.raises(PlatformFault, match="no control groups are mounted"):
        made(tmp_path)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (262_144, 10_000), (0, 1), (1 << 30, 10_000), (1024, 39)])
def test_weights_take_the_place_of_shares(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


# ---- the kernel's own


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that answers each line with one of its own."""
    code = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield process
        process.kill()


@pytest.fixture
async def group() -> AsyncIterator[ControlGroup]:
    """A group of this machine's kernel."""
    group = made(Path("/proc"), f"test-{os.getpid()}")
    yield group
    group.kill_all()
    with contextlib.suppress(PlatformFault):  # where the test has removed it
        await group.thaw()
    await group.remove()


@real
async def test_frozen_processes_make_no_progress(child: subprocess.Popen[str], group: ControlGroup) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    group.add(child.pid)
    assert group.pids() == {child.pid}
    await group.freeze()
    assert group.frozen
    found = ControlGroup.of_process(child.pid)
    assert found.frozen
    child.stdin.write("hello\n")
    os.set_blocking(child.stdout.fileno(), False)
    assert child.stdout.readline() == ""
    await group.thaw()
    assert not group.frozen
    os.set_blocking(child.stdout.fileno(), True)
    assert child.stdout.readline() == "hello\n"
    child.kill()
    child.wait(LIMIT_S)
    await group.remove()


@real
async def test_all_are_killed_frozen_or_not(child: subprocess.Popen[str], group: ControlGroup) -> None:
    group.add(child.pid)
    await group.freeze()
    group.kill_all()
    await group.thaw()
    assert child.wait(LIMIT_S) == -signal.SIGKILL
    await group.remove()
    assert ControlGroup.find(group.name) == []
    with pytest.raises(PlatformFault):
        group.oom_kills()


@limited
async def test_the_kernel_kills_who_takes_too_much_and_counts_it(group: ControlGroup) -> None:
    enter = "".join(f"open('{directory}/cgroup.procs','w').write('0');" for directory in group.directories)
    hog = await asyncio.create_subprocess_exec(sys.executable, "-c", f"{enter} bytearray(200 << 20)")
    async with asyncio.timeout(LIMIT_S):
        assert await hog.wait() == -signal.SIGKILL
    assert group.oom_kills() == 1
    await group.remove()


@real
async def test_a_group_in_use_is_not_removed(child: subprocess.Popen[str], group: ControlGroup) -> None:
    group.add(child.pid)
    with pytest.raises(PlatformFault, match="can't be removed"):
        await group.remove(0.01)
    child.kill()
    child.wait(LIMIT_S)
    await group.remove()

"""What the kernel says of a process, asked of real ones: alive, killed while frozen, over."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from invoker.io.containers.cgroup import ControlGroup, probe
from invoker.io.process.state import fate, start_time

LIMIT_S = 20.0
SUPPORT = probe()


def within(holds: Callable[[], bool]) -> bool:
    give_up_s = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() >= give_up_s:
            return False
        time.sleep(0.001)
    return True


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, under a name that would lead a careless reader astray."""
    program = tmp_path / "a) Z 0 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "600"]) as process:
        assert within(lambda: b"a) Z" in Path(f"/proc/{process.pid}/comm").read_bytes())
        yield process
        process.kill()


def test_a_process_lives_until_it_is_over(child: subprocess.Popen[bytes]) -> None:
    assert fate(child.pid) == fate(os.getpid()) == "lives"
    child.kill()
    assert within(lambda: fate(child.pid) == "over")  # not reaped yet
    child.wait(LIMIT_S)
    assert fate(child.pid) == "over"


@pytest.mark.skipif(not SUPPORT.freezer, reason=f"no freezer: {SUPPORT.reason}")
async def test_who_is_killed_while_frozen_is_doomed_or_over(child: subprocess.Popen[bytes]) -> None:
    group = ControlGroup.create(f"test-{os.getpid()}", memory_mb=64, cpu_shares=64, pids_max=10)
    try:
        group.add(child.pid)
        await group.freeze()
        assert fate(child.pid) == "lives"
        os.kill(child.pid, signal.SIGKILL)
        # Version 1 keeps it frozen with its SIGKILL in sight; version 2 wakes it to die, and between its taking the
        # signal and its saying so it looks alive.
        assert within(lambda: fate(child.pid) != "lives")
        await group.thaw()
        assert within(lambda: fate(child.pid) == "over")
        child.wait(LIMIT_S)
    finally:
        group.kill_all()
        await group.thaw()
        await group.remove()


def test_start_time_names_a_process_for_good() -> None:
    assert start_time(os.getpid()) is not None
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait(LIMIT_S)
    assert start_time(process.pid) is None

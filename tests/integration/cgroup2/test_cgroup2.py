"""Control groups of version 2 by this machine's kernel, also where its containers are held by version 1.

A kernel that has version 1 mounted can mount version 2 as well, in a namespace of ours. Freezing, killing and finding
are every group's there. A controller belongs to one tree, though: where version 1 has the memory controller, version 2
can neither limit nor count, so there it is tested that the invoker sees this, and the tests of memory are left out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSIDE = Path(__file__).with_name("inside.sh")
LIMIT_S = 300.0
FACTS = """
import json, pathlib
from invoker.io.containers.cgroup import probe
print(json.dumps([pathlib.Path("/sys/fs/cgroup/cgroup.controllers").read_text().split(), *probe()]))
"""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount control groups"),
    pytest.mark.timeout(LIMIT_S),
]


def inside(*command: str) -> str:
    """What the command prints where control groups are version 2; it has to succeed."""
    done = subprocess.run(
        [INSIDE, *command],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=ROOT,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(places: Sequence[str], *, which: str) -> int:
    """How many of the tests passed inside; none may fail."""
    told = inside(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *places, "-k", which)
    found = re.search(r"(\d+) passed", told)
    assert found is not None, told
    return int(found.group(1))


@pytest.fixture(scope="module")
def facts() -> tuple[set[str], list[object]]:
    """The controllers that this kernel has to give, and what the invoker's probe says there."""
    controllers, *support = json.loads(inside(sys.executable, "-c", FACTS))
    return set(controllers), support


@pytest.fixture
def memory(facts: tuple[set[str], list[object]]) -> bool:
    """Whether version 2 has the memory controller here."""
    return "memory" in facts[0]


def test_the_probe_sees_what_there_is(facts: tuple[set[str], list[object]], memory: bool) -> None:
    reason = "" if memory else "this machine's groups have no memory controller"
    assert facts[1] == [2, True, memory, reason]


def test_groups_freeze_thaw_kill_and_are_found(memory: bool) -> None:
    places = ["tests/unit/io/test_cgroup.py", "tests/unit/io/test_process_state.py"]
    assert passed(places, which="" if memory else "not takes_too_much") > 20


def test_the_process_engine_keeps_its_promises(memory: bool) -> None:
    which = "process and not fake and not docker"
    assert passed(["tests/contract/engine"], which=which if memory else f"{which} and not memory") > 50


def standing() -> list[str]:
    """The groups of our runs. The mount inside shows its own alone, so this looks from above."""
    look = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; ls /sys/fs/cgroup"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", look], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    return [name for name in done.stdout.split() if name.startswith("cgroup2-test.")]


def test_nothing_is_left_of_a_run_not_even_of_a_killed_one() -> None:
    with subprocess.Popen(
        [INSIDE, "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE, start_new_session=True
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        os.killpg(run.pid, signal.SIGKILL)
    assert f"cgroup2-test.{run.pid}" in standing()
    inside("true")
    assert f"cgroup2-test.{run.pid}" not in standing()

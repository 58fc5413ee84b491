"""What only the process engine owes: nothing outlives its invoker, one life at a time, the ladder's lower rungs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from invoker.errors import ContainerFault, PlatformFault
from invoker.io.containers.cgroup import ControlGroup
from invoker.io.process.engine import ProcessEngine, ProcessSettings
from invoker.io.process.isolation import default_runtimes
from invoker.io.process.state import start_time
from invoker.ports import Container
from tests.contract.engine.lab import LIMIT_S, Deaths, eventually, init, initialised, open_files, result, run, spec
from tests.contract.engine.process_lab import ProcessLab
from tests.unit.runtimes.served import zipped

EACH_LOOP = True
KILLED_INVOKER = 7001


@pytest.fixture
async def process_lab() -> AsyncIterator[ProcessLab]:
    """The process engine's lab alone; nothing of it is left afterwards."""
    files = open_files()
    async with AsyncExitStack() as stack:
        lab = ProcessLab(stack)
        yield lab
    assert [name for identity in lab.identities for name in lab.standing(identity)] == []
    await eventually(lambda: open_files() <= files, "every file descriptor is closed")


async def test_nothing_that_runs_outlives_a_killed_invoker(process_lab: ProcessLab) -> None:
    """Idle, frozen or busy: all its processes end without another invoker's help."""
    life, guard, containers = await process_lab.life(KILLED_INVOKER)
    born = {pid: start_time(pid) for pid in (guard, *containers)}
    assert None not in born.values()
    life.kill()
    await life.wait()
    await eventually(lambda: all(start_time(pid) != at for pid, at in born.items()), "all its processes have ended")
    await eventually(lambda: process_lab.standing(KILLED_INVOKER) == [], "its groups and directories are removed")


async def test_a_new_life_waits_for_the_guard_of_the_killed_one(process_lab: ProcessLab) -> None:
    life, guard, _ = await process_lab.life(KILLED_INVOKER)
    born = start_time(guard)
    life.kill()
    await life.wait()
    engine = await process_lab.engine(identity=KILLED_INVOKER)
    assert start_time(guard) != born
    container = await initialised(process_lab, engine)
    assert result(await run(container, x=1))["x"] == 1


async def test_one_directory_has_one_invoker_at_a_time(process_lab: ProcessLab) -> None:
    engine = await process_lab.engine()
    container = await initialised(process_lab, engine)
    with pytest.raises(PlatformFault, match="another invoker"):
        await process_lab.engine(identity=process_lab.identities[0])
    assert result(await run(container, x=1))["x"] == 1


async def test_what_can_not_be_removed_stays_and_can_be_tried_again(
    process_lab: ProcessLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker.io.process.container.END_WAIT_S", 1.0)
    engine = await process_lab.engine()
    if "control group" not in engine.describe()["freezer"]:
        pytest.skip("a removal can be hindered by a control group only")
    container = await initialised(process_lab, engine)
    group = next(each for each in ControlGroup.find("") if each.name.endswith(container.id))
    hindrance = group.directories[0] / "hindrance"
    hindrance.mkdir()
    try:
        with pytest.raises(ContainerFault) as fault:
            await container.remove()
        assert fault.value.fault == "platform"
        assert container.id in process_lab.standing(process_lab.identities[0])
    finally:
        hindrance.rmdir()
    await container.remove()
    assert process_lab.standing(process_lab.identities[0]) == []


LOOK = """
import os
def writable(place):
    try:
        open(os.path.join(place, "mine"), "w").close()
    except OSError:
        return False
    return True
def main(args):
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return {
        "written": [place for place in args["places"] if writable(place)],
        "homes": os.path.exists("/home"),
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "capabilities": int(status["CapEff"], 16),
        "no_new_privileges": status["NoNewPrivs"].strip(),
    }
"""


async def test_a_function_sees_little_of_the_machine_and_can_not_write_to_it(process_lab: ProcessLab) -> None:
    engine = await process_lab.engine()
    if "bubblewrap" not in engine.describe()["isolation"]:
        pytest.skip("bubblewrap does not work here")
    container = await engine.start(spec(process_lab), Deaths())
    value = {"name": "look", "main": "main", "code": LOOK, "binary": False, "env": {}}
    assert (await container.init(json.dumps({"value": value}).encode(), 30)).status == 200
    seen = result(await run(container, places=["/", "/usr", "/etc", "/tmp"]))
    assert seen == {"written": ["/tmp"], "homes": False, "capabilities": 0, "no_new_privileges": "1"} | {
        "processes": seen["processes"]
    }
    assert seen["processes"] <= 3


async def on_the_lowest_rung(lab: ProcessLab, directory: Path) -> tuple[ProcessEngine, Container]:
    """An engine without control groups and bubblewrap, and a container of it."""
    engine = ProcessEngine(ProcessSettings(directory=directory, groups=False, bubblewrap=False))
    await engine.open()
    container = await engine.start(spec(lab, memory_mb=512), Deaths())
    assert (await init(container)).status == 200
    return engine, container


async def test_the_lowest_rung_pauses_by_signal_and_says_so(process_lab: ProcessLab, tmp_path: Path) -> None:
    engine, container = await on_the_lowest_rung(process_lab, tmp_path)
    said = engine.describe()
    assert "none" in said["isolation"]
    assert "SIGSTOP" in said["freezer"]
    clock = await initialised(process_lab, await process_lab.engine())
    result(await run(container, "beat"))
    await container.pause()
    result(await run(clock, "sleep", s=0.3))
    await container.unpause()
    assert result(await run(container, "longest_gap"))["s"] >= 0.25
    await container.pause()
    await engine.close()  # what is stopped dies too
    assert os.listdir(tmp_path) == []


async def test_the_lowest_rung_limits_the_address_space(process_lab: ProcessLab, tmp_path: Path) -> None:
    engine, container = await on_the_lowest_rung(process_lab, tmp_path)
    reply = await run(container, "hog")
    assert reply.status == 502
    assert b"MemoryError" in reply.body
    await engine.close()


async def test_children_do_not_outlive_the_main_process(process_lab: ProcessLab) -> None:
    engine = await process_lab.engine()
    deaths = Deaths()
    container = await initialised(process_lab, engine, deaths)
    group = next((each for each in ControlGroup.find("") if each.name.endswith(container.id)), None)
    if group is None:
        pytest.skip("only a control group tells all its processes")
    sleeping = asyncio.create_task(run(container, "child_sleep", s=600))
    await eventually(lambda: len(group.pids()) > 3, "the child runs")
    os.kill(container.pid, signal.SIGKILL)
    assert (await sleeping).condition == "exited"
    await eventually(lambda: not group.pids(), "its child has ended")


@pytest.mark.parametrize("kind", sorted({"python:3", "nodejs:default"} & set(default_runtimes())))
async def test_an_archive_that_would_fill_the_machines_disk_is_refused(process_lab: ProcessLab, kind: str) -> None:
    engine = await process_lab.engine()
    container = await engine.start(spec(process_lab, kind=kind, memory_mb=256), Deaths())
    bomb = zipped({"__main__.py": "", "index.js": "", "big": "x" * (4 << 20)}, claimed_bytes=200 << 20)
    value = {"name": "act", "main": "main", "code": bomb, "binary": True, "env": {}}
    reply = await container.init(json.dumps({"value": value}).encode(), LIMIT_S)
    assert reply.status == 502
    assert b"archive unpacks to more than 536870912 bytes." in reply.body
    assert reply.condition == "running"

"""What an invoker decided under load, with real containers that fail, die, are evicted and frozen, is decided again
in the very same way from its decision log."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

from invoker.policy.actions import Remove
from invoker.replay import ReplayReport, read, replay
from tests.e2e.load import TIGHT_MB, Load, put_actions
from tests.support.node import Machine, Node, ProcessMachine, eventually, serving
from tests.support.outside import outside

PARTS = 4
PART = 75
GRACE = "50ms"


async def test_a_live_run_replays_identically(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path, USER_MEMORY=f"{TIGHT_MB} MB", PAUSE_GRACE=GRACE) as node:
        await put_actions(node.put)
        for part in range(PARTS):
            load = Load(node.port, PART, seed=part)
            await load.run()
            assert len(load.answers) == PART
            await kill_the_paused(node)
        path = node.dev.decision_log.path
    report = replay([path])
    assert report.identical, report.difference
    assert not report.cut_short
    assert report.invocations == PARTS * (PART + 1)
    seen = happened(path)
    for what in ("Enqueue", "Pause", "Unpause", "UnpauseFailed", "Remove evicted", "Remove tainted", "Drained"):
        assert seen[what], f"the load was to bring about: {what}; it brought {seen}"


async def kill_the_paused(node: Node) -> None:
    """Once nothing runs any more, kill every container that is frozen: who uses it next finds it dead at its thaw.

    What stands may all be stock (cold starts that others were quicker than), so one more is run to be frozen.
    """
    await node.call("load0", {"do": "quick", "number": 0})
    containers = node.dev.pool.containers
    still = {"paused", "prewarm"}
    await eventually(lambda: {each.state.value for each in containers.values()} <= still, "all are still")
    await eventually(lambda: node.containers("paused"), "some are frozen")
    for container in node.containers("paused"):
        node.machine.kill(container)


def happened(path: Path) -> Counter[str]:
    """How often each event and action occurs in a log; removals by reason."""
    seen: Counter[str] = Counter()
    for decision in read(path):
        seen[type(decision.event).__name__] += 1
        for action in decision.actions:
            reason = f" {action.reason}" if isinstance(action, Remove) else ""
            seen[type(action).__name__ + reason] += 1
    return seen


async def test_what_a_killed_invoker_left_replays_up_to_there(tmp_path: Path) -> None:
    machine = ProcessMachine(tmp_path / "data" / "containers")
    async with outside(machine, tmp_path, USER_MEMORY=f"{TIGHT_MB} MB", PAUSE_GRACE=GRACE) as invoker:
        await put_actions(invoker.put)
        load = Load(invoker.port, 10_000)
        running = asyncio.create_task(load.run())
        await eventually(lambda: len(load.answers) >= 100 or running.done(), "some are answered")
        await eventually(lambda: written(invoker.first_decisions) > 100, "decisions are written")
        invoker.signal(signal.SIGKILL)
        load.stop()
        await running
        assert await invoker.ended() == -signal.SIGKILL
    report: ReplayReport = replay([invoker.first_decisions])
    assert report.identical, report.difference
    assert report.steps > 100
    assert report.invocations > 20


def written(path: Path) -> int:
    """Lines of a file."""
    return path.read_bytes().count(b"\n")

"""What users of systems of this kind complained about, a test for each.

Others of these have their place elsewhere: a restart that leaves containers behind, and drains that lose or delay work,
in `test_drain`; containers that go on after their time limit, in `test_faults`; a container that can't be paused, in
the driver's unit tests.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from invoker.policy.actions import Dispatch, Remove
from invoker.replay import read
from tests.support.node import Machine, Node, eventually, message, serving

PID = """
import os, time
started = time.time_ns()
def main(args):
    time.sleep(args.get("s", 0))
    return {"version": VERSION, "started": started}
"""


def code(version: int) -> str:
    """An action that tells its version, and its container."""
    return PID.replace("VERSION", str(version))


async def test_who_froze_a_container_also_thaws_and_removes_it(machine: Machine, tmp_path: Path) -> None:
    """Frozen containers that nobody else knew to be frozen could neither be evicted nor removed at the end."""
    async with serving(machine, tmp_path, USER_MEMORY="256 MB", PAUSE_GRACE="10ms") as node:
        containers: list[str] = []
        for number in range(3):
            await node.put(f"p{number}", code(number))
            containers.append((await node.call(f"p{number}")).container)
            await node.until_state(containers[number], "paused")
        assert containers[0] not in node.machine.standing()  # evicted though it was frozen
        assert sorted(node.machine.standing()) == sorted(containers[1:])
        thawed = await node.call("p2")
        assert (thawed.container, "unpauseTime" in thawed.facts) == (containers[2], True)
        await node.until_state(containers[2], "paused")
    assert machine.standing() == []


FLOOD = """
def main(args):
    while True:
        print("x" * 200)
"""


@pytest.mark.contract("10", "14")
async def test_heavy_logging_does_not_extend_the_time_limit(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path) as node:
        await node.put("flood", FLOOD, timeout=500, logs=16)
        ended = await node.call("flood")
        assert ended.result == {"error": "The function exceeded its time limits of 500 milliseconds."}
        assert 500 <= ended.facts["runTime"] < 2_000
        assert ended.facts["logTime"] < 2_000
        assert sum(map(len, ended.record["logs"][:-2])) <= 16 * 1024
        assert any("Logs were truncated" in line for line in ended.texts)
        container = ended.container
        await eventually(lambda: container not in machine.standing(), "it is gone")


@pytest.mark.contract("13")
async def test_a_warm_container_never_serves_code_that_was_replaced(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path) as node:
        store = node.dev.store
        old = await node.put("same", code(1))
        first = await node.call("same", revision=old)
        await store.delete_action("guest", "same")
        new = await node.put("same", code(2))
        assert old != new
        second = await node.call("same", revision=new)
        assert (first.result["version"], second.result["version"]) == (1, 2)
        assert (second.kind, second.container != first.container) == ("cold", True)
        assert (await node.call("same", revision=new)).kind == "warm"


async def test_who_waits_for_memory_costs_nothing_while_waiting(machine: Machine, tmp_path: Path) -> None:
    """The head of a full pool's queue was sent to itself again and again."""
    waiting, steps_each = 40, 12
    async with serving(machine, tmp_path, USER_MEMORY="128 MB", PAUSING="never") as node:
        await node.put("one", code(1))
        await node.put("two", code(2))
        holder = asyncio.create_task(node.call("one", {"s": 1.0}))
        await eventually(lambda: node.containers("busy"), "the memory is taken")
        others = [asyncio.create_task(node.call("two")) for _ in range(waiting)]
        await eventually(lambda: len(node.dev.pool.waiting) == waiting, "all wait")
        began_cpu_s, step_ns = time.process_time(), node.dev.pool.now_ns
        await asyncio.wait((holder,))
        spent_s = time.process_time() - began_cpu_s
        quiet_ns = node.dev.pool.now_ns - step_ns
        assert {(await other).result["version"] for other in others} == {2}
        path = node.dev.decision_log.path
    decisions = list(read(path))
    during = [each for each in decisions if step_ns < each.now_ns < step_ns + quiet_ns]
    assert len(during) <= 3  # the end of the one that ran, and what follows from it
    assert len(decisions) < steps_each * (waiting + 1)
    assert spent_s < 0.5


async def test_many_functions_in_little_memory_do_not_starve_each_other(machine: Machine, tmp_path: Path) -> None:
    """Each gets its turn, and there are no more evictions than that takes."""
    functions, calls = 5, 4
    async with serving(machine, tmp_path, USER_MEMORY="256 MB", PAUSING="never") as node:
        for number in range(functions):
            await node.put(f"f{number}", code(number))

        async def client(number: int) -> None:
            for _ in range(calls):
                assert (await node.call(f"f{number}")).result["version"] == number

        async with asyncio.TaskGroup() as group:
            for number in range(functions):
                group.create_task(client(number))
        path = node.dev.decision_log.path
    actions = [action for decision in read(path) for action in decision.actions]
    dispatched = sum(isinstance(action, Dispatch) for action in actions)
    evicted = sum(isinstance(action, Remove) and action.reason == "evicted" for action in actions)
    assert dispatched == functions * calls
    assert evicted < dispatched


NASTY = r"""
import os, sys
def main(args):
    os.write(1, b'{"broken": "\xff\xfe\n"quoted" \\ \x00 \x1b[31m \xe2\x80\xa8 end\n')
    os.write(2, b'no newline at the end')
    sys.stdout.flush()
    return {"text": "\u2028 \x00 \" \\"}
"""


@pytest.mark.contract("10", "16")
async def test_whatever_is_printed_logs_and_records_are_json(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path) as node:
        await node.put("nasty", NASTY)
        ended = await node.call("nasty")
        assert ended.result == {"text": '\u2028 \x00 " \\'}
        assert [text for text in ended.texts if text.startswith("stdout")] == [
            'stdout: {"broken": "\ufffd\ufffd',
            'stdout: "quoted" \\ \x00 \x1b[31m \u2028 end',
        ]
        # Docker keeps the order within a stream, not between the two.
        assert [text for text in ended.texts if text.startswith("stderr")] == ["stderr: no newline at the end"]
        odd = message("nasty", user={"subject": "line\nbreak\u2028", "namespace": {"name": 'q"uote'}})
        told = json.loads(await (await node.send(odd)).body())
        assert told["response"]["namespace"] == 'q"uote'
    assert len(node.log_lines("invocation completed")) == 2  # which reads every line of the log as JSON


async def test_a_crash_in_one_container_is_no_business_of_others(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path) as node:
        await node.put("one", code(1))
        await node.put("two", code(2))
        running = asyncio.create_task(node.call("one", {"s": 0.5}))
        await eventually(lambda: node.containers("busy"), "one runs")
        victim = await node.call("two")
        node.machine.kill(victim.container)
        await node.until_state(victim.container, "gone")
        assert (await running).status == 0
        assert (await same_container(node, "one")) is True


async def same_container(node: Node, name: str) -> bool:
    """Whether two calls in a row are served by one container."""
    first, second = await node.call(name), await node.call(name)
    return first.container == second.container

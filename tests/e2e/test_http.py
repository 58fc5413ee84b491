"""The whole invoker over HTTP: the head that acknowledges, callers that leave, what is refused, what is measured.

With asyncio's own loop and with uvloop.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from invoker.io.containers.fake import FakeEngine, Moment
from invoker.ports import ContainerSpec
from tests.support.node import Machine, Node, ProcessMachine, message, request, serving

EACH_LOOP = True

NAP = """
import time
def main(args):
    print("begun", flush=True)
    time.sleep(args.get("s", 0))
    return {"slept": args.get("s", 0)}
"""

METRICS = {
    "counter_invoker_activation_start_total",
    "counter_invoker_containerStart_counter_total",
    "histogram_invoker_activationInit_finish_seconds",
    "histogram_invoker_activationRun_finish_seconds",
    "histogram_invoker_collectLogs_finish_seconds",
    "histogram_activations_resultSize_counter_bytes",
    "histogram_activations_logsSize_counter_bytes",
    "counter_activations_status_counter_total",
    "histogram_invoker_docker_finish_seconds",
    "histogram_invoker_containerPoll_finish_seconds",
    "counter_database_cacheHit_counter_total",
    "counter_database_cacheMiss_counter_total",
    "counter_database_getDocument_start_total",
    "counter_database_getDocument_error_total",
    "histogram_database_getDocument_finish_seconds",
    "counter_database_getDocumentAttachment_start_total",
    "counter_database_saveDocumentBulk_start_total",
    "histogram_database_batchSize_counter",
}
"""Of the contract's section 15; Kafka's have a label, and so no sample before there is a topic."""


@pytest.fixture(autouse=True)
async def no_idle_workers() -> AsyncIterator[None]:
    """The loop's own threads end before it is looked for threads that were left."""
    yield
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.fixture
def process(tmp_path: Path) -> Machine:
    return ProcessMachine(tmp_path / "data" / "containers")


async def page(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and text."""
    response = await request(port, method, path)
    return response.status, (await response.body()).decode()


@pytest.mark.contract("4")
async def test_the_head_comes_before_the_invocation_runs(process: Machine, tmp_path: Path) -> None:
    heads_seen = asyncio.Event()

    async def gate(moment: Moment, _: ContainerSpec) -> None:
        if moment == "start":
            await heads_seen.wait()

    async with serving(process, tmp_path, engine=lambda _: FakeEngine(gate=gate)) as node:
        await node.put("echo", "")
        first = await node.send(message("echo", {"x": 1}))
        second = await node.send(message("echo", {"x": 2}, blocking=False))
        assert (first.status, first.fields["content-type"]) == (200, "application/json")
        assert node.dev.intake.in_flight == 2
        heads_seen.set()
        assert json.loads(await first.body())["response"]["response"]["result"] == {"x": 1}
        assert second.status == 200
        await second.body()


@pytest.mark.contract("4")
async def test_a_caller_who_leaves_after_the_head_changes_nothing(process: Machine, tmp_path: Path) -> None:
    async with serving(process, tmp_path) as node:
        await node.put("nap", NAP)
        for blocking in (True, False):
            activation = uuid.uuid4().hex
            response = await node.send(message("nap", {"s": 0.2}, activation=activation, blocking=blocking))
            await response.leave()
            ended = await node.stored(activation)
            assert (ended.status, ended.result, ended.texts) == (0, {"slept": 0.2}, ["stdout: begun"])


@pytest.mark.contract("6")
async def test_the_completion_message(process: Machine, tmp_path: Path) -> None:
    async with serving(process, tmp_path, USER_MEMORY="1 GB") as node:
        await node.put("nap", NAP)
        activation = uuid.uuid4().hex
        transid = ["tid-1", 1700000000123]
        told = json.loads(await (await node.send(message("nap", activation=activation, transid=transid))).body())
        assert told["transid"] == transid
        assert told["isSystemError"] is False
        assert told["invoker"]["instance"] == 0
        assert told["response"]["activationId"] == activation
        other = await node.send(message("gone", activation=activation[::-1], transid=transid, blocking=False))
        assert json.loads(await other.body())["response"] == activation[::-1]


@pytest.mark.contract("3", "4", "9")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "can't be read"),
        (b"{", "can't be read"),
        (b"[]", "can't be read"),
        (b"\xff", "is not UTF-8"),
        (message("x", transid=["only"]), "transid"),
        (message("x", activation="no id"), "activationId"),
        (message("x", action={"name": "x"}), "action.path"),
        (message("x", {"a": 1}, lockedArgs={"a": "k"}), "encrypted parameter 'a'"),
    ],
)
async def test_what_can_not_be_understood_is_refused_and_nothing_runs(
    process: Machine, tmp_path: Path, body: bytes, error: str
) -> None:
    async with serving(process, tmp_path) as node:
        response = await node.send(body)
        assert response.status == 400
        assert error in json.loads(await response.body())["error"]
        assert node.dev.intake.in_flight == 0
        assert samples((await page(node.port, "/metrics"))[1])["counter_invoker_activation_start_total"] == 0


def samples(text: str) -> dict[str, float]:
    """Name with labels -> value."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def some_traffic(node: Node) -> None:
    """A cold and a warm success, a developer's error, an application's, a system error."""
    await node.put("nap", NAP)
    assert (await node.call("nap")).kind == "cold"
    assert (await node.call("nap", {"s": 0.001})).kind == "warm"
    assert (await node.call("nap", {"s": "x"})).status == 2
    assert (await node.call("gone")).status == 1
    await node.dev.store.put_action("guest", "broken", b"{}")
    assert (await node.call("broken")).status == 3


@pytest.mark.contract("4", "15")
async def test_ping_and_the_metrics_after_some_traffic(process: Machine, tmp_path: Path) -> None:
    async with serving(process, tmp_path) as node:
        assert await page(node.port, "/ping") == (200, "pong")
        assert (await page(node.port, "/nowhere"))[0] == 404
        assert (await page(node.port, "/invoke"))[0] == 405
        await some_traffic(node)
        _, text = await page(node.port, "/metrics")
        families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
        assert families >= METRICS
        found = samples(text)
        expected: dict[str, float] = {
            "counter_invoker_activation_start_total": 5,
            'counter_invoker_containerStart_counter_total{containerState="cold"}': 1,
            'counter_invoker_containerStart_counter_total{containerState="warm"}': 2,
            'counter_activations_status_counter_total{status="success"}': 2,
            'counter_activations_status_counter_total{status="application_error"}': 1,
            'counter_activations_status_counter_total{status="developer_error"}': 1,
            'counter_activations_status_counter_total{status="system_error"}': 1,
            "histogram_invoker_activationInit_finish_seconds_count": 1,
            "histogram_invoker_activationRun_finish_seconds_count": 3,
            "histogram_invoker_collectLogs_finish_seconds_count": 3,
            "histogram_activations_resultSize_counter_bytes_count": 5,
            "histogram_activations_logsSize_counter_bytes_count": 5,
        }
        assert {name: found.get(name) for name in expected} == expected
        assert found['histogram_invoker_docker_finish_seconds_count{cmd="run"}'] >= 1
        assert found["histogram_invoker_containerPoll_finish_seconds_count"] >= 1


@pytest.mark.contract("4")
async def test_a_port_of_their_own_for_metrics_and_debugging(process: Machine, tmp_path: Path) -> None:
    async with serving(process, tmp_path, METRICS_PORT="0") as node:
        inside = node.dev.listeners[1].server.port
        for path in ("/metrics", "/debug/pool", "/debug/tasks"):
            assert (await page(node.port, path))[0] == 404
            assert (await page(inside, path))[0] == 200
        assert (await page(inside, "/invoke", "POST"))[0] == 404
        assert (await page(node.port, "/ping"))[0] == 200
        pool: dict[str, Any] = json.loads((await page(inside, "/debug/pool"))[1])
        assert pool["containers"] == []

"""The runner: the story of one activation, as record, log line, metrics and acknowledgement tell it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from invoker import runner
from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.io.containers.fake import FakeContainer, Moment, Path
from invoker.policy import policyset
from invoker.policy.outcome import Reply
from invoker.policy.pausing import FixedGrace
from invoker.ports import ContainerSpec
from invoker.runner import Runner
from tests.support.body import CAPACITY_MB, MEMORY_MB, Body, document
from tests.support.node import message
from tests.support.raw_http import until

ACTIVATION = "ab" * 16


def notes(record: dict[str, Any]) -> dict[str, Any]:
    """The record's annotations, whose keys are in order and once each."""
    keys = [each["key"] for each in record["annotations"]]
    assert keys == sorted(set(keys))
    return {each["key"]: each["value"] for each in record["annotations"]}


async def a_while(container: FakeContainer, path: Path, body: bytes) -> Reply:
    """Takes some milliseconds, prints a line, and returns its parameters."""
    await asyncio.sleep(0.012)
    if path == "/init":
        return Reply(200, b"{}")
    container.print(b"running\n")
    value = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["value"]
    return Reply(200, bytes(value))


@pytest.mark.contract("7", "16")
async def test_a_cold_and_a_warm_one() -> None:
    async with Body(a_while) as body:
        body.store.actions["guest", "act"] = document()
        cold = await body.invoke(content={"x": 1.0}, activation=ACTIVATION)
        warm = await body.invoke(content={"x": 2})
        first, second = body.lines.completed
    found = notes(cold)
    assert cold["response"] == {"result": {"x": 1.0}, "statusCode": 0, "size": 10}
    assert [line[31:] for line in cold["logs"]] == ["stdout: running"]
    assert found["path"] == "guest/act"
    assert (found["kind"], found["entry"], found["timeout"]) == ("python:3", "start", False)
    assert found["limits"] == {"timeout": 5000, "memory": MEMORY_MB, "logs": 10}
    assert found["initTime"] >= 10
    assert found["waitTime"] >= 0
    assert found["gbs"] == MEMORY_MB / 10_240
    assert cold["duration"] == cold["end"] - cold["start"] >= 20  # initialisation counts
    assert "initTime" not in notes(warm)
    assert warm["duration"] < cold["duration"]
    assert (first["containerType"], second["containerType"]) == ("cold", "warm")
    assert first["cid"] == second["cid"]
    assert first["initTime"] >= 10
    assert first.keys() - second.keys() == {"initTime", "dockerRunTime", "pollTime"}
    assert first["aid"] == ACTIVATION
    assert first["invokedVia"] == "http"
    assert first["activationStatus"] == "success"
    assert "activationResponse" not in first


@pytest.mark.contract("16")
async def test_a_thawed_one_tells_how_long_it_took() -> None:
    policies = msgspec.structs.replace(policyset.default(CAPACITY_MB), pausing=FixedGrace(0))
    async with Body(policies=policies) as body:
        body.store.actions["guest", "act"] = document()
        await body.invoke()
        await until(lambda: [each.state.value for each in body.pool.containers.values()] == ["paused"])
        await body.invoke()
        assert body.lines.completed[1]["unpauseTime"] > 0
        assert body.lines.completed[1]["containerType"] == "warm"


@pytest.mark.contract("14", "16")
async def test_a_container_that_died_while_paused_is_named() -> None:
    policies = msgspec.structs.replace(policyset.default(CAPACITY_MB), pausing=FixedGrace(0))

    async def dead(moment: Moment, _: ContainerSpec) -> None:
        if moment == "unpause":
            raise ContainerFault("dead", "exited")

    async with Body(policies=policies, gate=dead) as body:
        body.store.actions["guest", "act"] = document()
        await body.invoke()
        await until(lambda: [each.state.value for each in body.pool.containers.values()] == ["paused"])
        record = await body.invoke()
        first, lost = body.lines.completed
    assert record["response"]["statusCode"] == 2
    told = ("containerType", "cid", "cip", "hasPerContainerFirewall")
    assert [lost[name] for name in told] == ["warm", *(first[name] for name in told[1:])]
    assert "runTime" not in lost


@pytest.mark.contract("7")
async def test_inside_a_sequence_the_cause_is_told_and_no_wait() -> None:
    async with Body() as body:
        body.store.actions["guest", "act"] = document()
        record = await body.invoke(cause="c" * 32)
    assert record["cause"] == "c" * 32
    assert notes(record)["causedBy"] == "sequence"
    assert "waitTime" not in notes(record)


@pytest.mark.contract("7")
async def test_the_wait_is_since_the_transactions_start() -> None:
    async with Body() as body:
        body.store.actions["guest", "act"] = document()
        record = await body.invoke(transid=["t", time.time_ns() // 1_000_000 - 5_000])
        assert notes(record)["waitTime"] >= 5_000
        late = await body.invoke(transid=["t", time.time_ns() // 1_000_000 + 60_000])  # another clock
        assert notes(late).get("waitTime", 0) == 0


@pytest.mark.contract("7", "14", "19")
async def test_what_was_never_fetched_has_no_kind_and_no_limits() -> None:
    async with Body() as body:
        record = await body.invoke("gone")
        found = notes(record)
        assert record["response"]["statusCode"] == 1
        assert (found["kind"], found["entry"], found["gbs"]) == ("", "", 0)
        assert found["limits"] == {"timeout": 0, "memory": 0, "logs": 0}
        assert found.keys() & {"waitTime", "initTime"} == set()
        assert (record["duration"], record["logs"]) == (0, [])
        (line,) = body.lines.completed
        assert line.keys() & {"cid", "containerType", "kind", "gbs", "waitTime"} == set()
        assert line["activationStatus"] == "application error"


@pytest.mark.contract("14")
async def test_a_store_that_is_away() -> None:
    async with Body() as body:
        body.store.broken = PlatformFault("away")
        told = await body.run(message("act"))
        assert told["isSystemError"] is True
        assert told["response"]["response"]["result"] == {"error": "Function could not be fetched."}
        assert body.lines.completed[0]["activationResponse"] == "Function could not be fetched."
        told = await body.run(message("act", blocking=False))
        assert told["isSystemError"] is True  # answered, though the record could not be kept
        assert body.store.records == {}


@pytest.mark.contract("3")
async def test_a_health_probe_is_a_message_like_others() -> None:
    probe = message(
        "invokerHealthTestAction0",
        transid=["sid_invokerHealth", time.time_ns() // 1_000_000],
        action={"path": "whisk.system", "name": "invokerHealthTestAction0", "version": "0.0.1"},
        blocking=False,
    )
    async with Body() as body:
        body.store.actions["whisk.system", "invokerHealthTestAction0"] = document()
        told = await body.run(probe)
        assert (told["isSystemError"], told["transid"][0]) == (False, "sid_invokerHealth")
        assert told["invoker"]["instance"] == 3
        assert body.lines.completed[0]["activationStatus"] == "success"


@pytest.mark.contract("7")
async def test_who_is_stored_and_when() -> None:
    """Non-blocking before the answer; blocking only where there is no controller, and after it."""
    order: list[str] = []
    for store_blocking in (False, True):
        async with Body(store_blocking=store_blocking) as body:
            body.store.actions["guest", "act"] = document()

            async def put() -> None:
                order.append(f"stored after {len(body.answers)}")

            body.store.before_put = put
            await body.run(message("act", blocking=False))
            await body.run(message("act", blocking=True))
            limits = {"subject": "s", "namespace": {"name": "guest"}, "limits": {"storeActivations": False}}
            await body.run(message("act", blocking=False, user=limits))
    assert order == ["stored after 0", "stored after 0", "stored after 2"]


async def test_a_slow_store_keeps_no_container_busy() -> None:
    stored = asyncio.Event()

    async def put() -> None:
        await stored.wait()

    async with Body() as body:
        body.store.actions["guest", "act"] = document()
        body.store.before_put = put
        first = asyncio.create_task(body.run(message("act", blocking=False)))
        await until(lambda: [each.state.value for each in body.pool.containers.values()] == ["idle"])
        assert not body.answers  # who was answered can rely on the record
        stored.set()
        await first
        assert len(body.answers) == 1


@pytest.mark.contract("6")
async def test_a_non_blocking_callers_answer_is_the_id() -> None:
    async with Body() as body:
        body.store.actions["guest", "act"] = document()
        told = await body.run(message("act", activation=ACTIVATION, blocking=False))
        assert told["response"] == ACTIVATION
        record, facts = body.store.records[f"guest/{ACTIVATION}"]
        assert record["activationId"] == facts["aid"] == ACTIVATION


@pytest.mark.contract("4", "16", "19")
async def test_ids_for_the_log_come_from_the_headers() -> None:
    async with Body() as body:
        headers = {"functions-transaction-id": "T", "functions-account": "A", "functions-namespace": "N"}
        await body.run(message("gone", activation=ACTIVATION), headers)
        (line,) = body.lines.completed
        assert (line["tid"], line["account"], line["namespace"]) == ("T", "A", "N")
        assert (line["aid"], line["function"]) == (ACTIVATION, "gone")


async def fails(container: FakeContainer, path: Path, body: bytes) -> Reply:
    if path == "/init":
        return Reply(200, b"{}")
    container.end(oom=True)
    return Reply()


@pytest.mark.contract("14", "16")
async def test_a_lost_container_is_told_with_its_state() -> None:
    async with Body(fails) as body:
        body.store.actions["guest", "act"] = document()
        record = await body.invoke()
        assert record["response"]["result"] == {"error": "The function exhausted its memory and was aborted."}
        line = body.lines.completed[0]
        assert line["cstate"] == "oom"
        assert line["activationResponse"] == "The function exhausted its memory and was aborted."
        assert line["activationStatus"] == "developer error"
        await until(lambda: not body.engine.containers)


@pytest.mark.contract("16")
async def test_an_own_error_of_the_user_is_never_logged() -> None:
    async with Body() as body:
        body.store.actions["guest", "act"] = document()
        record = await body.invoke(content={"error": "a secret"})
        assert record["response"]["statusCode"] == 1
        assert "a secret" not in json.dumps(body.lines.completed)


async def no_end(container: FakeContainer, path: Path, body: bytes) -> Reply:
    container.prints_sentinels = False
    return Reply(200, b"{}")


@pytest.mark.contract("10", "14")
async def test_a_log_without_its_end_costs_the_container() -> None:
    async with Body(no_end) as body:
        body.store.actions["guest", "act"] = document()
        record = await body.invoke()
        assert record["response"]["statusCode"] == 0
        assert [line[31:] for line in record["logs"]] == [
            "stderr: There was an issue while collecting your logs. Logs might be missing."
        ]
        assert body.lines.completed[0]["logTimeout"] is True
        await until(lambda: not body.pool.containers)


async def slow(container: FakeContainer, path: Path, body: bytes) -> Reply:
    await asyncio.sleep(60)
    return Reply()


@pytest.mark.contract("12", "14")
async def test_limits_of_init_and_run() -> None:
    async with Body(slow, init_limit_min_ms=40) as body:
        body.store.actions["guest", "act"] = document(timeout=30)
        record = await body.invoke()
        assert notes(record)["timeout"] is True
        assert record["response"]["result"]["error"].startswith("The function exceeded its time limits of 40 milli")
        assert record["duration"] >= 40
        body.store.actions["guest", "long"] = document(timeout=80)  # longer than /init's least
        record = await body.invoke("long")
        assert "limits of 80 milliseconds during initialization" in record["response"]["result"]["error"]


@pytest.mark.contract("14", "19")
async def test_an_unknown_kind_and_a_start_that_fails() -> None:
    async def gate(moment: Moment, _: ContainerSpec) -> None:
        if moment == "start":
            raise StartFailed("no")

    async with Body(gate=gate) as body:
        body.store.actions["guest", "act"] = document()
        told = await body.run(message("act"))
        assert told["isSystemError"] is True
        record = told["response"]
        assert record["response"]["result"] == {"error": "Failed to provision resources to run the function."}
        assert notes(record)["limits"]["memory"] == MEMORY_MB  # it was fetched
        assert "waitTime" not in notes(record)
    async with Body(resolve={"cobol:60": "x"}) as body:
        body.store.actions["guest", "act"] = document()
        assert (await body.run(message("act")))["isSystemError"] is True
        assert body.pool.last_id == 0


async def test_a_defect_of_ours_is_an_answer_too(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(container: FakeContainer, path: Path, body: bytes) -> Reply:
        raise RuntimeError("a defect")

    async with Body(breaks) as body:
        body.store.actions["guest", "act"] = document()
        told = await body.run(message("act"))
        assert told["isSystemError"] is True
        assert "met a defect of the invoker" in caplog.text
        await until(lambda: not body.pool.containers)
        assert len(body.lines.completed) == 1


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("what", ["written", "facts_of", "_completion", "_store", "_count"])
async def test_whatever_breaks_of_ours_the_caller_is_answered_once_and_the_container_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str, blocking: bool
) -> None:
    def breaks(*_: object, **__: object) -> Any:
        raise RuntimeError("a defect")

    async with Body(a_while, store_blocking=True) as body:
        body.store.actions["guest", "act"] = document()
        monkeypatch.setattr(runner if what in ("written", "facts_of") else Runner, what, breaks)
        told = await body.run(message("act", blocking=blocking))
        assert len(body.answers) == 1
        assert told["isSystemError"] is (
            what in ("written", "facts_of", "_completion") or (what, blocking) == ("_store", False)
        )
        assert not body.pool.placed
        assert "met a defect of the invoker" in caplog.text


@pytest.mark.contract("15", "19")
async def test_metrics_count_what_was() -> None:
    async with Body(a_while) as body:
        body.store.actions["guest", "act"] = document()
        await body.invoke(content={"x": 1})
        await body.invoke(content={"x": 1})
        await body.invoke("gone")
        text = body.metrics.render().decode()
    for line in (
        "counter_invoker_activation_start_total 3.0",
        'counter_invoker_containerStart_counter_total{containerState="cold"} 1.0',
        'counter_invoker_containerStart_counter_total{containerState="warm"} 1.0',
        'counter_activations_status_counter_total{status="success"} 2.0',
        'counter_activations_status_counter_total{status="application_error"} 1.0',
        "histogram_invoker_activationInit_finish_seconds_count 1.0",
        "histogram_invoker_activationRun_finish_seconds_count 2.0",
        "histogram_activations_resultSize_counter_bytes_sum 16.0",
        "histogram_activations_resultSize_counter_bytes_count 3.0",
    ):
        assert f"\n{line}\n" in text, line


@pytest.mark.contract("7", "19")
async def test_one_in_a_binding_has_its_annotations() -> None:
    action = {"path": "guest/pkg", "name": "act", "version": "1.2.3", "binding": "alice/bound"}
    user = {"subject": "a", "namespace": {"name": "alice", "annotations": [{"key": "path", "value": "mine"}]}}
    async with Body() as body:
        body.store.actions["guest/pkg", "act"] = document(path="guest/pkg")
        record = await body.invoke(action=action, user=user)
    found = notes(record)
    assert (found["binding"], found["path"]) == ("alice/bound", "guest/pkg/act")  # the record's own wins
    assert (record["namespace"], record["version"]) == ("alice", "1.2.3")

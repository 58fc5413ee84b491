"""What a function does, and what an engine makes of it: answers, limits, logs."""

from __future__ import annotations

import asyncio

import pytest

from invoker.io.containers.http import RESPONSE_LIMIT_BYTES
from invoker.ports import Container
from invoker.protocol.logs import CollectedLog
from tests.contract.engine.lab import LIMIT_S, LOG_LIMIT_BYTES, Lab, init, initialised, result, run, started


def texts(log: CollectedLog) -> list[str]:
    """`stream: text` of each line."""
    return [line[31:] for line in log.lines]


async def logged(container: Container, do: str, **value: object) -> CollectedLog:
    """Run with a log of its own."""
    container.arm_logs(LOG_LIMIT_BYTES)
    await run(container, do, **value)
    return await container.collect_logs(LIMIT_S)


@pytest.mark.contract("12")
async def test_parameters_reach_the_function_and_its_result_comes_back(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    value = {"text": "ü\U0001f600", "nested": {"list": [1, 2.5, None, True]}, "large": 10**39}
    assert result(await run(container, **value)) == {"do": "echo"} | value


@pytest.mark.contract("12")
async def test_the_environment_is_what_init_says(lab: Lab) -> None:
    container = await started(lab, await lab.engine())
    assert (await init(container, GREETING="hello", __OW_NAMESPACE="guest")).status == 200
    environment = result(await run(container, "environ"))
    assert environment["GREETING"] == "hello"
    assert environment["__OW_NAMESPACE"] == "guest"
    assert environment["HOME"] == "/tmp"
    assert "PYTEST_CURRENT_TEST" not in environment


async def test_runs_overlap(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    places = await asyncio.gather(*(run(container, "meet") for _ in range(4)))
    assert sorted(result(place)["place"] for place in places) == [0, 1, 2, 3]


@pytest.mark.contract("14")
async def test_an_error_of_the_function_is_an_answer(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    reply = await run(container, "fail")
    assert reply.status == 502
    assert b"no such luck" in reply.body
    assert reply.condition == "running"
    assert result(await run(container, x=1))["x"] == 1


@pytest.mark.contract("14")
async def test_a_failed_init_is_an_answer_with_a_log(lab: Lab) -> None:
    container = await started(lab, await lab.engine())
    container.arm_logs(LOG_LIMIT_BYTES)
    reply = await init(container, AT_INIT="fail")
    assert reply.status == 502
    log = await container.collect_logs(LIMIT_S)
    assert log.complete
    assert any("stderr: ValueError: no such luck" in text for text in texts(log))


@pytest.mark.contract("12", "14")
async def test_a_run_that_takes_too_long(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    reply = await run(container, "sleep", timeout_s=0.2, s=600)
    assert reply.status is None
    assert reply.timed_out
    assert reply.condition == "running"
    await container.remove()


@pytest.mark.contract("12", "14")
async def test_an_init_that_takes_too_long(lab: Lab) -> None:
    container = await started(lab, await lab.engine())
    reply = await init(container, timeout_s=0.2, AT_INIT="sleep")
    assert reply.timed_out
    assert reply.condition == "running"
    await container.remove()


@pytest.mark.contract("12", "14")
async def test_a_result_that_is_too_large_is_cut_and_the_container_kept(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    reply = await run(container, "large", n=RESPONSE_LIMIT_BYTES)
    assert reply.truncated
    assert len(reply.body) == RESPONSE_LIMIT_BYTES
    assert reply.announced is not None
    assert reply.announced > RESPONSE_LIMIT_BYTES
    assert result(await run(container, x=1))["x"] == 1


@pytest.mark.contract("10")
async def test_both_streams_are_logged_up_to_the_sentinels(lab: Lab) -> None:
    container = await started(lab, await lab.engine())
    container.arm_logs(LOG_LIMIT_BYTES)
    assert (await init(container)).status == 200
    await run(container, "say", out=["one", "two"], err=["three"])
    log = await container.collect_logs(LIMIT_S)
    assert log.complete
    assert not log.truncated
    assert sorted(texts(log)) == ["stderr: three", "stdout: one", "stdout: two"]


@pytest.mark.contract("10")
async def test_each_activation_has_its_own_log(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    for word in ("first", "second", "third"):
        log = await logged(container, "say", out=[word], err=[])
        assert log.complete
        assert texts(log) == [f"stdout: {word}"]
    silent = await logged(container, "echo")
    assert silent.complete
    assert silent.lines == []


@pytest.mark.contract("10", "19")
async def test_what_is_printed_between_two_activations_is_the_next_ones(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    assert texts(await logged(container, "mutter", out=["in between"], err=[])) == []
    log = await logged(container, "say_after_mutter", out=["mine"], err=[])
    assert texts(log) == ["stdout: in between", "stdout: mine"]


@pytest.mark.contract("10")
async def test_a_flood_is_cut_at_the_limit_and_stops_nobody(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    container.arm_logs(1000)
    result(await run(container, "flood", lines=50_000))
    log = await container.collect_logs(LIMIT_S)
    assert log.complete
    assert log.truncated
    assert log.size_bytes <= 1000
    assert texts(await logged(container, "say", out=["after"], err=[])) == ["stdout: after"]


@pytest.mark.contract("10")
async def test_missing_sentinels_are_said_in_the_log(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    container.arm_logs(LOG_LIMIT_BYTES)
    await run(container, "silence")
    log = await container.collect_logs(0.2, "Something broke")
    assert not log.complete
    assert texts(log) == ["stdout: the last words", "stderr: Something broke. Logs might be missing."]


@pytest.mark.contract("10")
async def test_the_log_of_the_dead_is_what_they_said(lab: Lab) -> None:
    container = await initialised(lab, await lab.engine())
    container.arm_logs(LOG_LIMIT_BYTES)
    await run(container, "say", out=["alive"], err=[])
    await run(container, "leave")
    log = await container.collect_logs(LIMIT_S)
    assert log.complete
    assert texts(log) == ["stdout: alive"]

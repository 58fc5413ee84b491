"""The calls of a load, and that each way for an answer to be wrong is found out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from invoker.errors import CallerFault
from loadtest.calls import CODE, Call, Calls, Wanted, judge_acknowledgement, judge_answer, judge_record
from sim.rng import sequence

ID = "0123456789abcdef" * 2
CALL = Call("u1-1", "guest", True, 10, b"{}")
UNWAITED = Call("u1-1", "guest", False, 10, b"{}")


def calls(wanted: Wanted, count: int) -> list[Call]:
    made = Calls(wanted, sequence(1, "user 1"), "u1")
    return [made.next() for _ in range(count)]


def record(**changes: Any) -> bytes:
    """The record of CALL: warm, 12 ms, 2 log lines."""
    fields: dict[str, Any] = {
        "activationId": ID,
        "duration": 12,
        "logs": ["a", "b"],
        "response": {"statusCode": 0, "result": {"mark": "u1-1", "bytes": 10}},
        "annotations": [{"key": "waitTime", "value": 3}, {"key": "kind", "value": "python:3"}],
    }
    return json.dumps(fields | changes).encode()


def acknowledgement(response: Any, **changes: Any) -> bytes:
    fields = {"transid": ["t", 1], "response": response, "isSystemError": False, "instance": {"instance": 0}}
    return json.dumps(fields | changes).encode()


def test_the_same_stream_draws_the_same_calls_and_shares_are_kept() -> None:
    wanted = Wanted(blocking_share=0.7, cold_share=0.2, payload_bytes=(1, 100), run_ms=5)
    drawn = calls(wanted, 2000)
    assert drawn == calls(wanted, 2000)
    assert len({call.mark for call in drawn}) == 2000
    assert 0.65 < sum(call.blocking for call in drawn) / 2000 < 0.75
    cold = [call.namespace for call in drawn if call.namespace != "guest"]
    assert 0.15 < len(cold) / 2000 < 0.25
    assert len(set(cold)) == len(cold), "nobody else has used it"
    assert {call.payload_bytes for call in drawn} == {1, 100}
    assert 4 < sum(json.loads(call.parameters)["ms"] for call in drawn) / 2000 < 6


def test_the_function_answers_what_is_checked() -> None:
    (call,) = calls(Wanted(payload_bytes=(10,), log_lines=2), 1)
    names: dict[str, Any] = {}
    exec(CODE, names)
    assert names["main"](json.loads(call.parameters)) == {"mark": call.mark, "bytes": 10}


@pytest.mark.parametrize("wrong", [{"blocking_share": 1.5}, {"cold_share": -1}, {"payload_bytes": ()}, {"run_ms": -1}])
def test_what_can_not_be_wanted_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(CallerFault):
        Wanted(**wrong)


def test_a_good_record_tells_its_start_and_spans() -> None:
    warm = judge_record(CALL, record(), 2)
    assert (warm.problem, warm.start, warm.wait_ms, warm.init_ms, warm.run_ms) == ("", "warm", 3, None, 12)
    cold = judge_record(CALL, record(annotations=[{"key": "initTime", "value": 5}]), 2)
    assert (cold.problem, cold.start, cold.wait_ms, cold.init_ms, cold.run_ms) == ("", "cold", None, 5, 7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"response": {"statusCode": 2, "result": {"error": "it died"}}}, "status 2: it died"),
        ({"response": {"statusCode": 0, "result": {"mark": "u2-1", "bytes": 10}}}, "of call 'u2-1'"),
        ({"response": {"statusCode": 0, "result": {"mark": "u1-1", "bytes": 9}}}, "with 9 bytes"),
        ({"logs": []}, "0 log lines instead of 2"),
        ({"logs": None}, "can't be read"),
    ],
)
def test_a_record_that_is_wrong_is_found_out(changes: dict[str, Any], words: str) -> None:
    assert words in judge_record(CALL, record(**changes), 2).problem


def test_acknowledgements() -> None:
    whole = json.loads(record())
    assert judge_acknowledgement(CALL, ID, 200, acknowledgement(whole), 2).problem == ""
    assert judge_acknowledgement(UNWAITED, ID, 200, acknowledgement(ID), 2).problem == ""
    for call, status, body, words in (
        (CALL, 503, b"busy", "HTTP 503"),
        (CALL, 200, b"", "can't be read"),
        (CALL, 200, acknowledgement("f" * 32), "of activation ffff"),
        (CALL, 200, acknowledgement(ID), "record is missing"),
        (CALL, 200, acknowledgement(whole, isSystemError=True), "system error"),
        (UNWAITED, 200, acknowledgement(whole), "nobody waits for"),
    ):
        assert words in judge_acknowledgement(call, ID, status, body, 2).problem


def test_answers_of_a_door() -> None:
    accepted = json.dumps({"activationId": ID}).encode()
    assert judge_answer(CALL, 200, record(), 2).start == "warm"
    assert judge_answer(UNWAITED, 202, accepted, 2).problem == ""
    for call, status, body, words in (
        (CALL, 202, accepted, "nobody waited"),
        (UNWAITED, 202, b"{}", "without an activation's id"),
        (CALL, 502, record(), "HTTP 502"),
        (CALL, 0, b"", "HTTP 0"),
    ):
        assert words in judge_answer(call, status, body, 2).problem

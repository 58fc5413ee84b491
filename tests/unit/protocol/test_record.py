"""Activation records: fields, annotations, times, and the form in which they are stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from invoker.protocol.document import decode_action
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.record import Ending, activation_record, document_id, gbs, stored_record
from invoker.protocol.secrets import KeyRing

pytestmark = pytest.mark.contract("7")

ID = "0123456789abcdef0123456789abcdef"
MS = 1_000_000
START_NS = 1_700_000_000_000 * MS
DOCUMENT = decode_action(
    b'{"namespace":"guest/pkg","name":"hello","exec":{"kind":"nodejs:14","main":"start"},'
    b'"limits":{"timeout":30000,"memory":512,"logs":10}}'
)


def message(**changes: Any) -> ActivationMessage:
    fields: dict[str, Any] = {
        "transid": ["tid", 1700000000000],
        "activationId": ID,
        "action": {"path": "guest/pkg", "name": "hello", "version": "0.0.7"},
        "user": {"subject": "alice-s", "namespace": {"name": "alice"}},
    }
    return decode_message(json.dumps(fields | changes).encode(), KeyRing())


def annotated(*pairs: tuple[str, str]) -> ActivationMessage:
    listed = [{"key": key, "value": value} for key, value in pairs]
    return message(user={"subject": "alice-s", "namespace": {"name": "alice", "annotations": listed}})


def ending(**changes: Any) -> Ending:
    fields: dict[str, Any] = {
        "status": 0,
        "result": b'{"x":1.0}',
        "size_bytes": 9,
        "timed_out": False,
        "run_start_ns": START_NS,
        "end_ns": START_NS + 101 * MS,
    }
    return Ending(**(fields | changes))


def record(given: ActivationMessage | None = None, end: Ending | None = None, **more: Any) -> dict[str, Any]:
    document = more.get("document", DOCUMENT)
    return json.loads(activation_record(given or message(), document, end or ending(), more.get("logs", [])))


def annotated_with(of: dict[str, Any]) -> dict[str, Any]:
    keys = [each["key"] for each in of["annotations"]]
    assert keys == sorted(set(keys))
    return {each["key"]: each["value"] for each in of["annotations"]}


def test_a_record() -> None:
    got = record(end=ending(wait_ns=7 * MS + 5), logs=["a line"])
    assert got.pop("annotations") == [
        {"key": "entry", "value": "start"},
        {"key": "gbs", "value": 0.1},
        {"key": "kind", "value": "nodejs:14"},
        {"key": "limits", "value": {"timeout": 30000, "memory": 512, "logs": 10}},
        {"key": "path", "value": "guest/pkg/hello"},
        {"key": "timeout", "value": False},
        {"key": "waitTime", "value": 7},
    ]
    assert got == {
        "activationId": ID,
        "namespace": "alice",
        "subject": "alice-s",
        "name": "hello",
        "version": "0.0.7",
        "publish": False,
        "start": 1700000000000,
        "end": 1700000000101,
        "duration": 101,
        "logs": ["a line"],
        "response": {"result": {"x": 1.0}, "statusCode": 0, "size": 9},
    }


def test_logs_are_a_list_where_there_are_none() -> None:
    assert b'"logs":[]' in activation_record(message(), DOCUMENT, ending(), [])


@pytest.mark.contract("19")
def test_before_the_action_was_read() -> None:
    got = annotated_with(record(document=None))
    limits = {"timeout": 0, "memory": 0, "logs": 0}
    assert got == {"entry": "", "gbs": 0, "kind": "", "limits": limits, "path": "guest/pkg/hello", "timeout": False}


def test_initialisation_belongs_to_the_time() -> None:
    got = record(end=ending(init_ns=250 * MS))
    assert (got["start"], got["end"], got["duration"]) == (1699999999750, 1700000000101, 351)
    assert annotated_with(got)["initTime"] == 250
    assert annotated_with(got)["gbs"] == 0.2


def test_in_a_sequence() -> None:
    got = record(message(cause="c" * 32), ending(wait_ns=5 * MS, init_ns=1))
    assert got["cause"] == "c" * 32
    assert annotated_with(got)["causedBy"] == "sequence"
    assert "waitTime" not in annotated_with(got)
    assert annotated_with(got)["initTime"] == 0


@pytest.mark.contract("19")
@pytest.mark.parametrize(("span_ns", "shown"), [(None, None), (0, None), (-5, None), (1, 0), (999_999, 0), (MS, 1)])
def test_waits_above_zero_show_even_where_they_round_to_it(span_ns: int | None, shown: int | None) -> None:
    got = annotated_with(record(end=ending(wait_ns=span_ns, init_ns=None)))
    assert got.get("waitTime") == shown
    if span_ns is None or span_ns >= 0:
        assert annotated_with(record(end=ending(init_ns=span_ns))).get("initTime") == shown


def test_a_binding_and_a_time_limit() -> None:
    action = {"path": "guest/pkg", "name": "hello", "binding": "alice/bound"}
    got = annotated_with(record(message(action=action), ending(timed_out=True, status=2)))
    assert (got["binding"], got["timeout"]) == ("alice/bound", True)


@pytest.mark.contract("19")
def test_the_records_own_annotations_win() -> None:
    got = annotated_with(record(annotated(("zone", "1"), ("kind", "forged"), ("Path", "x"), ("zone", "2"), ("é", "y"))))
    assert (got["kind"], got["zone"], got["Path"], got["é"]) == ("nodejs:14", "2", "x", "y")


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_statuses(status: int) -> None:
    assert record(end=ending(status=status))["response"]["statusCode"] == status


def test_a_clock_that_went_back_makes_no_negative_duration() -> None:
    got = record(end=ending(end_ns=START_NS - 10 * MS))
    assert got["duration"] == 0
    assert got["start"] == got["end"]


def test_a_result_that_is_no_utf8_is_mended() -> None:
    assert record(end=ending(result=b'{"x":"a\xffb"}'))["response"]["result"] == {"x": "a\ufffdb"}


@pytest.mark.parametrize(
    ("path", "memory_mb", "duration_ms", "expected"),
    [
        ("guest", 256, 0, "0"),
        ("guest", 256, 1, "0.025"),
        ("guest", 256, 100, "0.025"),
        ("guest", 256, 101, "0.05"),
        ("guest", 1024, 1000, "1"),
        ("guest", 128, 60_000, "7.5"),
        ("fnsystem/builder", 256, 100, "0"),
        ("fnsystem/builder-2", 256, 100, "0"),
        ("fnsystem", 256, 100, "0.025"),
    ],
)
def test_gigabyte_seconds(path: str, memory_mb: int, duration_ms: int, expected: str) -> None:
    assert json.dumps(gbs(path, memory_mb, duration_ms)) == expected


def test_the_stored_form() -> None:
    given = message()
    made = activation_record(given, DOCUMENT, ending(), [])
    stored = json.loads(stored_record(made, document_id(given), 1700000000999))
    assert stored == json.loads(made) | {
        "_id": f"alice/{ID}",
        "entityType": "activation",
        "updated": 1700000000999,
    }

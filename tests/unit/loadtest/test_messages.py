"""What a controller writes an invoker reads, and the other way round: with the invoker's own decoder and encoder."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from invoker.errors import CallerFault
from invoker.io.kafka.health import ping
from invoker.protocol.acknowledgement import acknowledge, short_response
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.secrets import KeyRing
from loadtest.messages import (
    GUEST,
    PROBE_ID,
    Action,
    Identity,
    Malformed,
    Parameter,
    Ping,
    activation_message,
    decode_acknowledgement,
    decode_document,
    decode_outcome,
    decode_ping,
    is_test,
    probe_message,
)

ID = "0123456789abcdef" * 2
ACTION = Action("guest/pkg", "act", "0.0.3", "3-abc")
RECORD = b'{"activationId":"%b","response":{"result":{"n":1.0,"s":"\\ud83d"},"statusCode":1,"size":9}}' % ID.encode()


def message(parameters: bytes = b"", action: Action = ACTION, caller: Identity = GUEST, blocking: bool = True) -> bytes:
    return activation_message(
        action, caller, parameters, activation=ID, transaction=("t1", 7), controller="c0", blocking=blocking
    )


def decoded(body: bytes) -> ActivationMessage:
    return decode_message(body, KeyRing())


def bound(key: str, value: object, **more: Any) -> Parameter:
    return Parameter(key, msgspec.Raw(json.dumps(value).encode()), **more)


def test_an_invoker_reads_what_is_written() -> None:
    read = decoded(message(b'{"x": 8.70}', caller=Identity("someone", "team", "u-1", "secret")))
    assert (read.activation_id, read.transaction_id, read.transaction_start_ms) == (ID, "t1", 7)
    assert (read.path, read.name, read.version, read.revision) == ("guest/pkg", "act", "0.0.3", "3-abc")
    assert (read.subject, read.namespace, read.api_key) == ("someone", "team", "u-1:secret")
    assert (read.controller, read.blocking, read.store_activations) == ("c0", True, True)
    assert decoded(message(blocking=False)).blocking is False


def test_upstreams_readers_find_every_key_they_insist_on() -> None:
    """They take no default for a key that is missing."""
    written = json.loads(message(b"{}"))
    wanted = {"transid", "action", "revision", "user", "activationId", "rootControllerIndex", "blocking"}
    assert wanted | {"initArgs", "lockedArgs"} <= set(written)
    assert set(written["user"]) == {"subject", "namespace", "authkey", "rights", "limits"}
    assert set(written["user"]["namespace"]) == {"name", "uuid"}


@pytest.mark.parametrize("value", ["8.70", "1e400", "123456789012345678901234567890", r'"\ud83d"', '{"z":1, "a":2}'])
def test_a_value_stays_as_it_was_written(value: str) -> None:
    assert decoded(message(b'{"x":%b}' % value.encode())).run_value == b'{"x":%b}' % value.encode()


def test_given_parameters_win_over_bound_ones_and_are_not_encrypted() -> None:
    parameters = (bound("a", 1), bound("b", 2, init=True), bound("c", "sealed", encryption="k1"), bound("d", "s"))
    written = json.loads(message(b'{"c": "plain", "e": 5}', msgspec.structs.replace(ACTION, parameters=parameters)))
    assert written["content"] == {"a": 1, "b": 2, "c": "plain", "d": "s", "e": 5}
    assert written["initArgs"] == ["b"]
    assert written["lockedArgs"] == {}
    assert json.loads(message(b"", msgspec.structs.replace(ACTION, parameters=parameters)))["lockedArgs"] == {"c": "k1"}


@pytest.mark.parametrize("parameters", [b"[1]", b"{", b'"x"', b"\xff", b"7"])
def test_parameters_that_are_no_object_are_the_callers_fault(parameters: bytes) -> None:
    with pytest.raises(CallerFault, match="one JSON object"):
        message(parameters)


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(Identity("someone", "team", "u-1", "secret"))


def test_a_test_action_is_known_by_its_whole_transaction_id() -> None:
    probe = decoded(probe_message("c0", ID, 99))
    assert (probe.path, probe.name, probe.revision) == ("whisk.system", "invokerHealthTestActionc0", None)
    assert json.loads(probe.transid) == [PROBE_ID, 99]
    told = decode_acknowledgement(acknowledge(probe, short_response(probe), False, 5, 1 << 30))
    assert is_test(told, 99)
    assert not is_test(told, 98)


def test_both_kinds_of_acknowledgement_of_an_invoker() -> None:
    sent = decoded(message())
    short = decode_acknowledgement(acknowledge(sent, short_response(sent), True, 5, 1 << 30))
    assert (short.activation, short.record, short.instance, short.system_error) == (ID, None, 5, True)
    whole = decode_acknowledgement(acknowledge(sent, RECORD, False, 5, 1 << 30))
    assert (whole.activation, whole.record, whole.instance, whole.system_error) == (ID, RECORD, 5, False)
    assert whole.transid == b'["t1",7]'


@pytest.mark.parametrize(
    ("text", "activation", "instance"),
    [
        ('{"transid":["t",1],"response":"%s"}', ID, None),  # a result alone: the slot is not free
        ('{"transid":["t",1],"activationId":"%s","isSystemError":false,"instance":{"instance":3}}', ID, 3),
        ('{"transid":["t",1],"response":"%s","invoker":{"instance":4,"userMemory":"0 g"}}', ID, 4),  # the reference's
        ('{"transid":["t",1,["p",0]],"response":"%s","isSystemError":null,"instance":{"instance":3},"new":1}', ID, 3),
    ],
)
def test_every_form_that_was_ever_in_use_is_read(text: str, activation: str, instance: int | None) -> None:
    told = decode_acknowledgement((text % ID).encode())
    assert (told.activation, told.instance, told.system_error) == (activation, instance, False)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"transid":1,"response":{}}', b'{"transid":[],"response":{"a":1}}']
)
def test_what_is_no_acknowledgement_is_told(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_acknowledgement(body)


def test_an_outcome_keeps_the_result_as_it_was_written() -> None:
    outcome = decode_outcome(RECORD)
    assert (outcome.status_code, outcome.size) == (1, 9)
    assert bytes(outcome.result) == b'{"n":1.0,"s":"\\ud83d"}'


def test_a_ping_of_an_invoker_is_read() -> None:
    assert decode_ping(ping(7, 1 << 30, enabled=True)) == Ping(7, 1024, True)
    assert decode_ping(ping(7, 1 << 30, enabled=False)).enabled is False
    assert decode_ping(b'{"name":{"instance":1,"userMemory":"512 MB"}}') == Ping(1, 512, True)
    for body in (b"", b"{}", b'{"name":{"instance":1,"userMemory":"much"}}'):
        with pytest.raises(Malformed):
            decode_ping(body)


def test_a_document_tells_what_placing_needs() -> None:
    limits = {"memory": 512, "timeout": 1000, "concurrency": 3, "logs": 10}
    document = {"namespace": "guest", "name": "act", "version": "0.0.2", "_rev": "2-x", "limits": limits, "more": 1}
    action = decode_document(json.dumps(document).encode())
    assert action.full_name == "guest/act"
    assert (action.revision, action.memory_mb, action.limit_ms, action.concurrency) == ("2-x", 512, 1000, 3)
    with pytest.raises(Malformed, match="put the action anew"):
        decode_document(b'{"name": "act"}')

"""Activation messages: what is read, what may be missing, what is refused by name, and what never shows."""

from __future__ import annotations

import base64
import json
import traceback
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.errors import CallerFault
from invoker.protocol.message import ActivationMessage, MalformedMessage, decode_message
from invoker.protocol.secrets import KeyRing

pytestmark = pytest.mark.contract("3")

KEY = bytes(range(32))
CANARY = "canary-3f9a"


def wire(**changes: Any) -> dict[str, Any]:
    """A typical message; a change to None-like `...` takes the field away."""
    fields: dict[str, Any] = {
        "transid": ["Ab12", 1700000000000],
        "action": {"path": "guest/pkg", "name": "hello", "version": "0.0.1", "binding": "alice/bound"},
        "revision": "1-abc",
        "user": {
            "subject": "alice",
            "namespace": {"name": "alice", "uuid": "u-1", "annotations": [{"key": "team", "value": "red"}]},
            "authkey": {"api_key": "u-1:key"},
            "rights": ["READ", "ACTIVATE"],
            "limits": {"storeActivations": False},
        },
        "activationId": "0123456789abcdef0123456789ABCDEF",
        "rootControllerIndex": {"asString": "7", "instanceType": "controller"},
        "blocking": True,
        "cause": "f" * 32,
        "content": {"x": 1},
        "initArgs": [],
        "lockedArgs": {},
    }
    fields |= changes
    return {name: value for name, value in fields.items() if value is not ...}


def decode(fields: dict[str, Any], keys: KeyRing | None = None) -> ActivationMessage:
    return decode_message(json.dumps(fields).encode(), keys or KeyRing())


def changed(path: str, value: Any) -> dict[str, Any]:
    """The typical message with one field, named by dots, changed, or taken away by `...`."""
    fields = wire()
    *parents, last = path.split(".")
    at = fields
    for name in parents:
        at = at[name]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return fields


def sealed(plain: bytes, *, key: bytes = KEY, nonce: bytes = b"n" * 128) -> str:
    return base64.b64encode(len(nonce).to_bytes(4, "big") + nonce + AESGCM(key).encrypt(nonce, plain, None)).decode()


def test_every_field_is_read() -> None:
    assert decode(wire()) == ActivationMessage(
        transid=b'["Ab12", 1700000000000]',
        transaction_id="Ab12",
        transaction_start_ms=1700000000000,
        activation_id="0123456789abcdef0123456789ABCDEF",
        controller="7",
        cause="f" * 32,
        blocking=True,
        revision="1-abc",
        path="guest/pkg",
        name="hello",
        version="0.0.1",
        binding="alice/bound",
        subject="alice",
        namespace="alice",
        annotations=(("team", "red"),),
        api_key="u-1:key",
        store_activations=False,
        init_parameters={},
        run_value=b'{"x": 1}',
    )


def test_what_may_be_missing() -> None:
    least = {
        "transid": ["t", 0],
        "activationId": "a" * 32,
        "action": {"path": "p", "name": "n"},
        "user": {"namespace": {"name": "ns"}},
    }
    assert decode(least) == ActivationMessage(
        transid=b'["t", 0]',
        transaction_id="t",
        transaction_start_ms=0,
        activation_id="a" * 32,
        controller="",
        cause=None,
        blocking=False,
        revision=None,
        path="p",
        name="n",
        version="",
        binding="",
        subject="",
        namespace="ns",
        annotations=(),
        api_key=None,
        store_activations=True,
        init_parameters={},
        run_value=b"{}",
    )


ODD: list[Any] = [None, 5, 1.5, True, "text", [], {}, [[5]], {"asString": 5}, {"a": 5}, 10**40]


@pytest.mark.contract("19")
@pytest.mark.parametrize(
    "path",
    [
        "rootControllerIndex",
        "rootControllerIndex.asString",
        "cause",
        "blocking",
        "revision",
        "action.version",
        "action.binding",
        "user.subject",
        "user.namespace.annotations",
        "user.authkey",
        "user.authkey.api_key",
        "user.limits",
        "user.limits.storeActivations",
        "initArgs",
        "unknown",
    ],
)
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_field_of_the_wrong_type_counts_as_missing(path: str, value: Any) -> None:
    """And leaves all others as they are, whichever way the message is read."""
    got, without = decode(changed(path, value)), decode(changed(path, ...)) if path != "unknown" else decode(wire())
    differing = {name for name in got.__struct_fields__ if getattr(got, name) != getattr(without, name)}
    fitting = {
        "rootControllerIndex.asString": str,
        "cause": str,
        "blocking": bool,
        "revision": str,
        "action.version": str,
        "action.binding": str,
        "user.subject": str,
        "user.authkey.api_key": str,
        "user.limits.storeActivations": bool,
    }
    if isinstance(value, fitting.get(path, ())) or (path == "initArgs" and value == []):
        assert len(differing) <= 1
    else:
        assert differing == set()


REQUIRED = ["activationId", "action.path", "action.name", "user.namespace.name"]


@pytest.mark.contract("19")
@pytest.mark.parametrize("path", REQUIRED)
@pytest.mark.parametrize("value", [..., None, 5, "", [], {}], ids=repr)
def test_what_must_be_there_is_named(path: str, value: Any) -> None:
    with pytest.raises(MalformedMessage, match=path.replace(".", r"\.")):
        decode(changed(path, value))


@pytest.mark.contract("19")
@pytest.mark.parametrize("path", ["action", "user", "user.namespace"])
@pytest.mark.parametrize("value", [..., None, 5, "guest/hello", []], ids=repr)
def test_an_object_must_be_there_where_it_holds_what_must(path: str, value: Any) -> None:
    named = {"action": r"action\.path", "user": r"user\.namespace\.name", "user.namespace": r"user\.namespace\.name"}
    with pytest.raises(MalformedMessage, match=named[path]):
        decode(changed(path, value))


@pytest.mark.parametrize("text", ["a" * 31, "a" * 33, "g" * 32, "a" * 31 + "\n", "٣" * 32, "../" + "a" * 29, " " * 32])
def test_an_activation_id_is_32_hex_digits(text: str) -> None:
    with pytest.raises(MalformedMessage, match="activationId is missing or is not 32 hex digits"):
        decode(wire(activationId=text))


@pytest.mark.parametrize(
    "transid",
    [
        ["id", 5],
        ["id", 5, True],
        ["id", 5, False],
        ["id", 5, ["parent", 4]],
        ["id", 5, True, ["parent", 4, ["grandparent", 3]]],
        ["id", -5],
    ],
    ids=json.dumps,
)
def test_transaction_ids(transid: list[Any]) -> None:
    message = decode(wire(transid=transid))
    assert (message.transaction_id, message.transaction_start_ms) == (transid[0], transid[1])
    assert message.transid == json.dumps(transid).encode()


@pytest.mark.parametrize(
    "transid",
    [
        ...,
        None,
        "id",
        5,
        {},
        [],
        ["id"],
        [5, "id"],
        ["id", "5"],
        ["id", 5.0],
        ["id", None],
        ["id", 2**63],
        ["id", True],
        ["id", 5, 6],
        ["id", 5, "p"],
        ["id", 5, None],
        ["id", 5, ["p", 4], True],
        ["id", 5, True, True],
        ["id", 5, ["p", 4], ["q", 3]],
        ["id", 5, True, ["p", 4], 1],
        ["\ud800", 5],
    ],
    ids=repr,
)
def test_transaction_ids_that_are_none(transid: Any) -> None:
    with pytest.raises(MalformedMessage, match="transid"):
        decode(wire(transid=transid))


def test_a_name_that_is_no_string_is_dropped_alone() -> None:
    """And the empty name is a name, on either way of reading."""
    content = {"": 1, "a": 2, "b": 3}
    message = decode(wire(content=content, initArgs=["", 5, None, "a", ["b"]]))
    assert message.init_parameters == {"": b"1", "a": b"2"}
    assert decode(wire(content=content, initArgs=["", "a"])).init_parameters == message.init_parameters


@pytest.mark.contract("19")
def test_annotations_are_taken_where_they_are_strings() -> None:
    annotations = [
        {"key": "a", "value": "1"},
        {"key": "b", "value": 2},
        {"key": 3, "value": "x"},
        {"key": "c"},
        "d",
        None,
    ]
    message = decode(changed("user.namespace.annotations", [*annotations, {"key": "e", "value": ""}]))
    assert message.annotations == (("a", "1"), ("e", ""))


@pytest.mark.parametrize("content", [..., None, 5, "text", True, [1, 2], [{}]], ids=repr)
def test_content_that_is_no_object_runs_with_none(content: Any) -> None:
    message = decode(wire(content=content, initArgs=["x"], lockedArgs={"x": "k"}))
    assert (message.run_value, message.init_parameters) == (b"{}", {})


def test_initialisation_parameters_are_taken_out() -> None:
    message = decode(wire(content={"a": 1, "b": "two", "c": {"d": 3}}, initArgs=["c", "missing", "b", "c"]))
    assert message.run_value == b'{"a":1}'
    assert message.init_parameters == {"c": b'{"d": 3}', "b": b'"two"'}


def test_content_is_not_touched_where_no_name_is_in_it() -> None:
    message = decode(wire(content={"a": 1}, initArgs=["b"], lockedArgs={"c": "no such key"}))
    assert (message.run_value, message.init_parameters) == (b'{"a": 1}', {})


@pytest.mark.contract("19")
def test_of_a_repeated_name_the_last_counts() -> None:
    body = json.dumps(wire(initArgs=["a"])).replace('{"x": 1}', '{"a":1,"b":2,"a":3,"b":4}').encode()
    message = decode_message(body, KeyRing())
    assert (message.run_value, message.init_parameters) == (b'{"b":4}', {"a": b"3"})


def test_names_are_escaped_again() -> None:
    names = ['quo"te', "back\\slash", "new\nline", "\U0001f600", ""]
    message = decode(wire(content=dict.fromkeys([*names, "init"], 1), initArgs=["init"]))
    assert json.loads(message.run_value) == dict.fromkeys(names, 1)


@pytest.mark.contract("9")
def test_encrypted_parameters_are_decrypted_first() -> None:
    keys = KeyRing({"k1": KEY, "k2": KEY[::-1]})
    content = {"a": sealed(b"1.0"), "b": sealed(b'{"x": "y"}', key=KEY[::-1]), "c": "plain"}
    message = decode(wire(content=content, initArgs=["b"], lockedArgs={"a": "k1", "b": "k2", "missing": "none"}), keys)
    assert message.run_value == b'{"a":1.0,"c":"plain"}'
    assert message.init_parameters == {"b": b'{"x": "y"}'}


@pytest.mark.contract("9")
@pytest.mark.parametrize(
    ("value", "key", "complaint"),
    [
        (sealed(b"1"), "other", "no encryption key has the name 'other'"),
        (sealed(b"1"), 5, "no encryption key has the name ''"),
        (sealed(b"1", key=KEY[::-1]), "k", "was not made with the key"),
        (sealed(b"1", nonce=b"n" * 12), "k", "too short"),
        (sealed(b"1" * 200, nonce=b"n" * 12), "k", "the nonce has 12 bytes"),
        ("", "k", "too short"),
        ("no base64!", "k", "no base64"),
        (5, "k", "is no string"),
        (None, "k", "is no string"),
        (sealed(b"not json"), "k", "is no JSON once it is decrypted"),
        (sealed(b'1,"injected":2'), "k", "is no JSON once it is decrypted"),
        (sealed(b""), "k", "is no JSON once it is decrypted"),
        (sealed(b'"\xff"'), "k", "is no JSON once it is decrypted"),
    ],
)
def test_what_cannot_be_decrypted_is_refused(value: Any, key: Any, complaint: str) -> None:
    with pytest.raises(MalformedMessage, match=complaint) as caught:
        decode(wire(content={"secret": value}, lockedArgs={"secret": key}), KeyRing({"k": KEY}))
    assert "'secret'" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b"{",
        b'{"content":{"a":NaN}}',
        json.dumps(wire()).encode() + b"x",
        json.dumps(wire()).encode()[:-1],
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        json.dumps(wire()).encode().replace(b"alice", b"al\xffce"),
        json.dumps(wire()).encode().replace(b'{"x": 1}', b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_is_no_message(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(body, KeyRing())


def test_the_error_is_the_callers() -> None:
    assert issubclass(MalformedMessage, CallerFault)


def test_health_probes() -> None:
    probe = {
        "transid": ["sid_invokerHealth", 0],
        "action": {"path": "whisk.system", "name": "invokerHealthTestAction3", "version": "0.0.1"},
        "revision": None,
        "user": {"subject": "whisk.system", "namespace": {"name": "whisk.system"}},
        "activationId": "0" * 32,
        "rootControllerIndex": {"asString": "0"},
        "blocking": False,
        "initArgs": [],
        "lockedArgs": {},
    }
    message = decode(probe)
    assert message.transaction_id == "sid_invokerHealth"
    assert message.revision is None
    assert (message.init_parameters, message.run_value) == ({}, b"{}")


def test_secrets_never_show() -> None:
    """Neither in a repr nor in an error, traceback and all."""
    fields = wire(content={"a": CANARY, "b": CANARY}, initArgs=["b"])
    fields["user"]["authkey"]["api_key"] = CANARY
    message = decode(fields)
    shown = repr(message) + str(message) + f"{message}" + repr(list(message.__rich_repr__()))
    assert CANARY not in shown
    assert "0123456789abcdef" in shown
    for body in [
        json.dumps(fields | {"activationId": "short"}).encode(),
        json.dumps(fields | {"lockedArgs": {"a": "k"}}).encode(),
        json.dumps(fields)[:-1].encode(),
        json.dumps(fields).encode().replace(b"alice", b"al\xffce"),
    ]:
        with pytest.raises(MalformedMessage) as caught:
            decode_message(body, KeyRing({"k": KEY}))
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__cause__ is None


def test_both_ways_of_reading_agree() -> None:
    """The lenient way is the rare one, so nobody would notice a field that it forgets."""
    fields = wire(content={"a": 1, "b": "x"}, initArgs=["b"])
    assert decode(
        fields | {"user": fields["user"] | {"limits": {"storeActivations": "no"}}}
    ) == msgspec.structs.replace(decode(fields), store_activations=True)


@pytest.mark.parametrize("text", [b"\xff", b"\xffud83d", b"\xed\xa0\x80", b"\xc3"])
@pytest.mark.parametrize("init_args", [[], ["x"]])
def test_a_parameter_that_is_no_utf8_is_refused_and_never_mended(text: bytes, init_args: list[str]) -> None:
    """0xFF is what half pairs are masked with inside; it must not come from outside."""
    body = json.dumps(wire(content={"x": "@"}, initArgs=init_args)).encode().replace(b"@", text)
    with pytest.raises(MalformedMessage, match="not UTF-8"):
        decode_message(body, KeyRing())

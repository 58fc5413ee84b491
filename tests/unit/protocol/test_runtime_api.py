"""The bodies of /init and /run; that awkward values stay as they were is in test_raw_json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from invoker.protocol.document import ActionDocument, decode_action, with_attachment
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.runtime_api import init_body, run_body
from invoker.protocol.secrets import KeyRing

pytestmark = pytest.mark.contract("12")

DEADLINE_MS = 1700000060000


def message(**changes: Any) -> ActivationMessage:
    fields: dict[str, Any] = {
        "transid": ["tid", 1700000000000, True, ["parent", 1]],
        "activationId": "0123456789abcdef0123456789abcdef",
        "action": {"path": "guest/pkg", "name": "hello", "version": "0.0.7"},
        "user": {"namespace": {"name": "alice"}, "authkey": {"api_key": "key"}},
        "content": {"a": 1, "b": "text"},
    }
    return decode_message(json.dumps(fields | changes).encode(), KeyRing())


def document(**changes: Any) -> ActionDocument:
    fields = {"namespace": "guest/pkg", "name": "hello", "exec": {"kind": "k", "code": "code", "main": "start"}}
    return decode_action(json.dumps(fields | changes).encode())


WITHOUT_KEY = document(annotations=[{"key": "provide-api-key", "value": False}])


def test_init() -> None:
    body = init_body(message(initArgs=["a", "b"]), document(), DEADLINE_MS)
    assert json.loads(body) == {
        "value": {
            "name": "hello",
            "main": "start",
            "code": "code",
            "binary": False,
            "env": {
                "a": "1",
                "b": "text",
                "__OW_ACTIVATION_ID": "0123456789abcdef0123456789abcdef",
                "__OW_TRANSACTION_ID": "tid",
                "__OW_NAMESPACE": "alice",
                "__OW_ACTION_NAME": "/guest/pkg/hello",
                "__OW_ACTION_VERSION": "0.0.7",
                "__OW_DEADLINE": "1700000060000",
                "__OW_API_KEY": "key",
            },
        }
    }


def test_run() -> None:
    assert json.loads(run_body(message(), document(), DEADLINE_MS)) == {
        "value": {"a": 1, "b": "text"},
        "activation_id": "0123456789abcdef0123456789abcdef",
        "transaction_id": "tid",
        "namespace": "alice",
        "action_name": "/guest/pkg/hello",
        "action_version": "0.0.7",
        "deadline": "1700000060000",
        "api_key": "key",
    }


def test_without_parameters() -> None:
    bare = message(content=None)
    assert json.loads(run_body(bare, document(), DEADLINE_MS))["value"] == {}
    assert all(name.startswith("__OW_") for name in json.loads(init_body(bare, document(), 1))["value"]["env"])


@pytest.mark.parametrize(
    ("given", "action"), [(message(), WITHOUT_KEY), (message(user={"namespace": {"name": "alice"}}), document())]
)
def test_the_api_key_is_left_out_where_unwanted_or_unknown(given: ActivationMessage, action: ActionDocument) -> None:
    assert "api_key" not in json.loads(run_body(given, action, 1))
    assert "__OW_API_KEY" not in json.loads(init_body(given, action, 1))["value"]["env"]


def test_a_parameter_never_stands_in_for_what_the_invoker_says() -> None:
    names = ["__OW_ACTIVATION_ID", "__OW_API_KEY", "__OW_NAMESPACE"]
    given = message(content=dict.fromkeys(names, "forged"), initArgs=names)
    pairs = json.loads(init_body(given, document(), 1), object_pairs_hook=list)
    env = dict(pairs)["value"]
    names_in_env = [name for name, _ in dict(env)["env"]]
    assert len(names_in_env) == len(set(names_in_env))
    assert "forged" not in [value for _, value in dict(env)["env"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [("text", "text"), ("", ""), (5, "5"), (True, "true"), (None, "null"), ([1, "a"], '[1, "a"]'), ({}, "{}")],
)
def test_environment_values_are_strings(value: Any, text: str) -> None:
    body = init_body(message(content={"x": value}, initArgs=["x"]), document(), 1)
    assert json.loads(body)["value"]["env"]["x"] == text


def test_binary_code_goes_as_base64() -> None:
    attached = document(
        exec={
            "kind": "k",
            "binary": True,
            "code": {"attachmentName": "a", "attachmentType": "application/octet-stream"},
        }
    )
    with pytest.raises(ValueError, match="guest/pkg/hello is not inline yet"):
        init_body(message(), attached, 1)
    value = json.loads(init_body(message(), with_attachment(attached, b"\xff\xfe"), 1))["value"]
    assert (value["code"], value["binary"], value["main"]) == ("//4=", True, "main")

"""Whatever the bytes, a decoder gives a value or its one error, soon, and without growing.

The seed is in each failure's text and can be set: FUZZ_SEED=7. What a decoder lets through is used as the invoker
would use it.
"""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.protocol.document import AttachedCode, MalformedDocument, decode_action, with_attachment
from invoker.protocol.manifest import MalformedManifest, parse_manifest
from invoker.protocol.message import MalformedMessage, decode_message
from invoker.protocol.raw_json import is_json
from invoker.protocol.runtime_api import init_body, run_body
from invoker.protocol.secrets import KeyRing, MalformedKeys, Undecipherable
from tests.property.protocol.mutations import hold

ROUNDS = 50_000
ROUNDS_OF_SETTINGS = 10_000
TIME_MAX_S = 5.0  # on a busy machine
MEMORY_FACTOR = 40  # of the input's size: a member of 7 bytes becomes a key, a value and their place in a dict
COMPLAINT_CHARACTERS_MAX = 1000

KEY_TEXT = base64.b64encode(bytes(range(32))).decode()
RING = KeyRing({"k": bytes(range(32))})

MESSAGE = {
    "transid": ["Ab12", 1700000000000],
    "activationId": "0123456789abcdef0123456789abcdef",
    "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
    "blocking": True,
    "revision": "1-abc",
    "cause": None,
    "action": {"path": "guest/pkg", "name": "hello", "version": "0.0.1", "binding": "alice/bound"},
    "user": {
        "subject": "alice",
        "namespace": {"name": "alice", "uuid": "u-1", "annotations": [{"key": "plan", "value": "small"}]},
        "authkey": {"api_key": "u-1:secret"},
        "limits": {"storeActivations": False},
    },
    "content": {"a": 1.0, "b": "text", "c": [1, {"d": None}], "e": "\ud83d"},
    "initArgs": ["a", "e"],
    "lockedArgs": {},
}
MESSAGES = [
    json.dumps(MESSAGE).encode(),
    json.dumps(MESSAGE | {"initArgs": [], "transid": ["Cd34", 17, True, ["Ab12", 1]]}).encode(),
    json.dumps(MESSAGE | {"lockedArgs": {"b": "k"}}).encode(),
    json.dumps(MESSAGE, ensure_ascii=False).encode("utf-8", "surrogatepass"),
]

ACTION = {
    "_id": "guest/hello",
    "_rev": "1-abc",
    "namespace": "guest",
    "name": "hello",
    "version": "0.0.1",
    "exec": {"kind": "nodejs:20", "code": "function main() { return {} }", "binary": False, "main": "main"},
    "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
    "annotations": [{"key": "provide-api-key", "value": False}, {"key": "n", "value": 1e300}],
    "parameters": [{"key": "x", "value": {"y": "\ud83d"}}],
}
BYTES_INSIDE = {"attachmentName": "mem:AAEC_w==", "attachmentType": "application/octet-stream", "length": 4}
BESIDE = {"attachmentName": "couch:0123", "attachmentType": "text/plain; charset=UTF-8"}
ACTIONS = [
    json.dumps(ACTION).encode(),
    json.dumps(ACTION | {"exec": {"kind": "go:1", "code": BYTES_INSIDE, "binary": True}}).encode(),
    json.dumps(ACTION | {"exec": {"kind": "python:3", "code": BESIDE}}).encode(),
]

MANIFEST = {
    "runtimes": {
        "nodejs": [
            {
                "kind": "nodejs:20",
                "default": True,
                "image": {"prefix": "p", "name": "n", "tag": "t"},
                "stemCells": [
                    {"count": 3, "memory": "256 MB"},
                    {
                        "initialCount": 1,
                        "memory": "1g",
                        "reactive": {"minCount": 1, "maxCount": 4, "ttl": "2 minutes", "threshold": 2, "increment": 1},
                    },
                ],
            }
        ]
    }
}

A_MESSAGE = decode_message(MESSAGES[0], RING)
AN_ACTION = decode_action(ACTIONS[0])


def use_message(data: bytes) -> None:
    message = decode_message(data, RING)
    assert message.run_value.startswith(b"{")
    assert is_json(message.run_value)
    assert is_json(run_body(message, AN_ACTION, 1))
    assert is_json(init_body(message, AN_ACTION, 1))
    assert is_json(message.transid)


def use_action(data: bytes) -> None:
    action = decode_action(data)
    if isinstance(action.code, AttachedCode):
        action = with_attachment(action, b"code")
    assert is_json(init_body(A_MESSAGE, action, 1))
    assert action.memory_mb >= 1
    assert action.timeout_ms >= 1


def use_manifest(data: bytes) -> None:
    """As a variable of the environment comes: bytes that are no UTF-8 are half surrogate pairs then."""
    manifest = parse_manifest(data.decode("utf-8", "surrogateescape"))
    for cell in manifest.stem_cells():
        assert manifest.image(cell.kind)
        assert cell.memory_mb >= 1


def use_keys(data: bytes) -> None:
    assert KEY_TEXT not in repr(KeyRing.parse(data.decode("utf-8", "surrogateescape")))


def test_messages() -> None:
    values, errors = hold(use_message, MalformedMessage, MESSAGES, ROUNDS)
    assert values > ROUNDS // 20
    assert errors > ROUNDS // 20


def test_action_documents() -> None:
    values, errors = hold(use_action, MalformedDocument, ACTIONS, ROUNDS // 2)
    assert values > ROUNDS // 40
    assert errors > ROUNDS // 40


def test_manifests() -> None:
    values, errors = hold(use_manifest, MalformedManifest, [json.dumps(MANIFEST).encode()], ROUNDS_OF_SETTINGS)
    assert values > ROUNDS_OF_SETTINGS // 50
    assert errors > ROUNDS_OF_SETTINGS // 50


def test_keys() -> None:
    rings = [json.dumps({"a": KEY_TEXT, "b": KEY_TEXT}).encode()]
    values, errors = hold(use_keys, MalformedKeys, rings, ROUNDS_OF_SETTINGS)
    assert values > ROUNDS_OF_SETTINGS // 100
    assert errors > ROUNDS_OF_SETTINGS // 50


def test_encrypted_texts() -> None:
    good = base64.b64encode(encrypt(b'{"a":1}'))
    _, errors = hold(lambda data: RING.decrypt("k", data.decode("latin-1")), Undecipherable, [good], ROUNDS_OF_SETTINGS)
    assert errors > ROUNDS_OF_SETTINGS // 2


DEEP = 100_000
LONG = 400_000
EXTREME_VALUES = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "open lists": b"[" * DEEP,
    "half pairs": b'"' + b"\\ud83d" * (LONG // 6) + b'"',
    "backslashes": b'"' + b"\\\\" * (LONG // 2) + b'"',
    "an integer": b"9" * LONG,
    "a fraction": b"0." + b"0" * LONG + b"1",
    "an exponent": b"1e" + b"9" * LONG,
    "many names": b"{" + b",".join(b'"%d":0' % each for each in range(LONG // 10)) + b"}",
    "one name again and again": b"{" + b",".join([b'"a":0'] * (LONG // 6)) + b"}",
    "many elements": b"[" + b",".join([b"[]"] * (LONG // 3)) + b"]",
    "text without end": b'"' + b"a" * LONG,
    "blanks": b" " * LONG,
}
FIELDS: list[tuple[dict[str, object], str]] = [
    *((MESSAGE, name) for name in ("transid", "activationId", "content", "initArgs", "lockedArgs", "user", "cause")),
    *((ACTION, name) for name in ("exec", "limits", "annotations", "parameters", "_rev")),
    (MANIFEST, "runtimes"),
]


def decoder_of(document: dict[str, object]) -> tuple[Callable[[bytes], object], type[Exception]]:
    if document is MESSAGE:
        return use_message, MalformedMessage
    return (use_action, MalformedDocument) if document is ACTION else (use_manifest, MalformedManifest)


@pytest.mark.parametrize("value", EXTREME_VALUES.values(), ids=EXTREME_VALUES.keys())
@pytest.mark.parametrize(("document", "field"), FIELDS, ids=[name for _, name in FIELDS])
def test_extreme_values_cost_bounded_time(document: dict[str, object], field: str, value: bytes) -> None:
    data = json.dumps({**document, field: "@@"}).encode().replace(b'"@@"', value)
    decode, error = decoder_of(document)
    begun = time.perf_counter()
    complaint = complaint_of(decode, error, data)
    assert time.perf_counter() - begun < TIME_MAX_S
    assert len(complaint) < COMPLAINT_CHARACTERS_MAX


@pytest.mark.parametrize("value", EXTREME_VALUES.values(), ids=EXTREME_VALUES.keys())
@pytest.mark.parametrize("document", [MESSAGE, ACTION], ids=["message", "action"])
def test_extreme_values_cost_bounded_memory(document: dict[str, object], value: bytes) -> None:
    field = "content" if document is MESSAGE else "exec"
    data = json.dumps({**document, field: "@@"}).encode().replace(b'"@@"', value)
    tracemalloc.start()
    complaint_of(*decoder_of(document), data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < MEMORY_FACTOR * len(data)


def complaint_of(decode: Callable[[bytes], object], error: type[Exception], data: bytes) -> str:
    """The text of the decoder's error, "" where it gives a value."""
    try:
        decode(data)
    except error as problem:
        return str(problem)
    return ""


def encrypt(plain: bytes, key: bytes = bytes(range(32)), nonce: bytes = bytes(128)) -> bytes:
    return (128).to_bytes(4, "big") + nonce + AESGCM(key).encrypt(nonce, plain, None)

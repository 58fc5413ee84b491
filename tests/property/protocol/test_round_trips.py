"""What is written can be read, and what is read is what was written, for values that hypothesis thinks up."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocol.acknowledgement import acknowledge
from invoker.protocol.document import InlineCode, decode_action
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.record import Ending, activation_record, document_id, stored_record
from invoker.protocol.runtime_api import init_body, run_body
from invoker.protocol.secrets import KeyRing
from invoker.protocol.sizes import format_size, parse_size

KEY = bytes(range(32))
RING = KeyRing({"k": KEY})

TEXTS = st.text(max_size=30)  # without half surrogate pairs; those are added escaped, as they come
DIGITS = st.text("0123456789", min_size=1, max_size=50)


def _number(sign: str, whole: str, fraction: str, exponent: str) -> str:
    return sign + (whole.lstrip("0") or "0") + fraction + exponent


NUMBERS: st.SearchStrategy[str] = st.builds(
    _number,
    st.sampled_from(["", "-"]),
    DIGITS,
    st.one_of(st.just(""), DIGITS.map(lambda digits: "." + digits)),
    st.one_of(st.just(""), DIGITS.map(lambda digits: "e" + digits), DIGITS.map(lambda digits: "E-" + digits)),
)
STRINGS: st.SearchStrategy[str] = st.one_of(
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=True)),
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.lists(st.sampled_from([r"\ud83d", r"\uDE00", r"\\", r"\"", "ud83d", "é", r"\u0041"])).map(
        lambda parts: '"' + "".join(parts) + '"'
    ),
)


def _array(parts: list[str]) -> str:
    return "[" + " ,".join(parts) + "]"


def _object(members: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{name}:\t{value}" for name, value in members) + "}"


RAW_JSON: st.SearchStrategy[str] = st.recursive(
    st.one_of(st.sampled_from(["null", "true", "false"]), NUMBERS, STRINGS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(_array), st.lists(st.tuples(STRINGS, inner), max_size=4).map(_object)
    ),
    max_leaves=12,
)
"""JSON texts as a stranger may write them: any digits, any escapes, names more than once."""

CONTENTS = st.dictionaries(TEXTS, RAW_JSON, max_size=5)
NAMES = st.text(min_size=1, max_size=30)
IDS = st.text("0123456789abcdefABCDEF", min_size=32, max_size=32)
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)


def content_of(values: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in values.items()) + "}"


def envelope(content: str, **changes: Any) -> ActivationMessage:
    fields: dict[str, Any] = {
        "transid": ["tid", 5],
        "activationId": "a" * 32,
        "action": {"path": "guest", "name": "hello"},
        "user": {"namespace": {"name": "alice"}},
        "content": None,
    }
    text = json.dumps(fields | changes)
    assert text.count('"content": null') == 1
    return decode_message(text.replace('"content": null', f'"content": {content}').encode(), RING)


DOCUMENT = decode_action(b'{"namespace":"guest","name":"hello","exec":{"kind":"python:3","code":"x"}}')


@pytest.mark.contract("3")
@given(content=st.lists(st.tuples(STRINGS, RAW_JSON), max_size=4).map(_object))
def test_content_that_nothing_is_taken_from_is_not_touched(content: str) -> None:
    message = envelope(content)
    assert message.run_value == content.encode()
    assert run_body(message, DOCUMENT, 1).startswith(b'{"value":' + content.encode() + b",")


@pytest.mark.contract("3")
@given(values=CONTENTS, data=st.data())
def test_each_parameter_goes_one_way_and_as_it_was(values: dict[str, str], data: st.DataObject) -> None:
    """Some at initialisation, some encrypted, the others as they are: each value arrives once and unchanged."""
    names = list(values)
    chosen = data.draw(st.lists(st.sampled_from([*names, "\u0000 absent"]), max_size=4), label="initArgs")
    locked = data.draw(st.sets(st.sampled_from([*names, "\u0000 absent"])), label="lockedArgs")
    sent = {name: json.dumps(sealed(value.encode())) if name in locked else value for name, value in values.items()}
    message = envelope(content_of(sent), initArgs=chosen, lockedArgs=dict.fromkeys(locked, "k"))
    taken = {name: value.encode() for name, value in values.items() if name in chosen}
    assert message.init_parameters == taken
    rest = {name: value for name, value in values.items() if name not in taken}
    assert json.loads(message.run_value, parse_float=str, parse_int=str) == json.loads(
        content_of(rest), parse_float=str, parse_int=str
    )
    for value in rest.values():
        assert value.encode() in message.run_value
    assert set(json.loads(init_body(message, DOCUMENT, 1))["value"]["env"]) >= set(taken)


def sealed(plain: bytes) -> str:
    nonce = b"n" * 128
    return base64.b64encode(b"\0\0\0\x80" + nonce + AESGCM(KEY).encrypt(nonce, plain, None)).decode()


@pytest.mark.contract("3")
@given(
    transaction=st.tuples(TEXTS, INT64),
    names=st.tuples(IDS, NAMES, NAMES, NAMES, TEXTS, TEXTS),
    annotations=st.lists(st.tuples(TEXTS, TEXTS), max_size=4),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_the_envelope_is_read_as_it_was_written(
    transaction: tuple[str, int],
    names: tuple[str, str, str, str, str, str],
    annotations: list[tuple[str, str]],
    flags: tuple[bool, bool],
) -> None:
    activation_id, path, name, namespace, version, subject = names
    message = envelope(
        "{}",
        transid=list(transaction),
        activationId=activation_id,
        action={"path": path, "name": name, "version": version},
        user={
            "subject": subject,
            "namespace": {
                "name": namespace,
                "annotations": [{"key": key, "value": value} for key, value in annotations],
            },
            "limits": {"storeActivations": flags[0]},
        },
        blocking=flags[1],
    )
    assert (message.transaction_id, message.transaction_start_ms) == transaction
    read = (message.activation_id, message.path, message.name, message.namespace, message.version, message.subject)
    assert read == names
    assert message.annotations == tuple(annotations)
    assert (message.store_activations, message.blocking) == flags


@pytest.mark.contract("7")
@given(
    result=st.lists(st.tuples(STRINGS, RAW_JSON), max_size=4).map(_object),
    logs=st.lists(TEXTS, max_size=3),
    times=st.tuples(*[st.integers(0, 2**62)] * 2, *[st.one_of(st.none(), st.integers(-5, 2**50))] * 2),
    annotations=st.dictionaries(TEXTS, TEXTS, max_size=4),
)
def test_a_record_is_json_with_the_result_in_it(
    result: str, logs: list[str], times: tuple[int, int, int | None, int | None], annotations: dict[str, str]
) -> None:
    listed = [{"key": key, "value": value} for key, value in annotations.items()]
    message = envelope("{}", user={"namespace": {"name": "alice", "annotations": listed}})
    start_ns, end_ns, wait_ns, init_ns = times
    ending = Ending(
        status=0,
        result=result.encode(),
        size_bytes=len(result),
        timed_out=False,
        run_start_ns=start_ns,
        end_ns=end_ns,
        wait_ns=wait_ns,
        init_ns=init_ns,
    )
    record = activation_record(message, DOCUMENT, ending, logs)
    assert result.encode() in record
    read = json.loads(record)
    assert read["logs"] == logs
    assert read["duration"] == read["end"] - read["start"] >= 0
    keys = [each["key"] for each in read["annotations"]]
    assert keys == sorted(set(keys))
    assert set(annotations) <= set(keys)
    assert json.loads(stored_record(record, document_id(message), 1)) == read | {
        "_id": "alice/" + "a" * 32,
        "entityType": "activation",
        "updated": 1,
    }
    assert json.loads(acknowledge(message, record, False, 0, 0))["response"] == read


@pytest.mark.contract("8")
@given(data=st.binary(max_size=300), binary=st.booleans())
def test_code_kept_inside_the_document_comes_out(data: bytes, binary: bool) -> None:
    data = data if binary else data.decode("utf-8", "replace").encode()
    kind = "application/octet-stream" if binary else "text/plain"
    code = {"attachmentName": "mem:" + base64.urlsafe_b64encode(data).decode(), "attachmentType": kind}
    document = {"namespace": "n", "name": "a", "exec": {"kind": "k", "code": code}}
    expected = base64.b64encode(data).decode() if binary else data.decode()
    assert decode_action(json.dumps(document).encode()).code == InlineCode(expected)


@pytest.mark.contract("2")
@given(st.integers(0, 2**63 - 1))
def test_sizes(size: int) -> None:
    assert parse_size(format_size(size)) == size

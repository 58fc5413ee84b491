"""Action documents: the five forms of code, limits and their defaults, and whether a function may have the API key."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from invoker.errors import PlatformFault
from invoker.protocol.document import (
    ActionDocument,
    AttachedCode,
    InlineCode,
    MalformedDocument,
    decode_action,
    with_attachment,
)

pytestmark = pytest.mark.contract("8")

BINARY = "application/octet-stream"
TEXT = "text/plain; charset=UTF-8"
BYTES = bytes(range(250, 256)) + b"zip"  # whose base64 has + and / in it


def decode(**changes: Any) -> ActionDocument:
    fields: dict[str, Any] = {
        "_id": "guest/pkg/hello",
        "_rev": "3-abc",
        "namespace": "guest/pkg",
        "name": "hello",
        "version": "0.0.7",
        "exec": {"kind": "nodejs:14", "code": "code", "main": "start", "binary": False},
        "limits": {"timeout": 30000, "memory": 512, "logs": 10, "concurrency": 4},
        "annotations": [{"key": "a", "value": {"b": 1.0}}],
        "parameters": [{"key": "p", "value": "\ud800"}],
        "entityType": "action",
        "updated": 1700000000000,
    } | changes
    kept = {name: value for name, value in fields.items() if value is not ...}
    return decode_action(json.dumps(kept).encode())


def decode_code(code: Any, **more: Any) -> ActionDocument:
    return decode(exec={"kind": "k", "code": code, **more})


def test_every_field_is_read() -> None:
    document = decode()
    assert document == ActionDocument(
        path="guest/pkg",
        name="hello",
        version="0.0.7",
        revision="3-abc",
        kind="nodejs:14",
        main="start",
        binary=False,
        code=InlineCode("code"),
        timeout_ms=30000,
        memory_mb=512,
        logs_kb=10,
        concurrency=4,
        annotations=(("a", b'{"b": 1.0}'),),
        provide_api_key=True,
    )
    assert document.logs_bytes == 10240


@pytest.mark.parametrize("nothing", [..., None])
def test_what_may_be_missing(nothing: Any) -> None:
    document = decode(
        _rev=nothing, version=nothing, limits=nothing, annotations=nothing, parameters=..., exec={"kind": "k"}
    )
    assert (document.revision, document.version, document.main, document.binary) == ("", "", "main", False)
    assert (document.timeout_ms, document.memory_mb, document.logs_bytes) == (60_000, 256, 262_144)
    assert (document.concurrency, document.annotations, document.code) == (1, (), InlineCode(""))


def test_a_log_limit_of_nothing_is_one() -> None:
    assert decode(limits={"logs": 0}).logs_bytes == 0


def mem(data: bytes, padding: bool = True) -> str:
    text = base64.urlsafe_b64encode(data).decode()
    return "mem:" + (text if padding else text.rstrip("="))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("text", InlineCode("text")),
        ("", InlineCode("")),
        (None, InlineCode("")),
        ({"attachmentName": mem("élan".encode()), "attachmentType": TEXT}, InlineCode("élan")),
        ({"attachmentName": mem(b"ab", False), "attachmentType": "text/plain", "length": 2}, InlineCode("ab")),
        ({"attachmentName": mem(BYTES), "attachmentType": BINARY}, InlineCode(base64.b64encode(BYTES).decode())),
        (
            {"attachmentName": mem(BYTES, False), "attachmentType": "Application/Octet-Stream;x=y"},
            InlineCode(base64.b64encode(BYTES).decode()),
        ),
        ({"attachmentName": mem(b"ignored"), "attachmentType": TEXT, "length": 0}, InlineCode("")),
        ({"attachmentName": "mem:", "attachmentType": BINARY}, InlineCode("")),
        ({"attachmentName": "couch:1234-5678", "attachmentType": TEXT}, AttachedCode("1234-5678", False)),
        ({"attachmentName": "1234-5678", "attachmentType": TEXT}, AttachedCode("1234-5678", False)),
        ({"attachmentName": "couch:jar", "attachmentType": BINARY, "length": 9}, AttachedCode("jar", True)),
        ({"attachmentName": "codefile", "attachmentType": BINARY}, AttachedCode("codefile", True)),
        ({"attachmentName": "codefile"}, AttachedCode("codefile", False)),
    ],
)
def test_the_forms_of_code(code: Any, expected: InlineCode | AttachedCode) -> None:
    assert decode_code(code).code == expected


def test_an_attachment_becomes_inline_code() -> None:
    text = decode_code({"attachmentName": "couch:a", "attachmentType": TEXT})
    assert with_attachment(text, "élan".encode()).code == InlineCode("élan")
    binary = decode_code({"attachmentName": "a", "attachmentType": BINARY}, binary=True)
    inlined = with_attachment(binary, BYTES)
    assert inlined.code == InlineCode("+vv8/f7/emlw")
    assert inlined.binary
    assert isinstance(binary.code, AttachedCode), "the document that was given is as it was"


def test_only_an_attachment_is_attached() -> None:
    with pytest.raises(ValueError, match="guest/pkg/hello has its code inline"):
        with_attachment(decode(), b"x")


def test_a_text_attachment_is_utf8() -> None:
    with pytest.raises(MalformedDocument, match="isn't UTF-8"):
        with_attachment(decode_code({"attachmentName": "a", "attachmentType": TEXT}), b"\xff")
    with pytest.raises(MalformedDocument, match="isn't UTF-8"):
        decode_code({"attachmentName": mem(b"\xff"), "attachmentType": TEXT})


FALSY: list[Any] = [False, 0, "", None, 0.0, -0.0]
TRUTHY: list[Any] = [True, 1, -1, 0.1, "false", "0", [], {}, [0]]


@pytest.mark.contract("12", "19")
@pytest.mark.parametrize(
    ("value", "provided"), [*((value, False) for value in FALSY), *((value, True) for value in TRUTHY)], ids=repr
)
def test_the_annotation_provide_api_key(value: Any, provided: bool) -> None:
    assert decode(annotations=[{"key": "provide-api-key", "value": value}]).provide_api_key is provided


@pytest.mark.contract("12", "19")
@pytest.mark.parametrize(("raw", "provided"), [("0e10", False), ("-0.00E-5", False), ("1e400", True), ("0.001", True)])
def test_the_annotation_provide_api_key_in_odd_numbers(raw: str, provided: bool) -> None:
    body = '{"namespace":"n","name":"a","exec":{"kind":"k"},"annotations":[{"key":"provide-api-key","value":RAW}]}'
    assert decode_action(body.replace("RAW", raw).encode()).provide_api_key is provided


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"namespace": ...}, "namespace"),
        ({"name": 5}, "name"),
        ({"exec": ...}, "exec"),
        ({"exec": {}}, "kind"),
        ({"exec": {"kind": 5}}, "kind"),
        ({"exec": {"kind": "k", "code": 5}}, "code"),
        ({"exec": {"kind": "k", "code": {}}}, "attachmentName"),
        ({"exec": {"kind": "k", "code": "\ud800"}}, "no Unicode text"),
        ({"exec": {"kind": "k", "code": {"attachmentName": ""}}}, "attachmentName is empty"),
        ({"exec": {"kind": "k", "code": {"attachmentName": "couch:"}}}, "attachmentName is empty"),
        ({"exec": {"kind": "k", "code": {"attachmentName": "mem:!"}}}, "no base64 after mem:"),
        ({"exec": {"kind": "k", "code": {"attachmentName": "mem:A"}}}, "no base64 after mem:"),
        ({"exec": {"kind": "k", "code": {"attachmentName": "mem:éééé"}}}, "no base64 after mem:"),
        ({"limits": {"timeout": 0}}, "timeout"),
        ({"limits": {"memory": -1}}, "memory"),
        ({"limits": {"memory": 2**31}}, "memory"),
        ({"limits": {"memory": 10**400}}, "memory"),
        ({"limits": {"timeout": 1.5}}, "timeout"),
        ({"limits": {"logs": "10"}}, "logs"),
        ({"limits": {"concurrency": 0}}, "concurrency"),
        ({"annotations": {}}, "annotations"),
        ({"annotations": [{"value": 1}]}, "key"),
    ],
)
def test_documents_that_cannot_be_used(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedDocument, match=named):
        decode(**changes)


@pytest.mark.contract("19")
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b'{"namespace":"\xff"}', b"[" * 100_000, b'{"x":' * 100_000 + b"1" + b"}" * 100_000],
)
def test_what_is_no_document(body: bytes) -> None:
    with pytest.raises(MalformedDocument, match="can't be read"):
        decode_action(body)


def test_the_fault_is_the_platforms() -> None:
    assert issubclass(MalformedDocument, PlatformFault)


def test_code_does_not_show() -> None:
    assert "canary" not in repr(decode_code("canary"))

"""Writes actions into CouchDB in each of the five forms that code may have (contract, section 8)."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

TEXT_TYPE, BYTES_TYPE = "text/plain; charset=UTF-8", "application/octet-stream"
FORMS = ("string", "inline text", "inline bytes", "attached text", "attached bytes")


class Server(Protocol):
    """What is written to: a CouchServer."""

    def call(self, method: str, path: str, body: Any = None, content_type: str = ...) -> Any: ...


class Prepared(NamedTuple):
    """A document and its attachments, (name, type, bytes), not written yet."""

    document: dict[str, Any]
    attachments: list[tuple[str, str, bytes]]


def prepare(
    namespace: str,
    name: str,
    form: str,
    code: bytes,
    *,
    kind: str = "python:3",
    main: str | None = None,
    attachment: str = "a1-b2",
    **given: Any,
) -> Prepared:
    """An action whose code lies in the document in this form; `given` are members of the document."""
    binary = form.endswith("bytes")
    media_type = BYTES_TYPE if binary else TEXT_TYPE
    attachments: list[tuple[str, str, bytes]] = []
    value: Any = code.decode() if form == "string" else None
    if form.startswith("inline"):
        encoded = base64.urlsafe_b64encode(code).decode()
        value = {"attachmentName": f"mem:{encoded}", "attachmentType": media_type, "length": len(code)}
    elif form.startswith("attached"):
        value = {"attachmentName": f"couch:{attachment}", "attachmentType": media_type, "length": len(code)}
        attachments = [(attachment, media_type, code)]
    document = {
        "_id": f"{namespace}/{name}",
        "entityType": "action",
        "namespace": namespace,
        "name": name,
        "version": "0.0.1",
        "publish": False,
        "exec": {"kind": kind, "code": value, "binary": binary} | ({"main": main} if main else {}),
        "limits": {"timeout": 60_000, "memory": 256, "logs": 256},
        "annotations": [],
        "parameters": [],
    }
    return Prepared(document | given, attachments)


def upload(server: Server, database: str, prepared: Prepared) -> str:
    """Write it, its attachments inside the same revision; the revision. One that is there becomes a new revision."""
    place = f"{database}/{quote(prepared.document['_id'], safe='')}"
    stubs = {
        name: {"content_type": media_type, "data": base64.b64encode(data).decode()}
        for name, media_type, data in prepared.attachments
    }
    document = prepared.document | ({"_attachments": stubs} if stubs else {})
    return server.call("PUT", place, document)["rev"]

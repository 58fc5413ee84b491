"""◇ The action document, as CouchDB keeps it: what to run, in which runtime, within which limits (contract, section 8).

Code comes in five forms: a plain string; text or bytes inside the document as a `mem:` attachment; text or bytes in an
attachment beside it. The first three are `InlineCode` at once, the last two `AttachedCode` until `with_attachment` has
been given the attachment. A container only ever gets a string: bytes go as standard base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, TypeAlias

import msgspec

from invoker.errors import PlatformFault
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked, is_utf8, reason, unmask

MAIN = "main"  # where the action names none
TIMEOUT_MS = 60_000
MEMORY_MB = 256
LOGS_KB = 256
CONCURRENCY = 1
LIMIT_MAX = (1 << 31) - 1

BINARY_TYPE = "application/octet-stream"
_INLINE = "mem:"
_STORED = "couch:"
_NUMBER_ZERO = re.compile(rb"-?0(?:\.0+)?(?:[eE][+-]?[0-9]+)?")
_FALSY = (b"false", b"null", b'""')


class MalformedDocument(PlatformFault):
    """The action's document, or its attachment, can't be read; the text names the field."""


class InlineCode(msgspec.Struct, frozen=True, tag="inline"):
    """The code as the container gets it: source text, or standard base64 where `ActionDocument.binary`."""

    text: str

    def __repr__(self) -> str:
        return f"InlineCode({len(self.text)} characters)"


class AttachedCode(msgspec.Struct, frozen=True, tag="attached"):
    """The code is in the attachment `attachment` of the document, at the same revision. `binary`: bytes, not text."""

    attachment: str
    binary: bool


Code: TypeAlias = InlineCode | AttachedCode


class ActionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of an action. `path` is its namespace, with its package where it has one.

    `binary` is what /init is told. `annotations` are (key, raw JSON value). Sizes: `memory_mb` MiB, `logs_kb` KiB.
    """

    path: str
    name: str
    version: str
    revision: str
    kind: str
    main: str
    binary: bool
    code: Code
    timeout_ms: int
    memory_mb: int
    logs_kb: int
    concurrency: int
    annotations: tuple[tuple[str, bytes], ...]
    provide_api_key: bool

    @property
    def logs_bytes(self) -> int:
        """How much of an activation's log is kept, formatted lines (contract, section 10)."""
        return self.logs_kb * 1024


_Limit = Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)]


class _Limits(msgspec.Struct):
    timeout: _Limit | None = None
    memory: _Limit | None = None
    logs: Annotated[int, msgspec.Meta(ge=0, le=LIMIT_MAX)] | None = None
    concurrency: _Limit | None = None


class _Attachment(msgspec.Struct, rename="camel"):
    attachment_name: str
    attachment_type: str | None = None
    length: int | None = None


class _Exec(msgspec.Struct):
    kind: str
    code: str | _Attachment | None = None
    main: str | None = None
    binary: bool | None = None


class _Annotation(msgspec.Struct):
    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Document(msgspec.Struct):
    namespace: str
    name: str
    exec: _Exec
    version: str | None = None
    revision: str | None = msgspec.field(name="_rev", default=None)
    limits: _Limits | None = None
    annotations: list[_Annotation] | None = None


_DECODER = msgspec.json.Decoder(_Document)


def decode_action(body: bytes) -> ActionDocument:
    """Read a document. Stored parameters are ignored (the controller merges them). Raises MalformedDocument."""
    if not is_utf8(body):
        raise MalformedDocument("the action's document can't be read: it is not UTF-8")
    try:
        wire = decode_masked(_DECODER, body)
    except DECODE_ERRORS as problem:
        raise MalformedDocument(f"the action's document can't be read: {reason(problem)}") from None
    limits = wire.limits or _Limits()
    annotations = tuple((each.key, unmask(each.value)) for each in wire.annotations or ())
    return ActionDocument(
        path=wire.namespace,
        name=wire.name,
        version=wire.version or "",
        revision=wire.revision or "",
        kind=wire.exec.kind,
        main=wire.exec.main or MAIN,
        binary=bool(wire.exec.binary),
        code=_code(wire.exec.code),
        timeout_ms=TIMEOUT_MS if limits.timeout is None else limits.timeout,
        memory_mb=MEMORY_MB if limits.memory is None else limits.memory,
        logs_kb=LOGS_KB if limits.logs is None else limits.logs,
        concurrency=CONCURRENCY if limits.concurrency is None else limits.concurrency,
        annotations=annotations,
        provide_api_key=_provide_api_key(annotations),
    )


def with_attachment(document: ActionDocument, data: bytes) -> ActionDocument:
    """The document with its attachment's bytes as inline code; one that has inline code already is a ValueError.

    Raises MalformedDocument where a text attachment isn't UTF-8.
    """
    code = document.code
    if isinstance(code, InlineCode):
        raise ValueError(f"action {document.path}/{document.name} has its code inline, and no attachment")  # noqa: TRY004
    return msgspec.structs.replace(document, code=InlineCode(_text(data, binary=code.binary)))


def _code(code: str | _Attachment | None) -> Code:
    if not isinstance(code, _Attachment):
        return InlineCode(code or "")
    binary = _media_type(code.attachment_type) == BINARY_TYPE
    name = code.attachment_name
    if not name.startswith(_INLINE):
        name = name.removeprefix(_STORED)
        if not name:
            raise MalformedDocument("the action's document can't be read: exec.code.attachmentName is empty")
        return AttachedCode(name, binary)
    return InlineCode("" if code.length == 0 else _text(_inlined(name), binary=binary))


def _inlined(name: str) -> bytes:
    """The bytes in `mem:<base64url>`, padded or not."""
    text = name[len(_INLINE) :].rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise MalformedDocument(
            "the action's document can't be read: exec.code.attachmentName holds no base64 after mem:"
        ) from None


def _text(data: bytes, *, binary: bool) -> str:
    if binary:
        return base64.b64encode(data).decode("ascii")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedDocument("the action's code is stored as text and isn't UTF-8") from None


def _media_type(text: str | None) -> str:
    return (text or "").partition(";")[0].strip().lower()


def _provide_api_key(annotations: tuple[tuple[str, bytes], ...]) -> bool:
    """The truth of the annotation `provide-api-key`: absent counts as true, a list or an object too (section 19)."""
    value = dict(annotations).get("provide-api-key", b"true")
    return value not in _FALSY and _NUMBER_ZERO.fullmatch(value) is None

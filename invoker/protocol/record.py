"""◇ The activation record: what ran, when, how it ended, what it printed (contract, sections 7 and 19).

The result is spliced in as the container wrote it. A record is made once and used twice, in the completion message of a
blocking call and in the store; the stored form only adds members in front.
"""

from __future__ import annotations

import msgspec

from invoker.protocol.document import ActionDocument
from invoker.protocol.message import ActivationMessage
from invoker.protocol.raw_json import is_utf8

GBS_SLICE_MS = 100
_UNBILLED_PATH = "fnsystem/builder"
_MILLISECOND_NS = 1_000_000
_encode = msgspec.json.Encoder().encode


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an activation ended, and when; instants are Unix nanoseconds, spans nanoseconds.

    `run_start_ns`: when /run began, or what would have been that moment. `wait_ns`: from the transaction's start
    until a container was got, None where none was. `init_ns`: how long /init took, None where there was none.
    `result`: a JSON object, raw. `size_bytes`: of the container's answer as received. `timed_out`: an init or run
    limit was exceeded.
    """

    status: int
    result: bytes
    size_bytes: int
    timed_out: bool
    run_start_ns: int
    end_ns: int
    wait_ns: int | None = None
    init_ns: int | None = None


class _Annotation(msgspec.Struct):
    key: str
    value: object


class _Limits(msgspec.Struct):
    timeout: int
    memory: int
    logs: int


class _Response(msgspec.Struct, rename="camel"):
    result: msgspec.Raw
    status_code: int
    size: int


class _Record(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    activation_id: str
    namespace: str
    subject: str
    name: str
    version: str
    cause: str | None = None
    publish: bool
    start: int
    end: int
    duration: int
    logs: list[str]
    response: _Response
    annotations: list[_Annotation]


def activation_record(
    message: ActivationMessage, document: ActionDocument | None, ending: Ending, logs: list[str]
) -> bytes:
    """The record as JSON in UTF-8. `document` is None where the activation ended before its action was read."""
    start_ms = (ending.run_start_ns - (ending.init_ns or 0)) // _MILLISECOND_NS
    end_ms = max(start_ms, ending.end_ns // _MILLISECOND_NS)
    record = _Record(
        activation_id=message.activation_id,
        namespace=message.namespace,
        subject=message.subject,
        name=message.name,
        version=message.version,
        cause=message.cause,
        publish=False,
        start=start_ms,
        end=end_ms,
        duration=end_ms - start_ms,
        logs=logs,
        response=_Response(msgspec.Raw(_utf8(ending.result)), int(ending.status), ending.size_bytes),
        annotations=_annotations(message, document, ending, end_ms - start_ms),
    )
    return _encode(record)


def document_id(message: ActivationMessage) -> str:
    """The record's `_id`: `<namespace>/<activationId>`."""
    return f"{message.namespace}/{message.activation_id}"


def stored_record(record: bytes, document_id: str, updated_ms: int) -> bytes:
    """The record as a document of the store: with `_id`, and upstream's `entityType` and `updated` (Unix ms)."""
    return b'{"_id":%b,"entityType":"activation","updated":%d,%b' % (_encode(document_id), updated_ms, record[1:])


def gbs(path: str, memory_mb: int, duration_ms: int) -> float:
    """Gigabyte-seconds, billed by the 100 ms; an int where it is whole, 0 for the platform's builder."""
    if path.startswith(_UNBILLED_PATH):
        return 0
    amount = memory_mb * -(-duration_ms // GBS_SLICE_MS) / 10_240
    return int(amount) if amount.is_integer() else amount


def _annotations(
    message: ActivationMessage, document: ActionDocument | None, ending: Ending, duration_ms: int
) -> list[_Annotation]:
    """Sorted by key; the record's own win over the namespace's of the same key."""
    values: dict[str, object] = dict(message.annotations)
    values["path"] = f"{message.path}/{message.name}"
    values["timeout"] = ending.timed_out
    if document is None:
        values |= {"kind": "", "entry": "", "limits": _Limits(0, 0, 0), "gbs": 0}
    else:
        values["kind"] = document.kind
        values["entry"] = document.main
        values["limits"] = _Limits(document.timeout_ms, document.memory_mb, document.logs_kb)
        values["gbs"] = gbs(message.path, document.memory_mb, duration_ms)
    if message.binding:
        values["binding"] = message.binding
    if message.cause is not None:
        values["causedBy"] = "sequence"
    elif ending.wait_ns is not None and ending.wait_ns > 0:
        values["waitTime"] = ending.wait_ns // _MILLISECOND_NS
    if ending.init_ns is not None and ending.init_ns > 0:
        values["initTime"] = ending.init_ns // _MILLISECOND_NS
    return [_Annotation(key, values[key]) for key in sorted(values)]


def _utf8(result: bytes) -> bytes:
    """The result with U+FFFD for what is no UTF-8, which neither a controller nor a store would take."""
    return result if is_utf8(result) else result.decode("utf-8", "replace").encode()

"""◇ What a controller does between its REST interface and an invoker: documents from requests, messages from actions.

The developer's door plays the controller's part, so that an invoker runs on its own and gets the very messages it
gets in a cluster. Parameter values stay raw JSON from the request to the message.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

import msgspec

from invoker.errors import CallerFault

TIMEOUT_MS = (100, 600_000)
LOGS_KB = (0, 10_240)
CONCURRENCY = (1, 500)
NAME_CHARACTERS_MAX = 256

_NAME = re.compile(r"\w(?:[\w@ .&-]*[\w@.&-])?")


class _Exec(msgspec.Struct):
    kind: str
    code: str
    main: str | None = None
    binary: bool = False


class _Limits(msgspec.Struct):
    timeout: int = 60_000
    memory: int = 256
    logs: int = 256
    concurrency: int = 1


class _Parameter(msgspec.Struct, omit_defaults=True):
    key: str
    value: msgspec.Raw
    init: bool = False
    encryption: str | None = None


class _Annotation(msgspec.Struct):
    key: str
    value: msgspec.Raw


class _ActionRequest(msgspec.Struct):
    exec: _Exec
    limits: _Limits = msgspec.field(default_factory=_Limits)
    parameters: list[_Parameter] = []
    annotations: list[_Annotation] = []


class _Document(_ActionRequest, kw_only=True):
    """An action as it is stored, its `_id` and `_rev` left to the store (contract, section 8)."""

    namespace: str
    name: str
    version: str
    updated: int
    publish: bool = False
    entity_type: str = msgspec.field(default="action", name="entityType")


class _Invoked(msgspec.Struct):
    """What a message needs of a stored action."""

    version: str
    revision: str = msgspec.field(name="_rev")
    parameters: list[_Parameter] = []


class _Version(msgspec.Struct):
    version: str = "0.0.0"


def check_name(what: str, text: str) -> str:
    """The text itself, where it may name a namespace, package or action. Raises CallerFault."""
    if len(text) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(text):
        raise CallerFault(
            f"{text!r} can't be the name of {what}: 1 to {NAME_CHARACTERS_MAX} letters, digits, or _@.&- and spaces "
            "inside, beginning with a letter, digit or _"
        )
    return text


def action_document(
    path: str, name: str, body: bytes, former: bytes | None, *, kinds: Sequence[str], memory_mb_max: int, now_ms: int
) -> bytes:
    """The document of a put action. `former` is its document so far: the version counts on from it.

    Raises CallerFault naming the field that is wrong.
    """
    try:
        wanted = msgspec.json.decode(body, type=_ActionRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        hint = '{"exec": {"kind": "python:3", "code": "def main(args): ..."}}'
        raise CallerFault(f"the action can't be read: {problem}; what is expected looks like {hint}") from problem
    _check(wanted, kinds, memory_mb_max)
    version = _next_version(msgspec.json.decode(former, type=_Version).version if former is not None else None)
    annotations = [each for each in wanted.annotations if each.key != "exec"]
    annotations.append(_Annotation("exec", msgspec.Raw(msgspec.json.encode(wanted.exec.kind))))
    document = _Document(
        exec=wanted.exec,
        limits=wanted.limits,
        parameters=wanted.parameters,
        annotations=annotations,
        namespace=path,
        name=name,
        version=version,
        updated=now_ms,
    )
    return msgspec.json.encode(document)


def _check(wanted: _ActionRequest, kinds: Sequence[str], memory_mb_max: int) -> None:
    if kinds and wanted.exec.kind not in kinds:
        raise CallerFault(f"exec.kind: there is no runtime {wanted.exec.kind!r} here; there are {', '.join(kinds)}")
    if wanted.exec.binary:
        try:
            base64.b64decode(wanted.exec.code, validate=True)
        except (binascii.Error, ValueError) as problem:
            raise CallerFault(f"exec.code: binary code is a zip file in base64: {problem}") from problem
    limits = wanted.limits
    ranges = (
        ("timeout", limits.timeout, TIMEOUT_MS, "milliseconds"),
        ("memory", limits.memory, (1, memory_mb_max), "MB"),
        ("logs", limits.logs, LOGS_KB, "KB"),
        ("concurrency", limits.concurrency, CONCURRENCY, "activations at once in a container"),
    )
    for field, value, (least, most), unit in ranges:
        if not least <= value <= most:
            raise CallerFault(f"limits.{field}: {value} is not within {least} to {most} {unit}")


def _next_version(former: str | None) -> str:
    """`0.0.1`, and from there the last part counts."""
    if former is None:
        return "0.0.1"
    major_minor, _, patch = former.rpartition(".")
    return f"{major_minor}.{int(patch) + 1}" if patch.isdecimal() else "0.0.1"


def activation_message(
    path: str, name: str, document: bytes, payload: bytes, *, activation_id: str, blocking: bool, now_ms: int
) -> bytes:
    """The message that a controller would send (contract, section 3) for an action invoked in its own namespace.

    `document` is the stored action, `payload` the request's parameters, a JSON object or nothing: they win over those
    bound to the action. Raises CallerFault.
    """
    action = msgspec.json.decode(document, type=_Invoked)
    content = {parameter.key: parameter.value for parameter in action.parameters}
    given = _members(payload)
    content.update(given)
    namespace = path.partition("/")[0]
    return msgspec.json.encode(
        {
            "transid": [activation_id, now_ms],
            "action": {"path": path, "name": name, "version": action.version},
            "revision": action.revision,
            "user": {
                "subject": namespace,
                "namespace": {"name": namespace, "uuid": namespace},
                "authkey": {"api_key": f"{namespace}:development"},
                "rights": [],
                "limits": {},
            },
            "activationId": activation_id,
            "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
            "blocking": blocking,
            "content": content,
            "initArgs": [parameter.key for parameter in action.parameters if parameter.init],
            "lockedArgs": {
                parameter.key: parameter.encryption
                for parameter in action.parameters
                if parameter.encryption is not None and parameter.key not in given
            },
        }
    )


def _members(payload: bytes) -> dict[str, msgspec.Raw]:
    if not payload.strip():
        return {}
    try:
        return msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise CallerFault(f"the parameters must be one JSON object: {problem}") from problem

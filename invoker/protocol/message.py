"""◇ The activation message: what a controller asks an invoker to run (contract, sections 3 and 19).

This is the hot path. The envelope is decoded in one go; parameter values stay raw, and where no parameter is an
initialisation argument or encrypted, `content` is not even split. Only a message that doesn't fit the types takes the
second, lenient way, on which a wrongly typed field counts as missing. Either way a message needs a transaction id, an
activation id (32 hex digits: it goes into names, keys and log lines), the action's path and name, and the namespace's
name.
"""

from __future__ import annotations

import re

import msgspec

from invoker.errors import CallerFault
from invoker.protocol.message_lenient import lenient
from invoker.protocol.message_wire import Wire
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked, is_json, is_utf8, reason, unmask
from invoker.protocol.secrets import KeyRing, Undecipherable

PROBE_PATH = "whisk.system"
PROBE_NAME = "invokerHealthTestAction"

_INT64_MAX = (1 << 63) - 1
_ACTIVATION_ID = re.compile(r"[0-9a-fA-F]{32}")
_NO_PARAMETERS = b"{}"

_WIRE = msgspec.json.Decoder(Wire)
_TRANSID = msgspec.json.Decoder(tuple[str, int])
_LONGER_TRANSID = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_INTEGER = msgspec.json.Decoder(int)


class MalformedMessage(CallerFault):
    """The message can't be parsed or decrypted; the text names the field, and shows no parameter."""


class ActivationMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One activation to run. Raw values are bytes of JSON as the controller wrote them.

    `transid` is echoed in the acknowledgement; `transaction_id` and `transaction_start_ms` (Unix) are read from it.
    `controller` is the suffix of its topic. `cause`: the activation id of the sequence that caused this one. `path`
    has the package where there is one; `binding` is "" where there is none. `namespace` is the invoking one.
    `run_value` is an object. What is optional and absent is "" or None.
    """

    transid: bytes
    transaction_id: str
    transaction_start_ms: int
    activation_id: str
    controller: str
    cause: str | None
    blocking: bool
    revision: str | None
    path: str
    name: str
    version: str
    binding: str
    subject: str
    namespace: str
    annotations: tuple[tuple[str, str], ...]
    api_key: str | None
    store_activations: bool
    init_parameters: dict[str, bytes]
    run_value: bytes

    def __repr__(self) -> str:
        """Ids and names alone: parameters and the api key are secrets."""
        return (
            f"ActivationMessage({self.activation_id} of {self.path}/{self.name} for {self.namespace}, "
            f"{len(self.init_parameters)} init parameters, {len(self.run_value)} bytes to run with)"
        )

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("activation_id", self.activation_id)]


def decode_message(body: bytes, keys: KeyRing) -> ActivationMessage:
    """Read a message and decrypt its encrypted parameters with `keys`. Raises MalformedMessage."""
    if not is_utf8(body):
        raise MalformedMessage("the activation message is not UTF-8")
    try:
        wire = _WIRE.decode(body)
    except DECODE_ERRORS:
        wire = _lenient(body)
    action, user = wire.action, wire.user
    namespace = user.namespace
    if _ACTIVATION_ID.fullmatch(wire.activation_id) is None:
        raise MalformedMessage("the activation message's activationId is missing or is not 32 hex digits")
    if not (action.path and action.name and namespace.name):
        missing = (
            "user.namespace.name" if action.path and action.name else "action.name" if action.path else "action.path"
        )
        raise MalformedMessage(f"the activation message's {missing} is missing, empty or no string")
    transid = unmask(wire.transid)
    transaction_id, transaction_start_ms = _transaction(transid)
    run_value, init_parameters = _parameters(wire, keys)
    return ActivationMessage(
        transid=transid,
        transaction_id=transaction_id,
        transaction_start_ms=transaction_start_ms,
        activation_id=wire.activation_id,
        controller=wire.root_controller_index.as_string if wire.root_controller_index else "",
        cause=wire.cause or None,
        blocking=wire.blocking,
        revision=wire.revision or None,
        path=action.path,
        name=action.name,
        version=action.version,
        binding=action.binding or "",
        subject=user.subject,
        namespace=namespace.name,
        annotations=tuple([(each.key, each.value) for each in namespace.annotations or ()]),
        api_key=user.authkey.api_key if user.authkey else None,
        store_activations=user.limits.store_activations if user.limits else True,
        init_parameters=init_parameters,
        run_value=run_value,
    )


def _lenient(body: bytes) -> Wire:
    try:
        return lenient(body)
    except DECODE_ERRORS as problem:
        raise MalformedMessage(f"the activation message can't be read: {reason(problem)}") from None


def _transaction(transid: bytes) -> tuple[str, int]:
    """Id and start of `[id, start]`, or of upstream's forms, where `true` or a parent or both follow."""
    try:
        name, start_ms = _TRANSID.decode(transid)
    except DECODE_ERRORS:
        name, start_ms = _longer_transaction(transid)
    if not -_INT64_MAX <= start_ms <= _INT64_MAX:
        raise MalformedMessage("the activation message's transid has a start that is no Unix time in milliseconds")
    return name, start_ms


def _longer_transaction(transid: bytes) -> tuple[str, int]:
    try:
        parts = [bytes(part) for part in decode_masked(_LONGER_TRANSID, transid)]
        more = parts[2:]
        if more and more[0] in (b"true", b"false"):
            more = more[1:]
        if 3 <= len(parts) <= 4 and len(more) <= 1 and all(part.startswith(b"[") for part in more):
            return _TEXT.decode(parts[0]), _INTEGER.decode(parts[1])
    except DECODE_ERRORS:
        pass
    raise MalformedMessage("the activation message's transid is missing or is no array of an id and its start")


def _parameters(wire: Wire, keys: KeyRing) -> tuple[bytes, dict[str, bytes]]:
    """The value for /run, and the parameters for /init. A name that `content` lacks is ignored."""
    content = unmask(wire.content)
    if not content.startswith(b"{"):
        return _NO_PARAMETERS, {}
    if not wire.init_args and not wire.locked_args:
        return content, {}
    values = _members(content)
    locked = [(name, key) for name, key in (wire.locked_args or {}).items() if name in values]
    chosen = [name for name in dict.fromkeys(wire.init_args or ()) if name in values]
    if not locked and not chosen:
        return content, {}
    for name, key in locked:
        values[name] = _decrypted(name, values[name], key, keys)
    init_parameters = {name: values.pop(name) for name in chosen}
    return _joined(values), init_parameters


def _members(content: bytes) -> dict[str, bytes]:
    try:
        return {name: unmask(value) for name, value in decode_masked(_MEMBERS, content).items()}
    except DECODE_ERRORS as problem:
        raise MalformedMessage(f"the activation message's content can't be read: {reason(problem)}") from None


def _decrypted(name: str, value: bytes, key: str, keys: KeyRing) -> bytes:
    try:
        plain = keys.decrypt(key, _TEXT.decode(value))
    except DECODE_ERRORS:
        raise MalformedMessage(f"the encrypted parameter {name!r} is no string") from None
    except Undecipherable as problem:
        raise MalformedMessage(f"the encrypted parameter {name!r} can't be decrypted: {problem}") from None
    if not is_json(plain):
        raise MalformedMessage(f"the encrypted parameter {name!r} is no JSON once it is decrypted")
    return plain


def _joined(values: dict[str, bytes]) -> bytes:
    return b"{" + b",".join([msgspec.json.encode(name) + b":" + value for name, value in values.items()]) + b"}"

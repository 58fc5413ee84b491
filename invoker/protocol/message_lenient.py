"""◇ The lenient way to read an activation message: what has the wrong type counts as missing (contract, section 19).

Slower than the typed decoder, and only taken where that one failed. An element of the wrong type in `initArgs` or in
the namespace's annotations is dropped alone. In `lockedArgs` it becomes the key name "", which no ring knows: so an
encrypted parameter is never handed on as it is.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from invoker.protocol.message_wire import Action, Annotation, Authkey, Controller, Limits, Namespace, User, Wire
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked

T = TypeVar("T")
D = TypeVar("D")

_ABSENT = msgspec.Raw(b"")
_NO_MEMBERS: dict[str, msgspec.Raw] = {}
_NO_ELEMENTS: list[msgspec.Raw] = []
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool)


class _Object:
    """The members of a JSON object, each read as a type or as missing."""

    def __init__(self, members: dict[str, msgspec.Raw]) -> None:
        self._members = members

    def raw(self, name: str) -> msgspec.Raw:
        return self._members.get(name, _ABSENT)

    def text(self, name: str) -> str:
        return _read(_TEXT, self.raw(name), "")

    def flag(self, name: str, *, missing: bool) -> bool:
        return _read(_FLAG, self.raw(name), missing)

    def object(self, name: str) -> _Object:
        return _Object(self.members(name))

    def members(self, name: str) -> dict[str, msgspec.Raw]:
        return _read(_OBJECT, self.raw(name), None) or {}

    def elements(self, name: str) -> list[msgspec.Raw]:
        return _read(_LIST, self.raw(name), None) or []


def lenient(body: bytes) -> Wire:
    """Read a UTF-8 message. Raw values need `unmask`. Raises one of DECODE_ERRORS where it is no JSON object."""
    top = _Object(decode_masked(_OBJECT, body))
    action, user = top.object("action"), top.object("user")
    namespace = user.object("namespace")
    return Wire(
        transid=top.raw("transid"),
        activation_id=top.text("activationId"),
        action=Action(*[action.text(name) for name in ("path", "name", "version", "binding")]),
        user=User(
            subject=user.text("subject"),
            namespace=Namespace(namespace.text("name"), _annotations(namespace.elements("annotations"))),
            authkey=Authkey(user.object("authkey").text("api_key") or None),
            limits=Limits(store_activations=user.object("limits").flag("storeActivations", missing=True)),
        ),
        root_controller_index=Controller(top.object("rootControllerIndex").text("asString")),
        blocking=top.flag("blocking", missing=False),
        cause=top.text("cause"),
        revision=top.text("revision"),
        content=top.raw("content"),
        init_args=[name for each in top.elements("initArgs") if (name := _read(_TEXT, each, None)) is not None],
        locked_args={name: _read(_TEXT, each, "") for name, each in top.members("lockedArgs").items()},
    )


def _annotations(elements: list[msgspec.Raw]) -> list[Annotation]:
    found: list[Annotation] = []
    for each in elements:
        members = _read(_OBJECT, each, None)
        pair = _Object(members or {})
        key, value = _read(_TEXT, pair.raw("key"), None), _read(_TEXT, pair.raw("value"), None)
        if key is not None and value is not None:
            found.append(Annotation(key, value))
    return found


def _read(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw, missing: D) -> T | D:
    try:
        return decoder.decode(raw)
    except DECODE_ERRORS:
        return missing

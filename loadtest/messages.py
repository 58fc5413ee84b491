"""◇ What a controller writes and reads: activation messages, acknowledgements, pings (contract, sections 3, 6 and 7).

Messages have every key that a current upstream invoker insists on, and acknowledgements are read in each form that was
ever in use: the slot's invoker under `instance` or under `invoker`; result alone, completion alone, or both. Parameter
values and results stay raw bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from invoker.errors import CallerFault, PlatformFault
from invoker.protocol.message import PROBE_NAME, PROBE_PATH
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked, reason, unmask
from invoker.protocol.sizes import parse_size

PROBE_ID = "sid_invokerHealth"
MIB = 1024 * 1024


class Malformed(PlatformFault):
    """An acknowledgement, a ping or a document that can't be read."""


class Identity(msgspec.Struct, frozen=True):
    """On whose behalf an action runs: a subject, his namespace, and what he proves himself by."""

    subject: str = "guest"
    namespace: str = "guest"
    uuid: str = ""
    key: str = ""

    def __repr__(self) -> str:
        """Without the key."""
        return f"Identity({self.subject!r}, {self.namespace!r})"


GUEST = Identity()


class Parameter(msgspec.Struct, frozen=True):
    """One that is bound to an action; `encryption` names the key where the value is encrypted."""

    key: str
    value: msgspec.Raw
    init: bool = False
    encryption: str | None = None


class _Limits(msgspec.Struct):
    timeout: int = 60_000
    memory: int = 256
    concurrency: int = 1


class _Document(msgspec.Struct):
    namespace: str
    name: str
    revision: str = msgspec.field(name="_rev")
    version: str = "0.0.1"
    limits: _Limits = msgspec.field(default_factory=_Limits)
    parameters: list[Parameter] = []


class Action(msgspec.Struct, frozen=True):
    """What a controller has to know of an action. `path` has the package; memory in MB, `limit_ms` the time limit.
    `revision` "": the newest."""

    path: str
    name: str
    version: str
    revision: str
    memory_mb: int = 256
    concurrency: int = 1
    limit_ms: int = 60_000
    parameters: Sequence[Parameter] = ()

    @property
    def full_name(self) -> str:
        """`namespace/[package/]name`."""
        return f"{self.path}/{self.name}"


class Ping(msgspec.Struct, frozen=True):
    """An invoker says that it is there."""

    instance: int
    memory_mb: int
    enabled: bool


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoker says at an activation's end. `transid` and `record` are raw JSON.

    `instance` None: the slot isn't free yet. `record` None: only the id came. `activation` None: it has no id, as
    a completion of the oldest form.
    """

    transid: bytes
    activation: str | None
    record: bytes | None
    instance: int | None
    system_error: bool


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """The response in a record: status 0 success, 1 application, 2 developer, 3 internal error; `result` is raw."""

    result: msgspec.Raw
    status_code: int = 0
    size: int = 0


class _Instance(msgspec.Struct):
    instance: int
    user_memory: str = msgspec.field(name="userMemory", default="0 B")


class _Acknowledgement(msgspec.Struct, rename="camel"):
    transid: msgspec.Raw
    response: msgspec.Raw = msgspec.Raw(b"null")
    activation_id: str | None = None
    is_system_error: bool | None = False
    instance: _Instance | None = None
    invoker: _Instance | None = None


class _Ping(msgspec.Struct, rename="camel"):
    name: _Instance
    is_enabled: bool | None = True


class _Record(msgspec.Struct, rename="camel"):
    activation_id: str
    response: Outcome


_DOCUMENT = msgspec.json.Decoder(_Document)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ACKNOWLEDGEMENT = msgspec.json.Decoder(_Acknowledgement)
_PING = msgspec.json.Decoder(_Ping)
_RECORD = msgspec.json.Decoder(_Record)
_TEXT = msgspec.json.Decoder(str)


def decode_document(body: bytes) -> Action:
    """An action's document as CouchDB gives it. Raises Malformed."""
    try:
        found = decode_masked(_DOCUMENT, body)
    except DECODE_ERRORS as problem:
        raise Malformed(f"the action's document can't be read: {reason(problem)}; put the action anew") from problem
    limits = found.limits
    return Action(
        path=found.namespace,
        name=found.name,
        version=found.version,
        revision=found.revision,
        memory_mb=limits.memory,
        concurrency=limits.concurrency,
        limit_ms=limits.timeout,
        parameters=found.parameters,
    )


def activation_message(
    action: Action,
    caller: Identity,
    parameters: bytes,
    *,
    activation: str,
    transaction: tuple[str, int],
    controller: str,
    blocking: bool,
) -> bytes:
    """The message for one activation. `parameters` is a JSON object, whose members win over those bound to the action;
    `transaction` an id and its start, Unix ms. Raises CallerFault where the parameters are no object."""
    given = _members(parameters)
    bound = {each.key: each for each in action.parameters}
    content = {name: unmask(each.value) for name, each in bound.items()} | given
    return _encode(
        action={"path": action.path, "name": action.name, "version": action.version},
        revision=action.revision or None,
        user=_user(caller),
        activation=activation,
        transaction=transaction,
        controller=controller,
        blocking=blocking,
        content=_spliced(content),
        init=[name for name, each in bound.items() if each.init],
        locked={name: each.encryption for name, each in bound.items() if each.encryption and name not in given},
    )


def probe_message(controller: str, activation: str, start_ms: int) -> bytes:
    """The controller's test action for an invoker that isn't known to work; `start_ms` is the same in all of them."""
    return _encode(
        action={"path": PROBE_PATH, "name": f"{PROBE_NAME}{controller}", "version": "0.0.1"},
        revision=None,
        user=_user(Identity(PROBE_PATH, PROBE_PATH, uuid=activation)),
        activation=activation,
        transaction=(PROBE_ID, start_ms),
        controller=controller,
        blocking=False,
        content=b"",
        init=[],
        locked={},
    )


def is_test(acknowledgement: Acknowledgement, start_ms: int) -> bool:
    """Whether it is of a test action of this controller: the whole transaction id has to be the same."""
    try:
        return msgspec.json.decode(acknowledgement.transid) == [PROBE_ID, start_ms]
    except DECODE_ERRORS:
        return False


def decode_acknowledgement(body: bytes) -> Acknowledgement:
    """Any of the three kinds. Raises Malformed."""
    try:
        found = decode_masked(_ACKNOWLEDGEMENT, body)
        response = unmask(found.response)
        activation, record = found.activation_id, None
        if response.startswith(b'"'):
            activation = _TEXT.decode(response)
        elif response.startswith(b"{"):
            record = response
            activation = decode_masked(_RECORD, response).activation_id
    except DECODE_ERRORS as problem:
        raise Malformed(f"an acknowledgement can't be read: {reason(problem)}") from problem
    by = found.instance or found.invoker
    return Acknowledgement(
        transid=unmask(found.transid),
        activation=activation,
        record=record,
        instance=by.instance if by else None,
        system_error=bool(found.is_system_error),
    )


def decode_outcome(record: bytes) -> Outcome:
    """What came of it, out of a record; the result is as it was written. Raises Malformed."""
    try:
        found = decode_masked(_RECORD, record).response
    except DECODE_ERRORS as problem:
        raise Malformed(f"an activation record can't be read: {reason(problem)}") from problem
    return msgspec.structs.replace(found, result=msgspec.Raw(unmask(found.result)))


def decode_ping(body: bytes) -> Ping:
    """A message of the topic `health`. Raises Malformed."""
    try:
        found = _PING.decode(body)
        memory_mb = parse_size(found.name.user_memory) // MIB
    except (*DECODE_ERRORS, ValueError) as problem:
        raise Malformed(f"a ping can't be read: {problem}") from problem
    return Ping(found.name.instance, memory_mb, found.is_enabled is not False)


def _members(parameters: bytes) -> dict[str, bytes]:
    if not parameters.strip():
        return {}
    try:
        return {name: unmask(value) for name, value in decode_masked(_MEMBERS, parameters).items()}
    except DECODE_ERRORS as problem:
        raise CallerFault(f"the parameters must be one JSON object: {reason(problem)}") from problem


def _spliced(members: dict[str, bytes]) -> bytes:
    return b"{" + b",".join([msgspec.json.encode(name) + b":" + value for name, value in members.items()]) + b"}"


def _user(caller: Identity) -> dict[str, Any]:
    return {
        "subject": caller.subject,
        "namespace": {"name": caller.namespace, "uuid": caller.uuid or caller.namespace},
        "authkey": {"api_key": f"{caller.uuid}:{caller.key}"},
        "rights": ["READ", "PUT", "DELETE", "ACTIVATE"],
        "limits": {},
    }


def _encode(
    *,
    action: dict[str, str],
    revision: str | None,
    user: dict[str, Any],
    activation: str,
    transaction: tuple[str, int],
    controller: str,
    blocking: bool,
    content: bytes,
    init: list[str],
    locked: dict[str, str | None],
) -> bytes:
    head = msgspec.json.encode(
        {
            "transid": transaction,
            "action": action,
            "revision": revision,
            "user": user,
            "activationId": activation,
            "rootControllerIndex": {"asString": controller, "instanceType": "controller"},
            "blocking": blocking,
            "initArgs": init,
            "lockedArgs": locked,
        }
    )
    return head[:-1] + b',"content":' + content + b"}" if content else head

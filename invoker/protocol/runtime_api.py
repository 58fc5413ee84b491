"""◇ The bodies of /init and /run, as every OpenWhisk runtime expects them (contract, section 12).

Parameters are spliced in untouched: the value for /run whole, an initialisation parameter that is a string as the JSON
string that it was, any other as a string holding its JSON text.
"""

from __future__ import annotations

import msgspec

from invoker.protocol.document import ActionDocument, AttachedCode
from invoker.protocol.message import ActivationMessage

_encode = msgspec.json.Encoder().encode


class _Init(msgspec.Struct):
    name: str
    main: str
    code: str
    binary: bool
    env: dict[str, msgspec.Raw]


class _Value(msgspec.Struct):
    value: _Init


class _Run(msgspec.Struct, omit_defaults=True):
    value: msgspec.Raw
    activation_id: str
    transaction_id: str
    namespace: str
    action_name: str
    action_version: str
    deadline: str
    api_key: str | None = None


def init_body(message: ActivationMessage, document: ActionDocument, deadline_ms: int) -> bytes:
    """The body of POST /init. `deadline_ms` is Unix time. ValueError where the code is an attachment still."""
    code = document.code
    if isinstance(code, AttachedCode):
        raise ValueError(f"the code of action {document.path}/{document.name} is not inline yet")  # noqa: TRY004
    env = {name: _env_value(value) for name, value in message.init_parameters.items()}
    own = {
        "__OW_ACTIVATION_ID": message.activation_id,
        "__OW_TRANSACTION_ID": message.transaction_id,
        "__OW_NAMESPACE": message.namespace,
        "__OW_ACTION_NAME": _full_name(message),
        "__OW_ACTION_VERSION": message.version,
        "__OW_DEADLINE": str(deadline_ms),
    }
    api_key = _api_key(message, document)
    if api_key is not None:
        own["__OW_API_KEY"] = api_key
    env |= {name: msgspec.Raw(_encode(value)) for name, value in own.items()}
    return _encode(_Value(_Init(message.name, document.main, code.text, document.binary, env)))


def run_body(message: ActivationMessage, document: ActionDocument, deadline_ms: int) -> bytes:
    """The body of POST /run. `deadline_ms` is Unix time, and goes as a string."""
    return _encode(
        _Run(
            value=msgspec.Raw(message.run_value),
            activation_id=message.activation_id,
            transaction_id=message.transaction_id,
            namespace=message.namespace,
            action_name=_full_name(message),
            action_version=message.version,
            deadline=str(deadline_ms),
            api_key=_api_key(message, document),
        )
    )


def _full_name(message: ActivationMessage) -> str:
    return f"/{message.path}/{message.name}"


def _api_key(message: ActivationMessage, document: ActionDocument) -> str | None:
    """The key, where the message has one and the action's annotation `provide-api-key` allows it."""
    return (message.api_key or None) if document.provide_api_key else None


def _env_value(value: bytes) -> msgspec.Raw:
    """An environment variable's JSON string: the value itself where it is one, else its JSON text."""
    text = value.strip(b" \t\r\n")
    return msgspec.Raw(text if text.startswith(b'"') else _encode(text.decode("utf-8")))

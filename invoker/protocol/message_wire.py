"""◇ The activation message on the wire: a struct for each object of its envelope, zero values for what may be missing.

Separate from `message` because two decoders fill it: the fast one all at once, the lenient one field by field.
"""

from __future__ import annotations

import msgspec


class Action(msgspec.Struct):
    """Which action; `binding` is the path of the package binding it was called through."""

    path: str = ""
    name: str = ""
    version: str = ""
    binding: str | None = None


class Annotation(msgspec.Struct):
    """Copied onto the activation record."""

    key: str
    value: str


class Namespace(msgspec.Struct):
    """The invoking namespace."""

    name: str = ""
    annotations: list[Annotation] | None = None


class Authkey(msgspec.Struct):
    """What the function may call the API with."""

    api_key: str | None = None


class Limits(msgspec.Struct, rename="camel"):
    """The one limit of the user that an invoker heeds."""

    store_activations: bool = True


class User(msgspec.Struct):
    """On whose behalf."""

    subject: str = ""
    namespace: Namespace = msgspec.field(default_factory=Namespace)
    authkey: Authkey | None = None
    limits: Limits | None = None


class Controller(msgspec.Struct, rename="camel"):
    """The controller that waits for the acknowledgement."""

    as_string: str = ""


class Wire(msgspec.Struct, rename="camel"):
    """The message. Raw values are b"" where absent."""

    transid: msgspec.Raw = msgspec.Raw(b"")
    activation_id: str = ""
    action: Action = msgspec.field(default_factory=Action)
    user: User = msgspec.field(default_factory=User)
    root_controller_index: Controller | None = None
    blocking: bool = False
    cause: str | None = None
    revision: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")
    init_args: list[str] | None = None
    locked_args: dict[str, str] | None = None

"""◇ Settings: what the environment may say, checked as a whole before anything starts (contract, section 2).

Names are the contract's; what the reference fixes in code is a setting here with the same default. All mistakes are
told at once, a line each, with an example of a right value; secrets appear in no text. Values come from a mapping that
is given, so neither tests nor this page's generator (`python -m invoker.config`) touch the process's environment.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from invoker.config.common import EngineSettings, LimitSettings, LogSettings, NetworkSettings, PolicySettings
from invoker.config.dev import DevSettings
from invoker.config.serve import ServeSettings
from invoker.config.values import AddressRange, Settings, format_duration
from invoker.errors import SettingsError
from invoker.protocol.sizes import format_size

__all__ = [
    "AddressRange",
    "DevSettings",
    "EngineSettings",
    "LimitSettings",
    "LogSettings",
    "NetworkSettings",
    "PolicySettings",
    "Row",
    "ServeSettings",
    "Settings",
    "describe",
    "likely_slips",
    "load",
    "load_dev",
    "load_part",
    "page",
]

SIMILAR = 0.85  # how alike two names have to be to be told as a likely slip


class Row(NamedTuple):
    """One setting, for people. `value` is None where only the model is described; secrets are redacted."""

    name: str
    value: str | None
    meaning: str
    default: str


PLAIN = {
    "missing": "is missing",
    "too_short": "is empty",
    "int_parsing": "is no integer",
    "string_too_short": "is empty",
    "ip_v4_network": "is no IPv4 network (address/prefix, no host bits set)",
}
Model = TypeVar("Model", bound=Settings)


def load(environ: Mapping[str, str]) -> ServeSettings:
    """The settings of `invoker serve`. Raises SettingsError, one line for each bad or missing variable."""
    return _load(ServeSettings, environ, {})


def load_dev(environ: Mapping[str, str], **options: object) -> DevSettings:
    """The settings of `invoker dev`: `options` by field names go before the environment; None means not given."""
    return _load(DevSettings, environ, {name: value for name, value in options.items() if value is not None})


def load_part(model: type[Model], environ: Mapping[str, str]) -> Model:
    """The settings of one neighbour alone, for a command that talks to no other. Raises SettingsError."""
    return _load(model, environ, {})


def likely_slips(model: type[Settings], environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that are no setting but look like one that is not set: name -> the setting that was probably meant."""
    unset = [name for name in _fields(model) if name not in environ]
    slips: dict[str, str] = {}
    for name in environ:
        if name not in _fields(model):
            close = difflib.get_close_matches(name.upper(), unset, n=1, cutoff=SIMILAR)
            if close:
                slips[name] = close[0]
    return slips


def describe(model: type[Settings] | Settings) -> list[Row]:
    """Every setting in order, with its value where an instance is given."""
    settings = model if isinstance(model, Settings) else None
    cls = model if isinstance(model, type) else type(model)
    rows: list[Row] = []
    for attribute, info in cls.model_fields.items():
        value = None if settings is None else _shown(attribute, info, getattr(settings, attribute))
        default = "required" if info.is_required() else str(info.default)
        rows.append(Row(str(info.alias), value, info.description or "", default))
    return rows


def page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables. A wrong or missing one stops the start with one message that names all",
        "of them. Byte sizes are an integer and a unit (`B`, `KB`, `MB`, `GB`, 1024-based); spans of time a number and",
        "`ms`, `s`, `m` or `h`. This page is made by `python -m invoker.config`.",
    ]
    for title, cls in (("`invoker serve`", ServeSettings), ("`invoker dev`", DevSettings)):
        lines += ["", f"## {title}", "", "| variable | meaning | default | example |", "| --- | --- | --- | --- |"]
        for name, info in sorted(_fields(cls).items(), key=lambda item: not item[1].is_required()):
            default = "required" if info.is_required() else f"`{info.default}`" if info.default else "empty"
            lines.append(f"| `{name}` | {info.description} | {default} | `{_example(info)}` |")
    return "\n".join(lines) + "\n"


def _load(model: type[Model], environ: Mapping[str, str], options: dict[str, object]) -> Model:
    given: dict[str, Any] = {name: environ[name] for name in _fields(model) if name in environ}
    for attribute, value in options.items():
        given[str(model.model_fields[attribute].alias)] = value
    try:
        return model(**given)
    except ValidationError as error:
        lines = [*_complaints(model, error), *_slips(model, environ)]
    raise SettingsError("the settings can't be used:\n" + "\n".join(lines))


def _complaints(model: type[Settings], error: ValidationError) -> Iterator[str]:
    told: set[str] = set()
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if not detail["loc"]:  # what only makes sense together
            yield f"  {text}"
            continue
        name = str(detail["loc"][0])
        if name in told:  # one line a variable, however many parts of it are wrong
            continue
        told.add(name)
        what = PLAIN.get(detail["type"], text)
        yield f"  {name}: {what[0].lower()}{what[1:]}; for example {name}={_example(_fields(model)[name])}"


def _slips(model: type[Settings], environ: Mapping[str, str]) -> Iterator[str]:
    for name, meant in likely_slips(model, environ).items():
        yield f"  {name}: is no setting; did you mean {meant}?"


def _fields(model: type[Settings]) -> dict[str, FieldInfo]:
    return {str(info.alias): info for info in model.model_fields.values()}


def _example(info: FieldInfo) -> str:
    return str(info.examples[0]) if info.examples else ""


def _shown(attribute: str, info: FieldInfo, value: object) -> str:
    if info.json_schema_extra == {"secret": True}:
        return "[redacted]"
    if value is None:
        return ""
    if isinstance(value, tuple) and not isinstance(value, AddressRange):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    if attribute.endswith("_ns") and isinstance(value, int):
        return format_duration(value)
    if attribute.endswith("_bytes") and isinstance(value, int):
        return format_size(value)
    return str(value)

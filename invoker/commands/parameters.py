"""◇ `--param key=value`: values are JSON where they parse as such, else strings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from invoker.errors import CallerFault


def parse(parameters: Sequence[str]) -> dict[str, msgspec.Raw]:
    """The raw JSON of each `key=value`; the last of a key counts. Raises CallerFault where there is no `=`."""
    found: dict[str, msgspec.Raw] = {}
    for parameter in parameters:
        key, equals, text = parameter.partition("=")
        if not equals or not key:
            raise CallerFault(f"--param is key=value, such as --param name=Ada or --param n=3; not {parameter!r}")
        found[key] = _value(text)
    return found


def _value(text: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)  # checks, and keeps a number as it was written
    except (msgspec.MsgspecError, ValueError):
        return msgspec.Raw(msgspec.json.encode(text))
    return msgspec.Raw(text.strip().encode())


def members(text: bytes, source: str) -> dict[str, msgspec.Raw]:
    """The members of a JSON object that was read from `source`. Raises CallerFault."""
    try:
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise CallerFault(f"{source} must hold one JSON object: {problem}") from problem

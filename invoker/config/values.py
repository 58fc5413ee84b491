"""◇ What a setting is, and how its text becomes a value.

The functions raise ValueError with words that follow the variable's name; no text of a secret gets into an error.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from invoker.protocol.manifest import MalformedManifest, parse_manifest
from invoker.protocol.secrets import MalformedKeys, parse_keys
from invoker.protocol.sizes import parse_size

UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
INTERFACE_NAME_CHARACTERS = 15  # the kernel's limit


def parse_duration_ns(value: object) -> int:
    """`150ms`, `5s`, `15m`, `2h` or `1.5s` as nanoseconds; `0` needs no unit. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    whole, point, fraction = number.strip().partition(".")
    digits = whole.isdecimal() and (fraction.isdecimal() or not point) and text.isascii()
    if digits and (unit in UNITS_NS or (not unit and int(whole) == 0 and not point)):
        scale = UNITS_NS.get(unit, 1)
        return int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    raise ValueError("is no span of time: a number and one of ms, s, m, h")


def format_duration(span_ns: int) -> str:
    """In the largest unit that needs no fraction: `150ms`, `15m`, `90s`; 0 is `0`."""
    if span_ns == 0:
        return "0"
    unit, scale = next((unit, scale) for unit, scale in reversed(UNITS_NS.items()) if span_ns % scale == 0)
    return f"{span_ns // scale}{unit}"


def size_bytes(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return parse_size(str(value))
    except ValueError as error:
        raise ValueError("is no byte size: an integer and one of B, K, M, G (KB, KiB, ...)") from error


def lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def level(value: object) -> object:
    level = lower(value)
    return "warn" if level == "warning" else level


def comma_list(value: object) -> object:
    """A comma-separated list, its spaces dropped."""
    return _parts(value) if isinstance(value, str) else value


def _parts(value: str) -> tuple[str, ...]:
    if not value.strip():
        return ()
    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise ValueError("is no comma-separated list: a part is empty")
    return parts


def hosts(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = _parts(value)
    for part in parts:
        host, _, port = part.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("has a part that is not host:port")
    return parts


def url(value: object) -> object:
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no URL of http or https with a host")
    if parts.username or parts.password:
        raise ValueError("holds credentials; give them as COUCH_USERNAME and COUCH_PASSWORD")
    return str(value).rstrip("/")


def none_if_empty(value: object) -> object:
    return None if value == "" else value


def key_ring(value: object) -> object:
    """Keys by name (contract, section 9). No value gets into an error's text."""
    if not isinstance(value, str):
        return value
    try:
        return parse_keys(value)
    except MalformedKeys as error:
        raise ValueError(str(error)) from None


def manifest(value: object) -> object:
    """A runtimes manifest that can be read (contract, section 11)."""
    try:
        parse_manifest(str(value))
    except MalformedManifest as error:
        raise ValueError(str(error)) from None
    return value


def optional_manifest(value: object) -> object:
    """The same, or None for empty text."""
    return manifest(value) if value else None


class AddressRange(NamedTuple):
    """The first and the last address that containers may have."""

    first: IPv4Address
    last: IPv4Address

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def address_range(value: object) -> object:
    if not isinstance(value, str) or value == "":
        return None if value == "" else value
    first, _, last = value.partition("-")
    try:
        addresses = AddressRange(IPv4Address(first.strip()), IPv4Address(last.strip()))
    except ValueError:
        raise ValueError("is no range of IPv4 addresses") from None
    if addresses.last < addresses.first:
        raise ValueError("ends before it begins")
    return addresses


DurationNs = Annotated[int, BeforeValidator(parse_duration_ns)]
SizeBytes = Annotated[int, BeforeValidator(size_bytes), Field(gt=0)]
OptionalPath = Annotated[Path | None, BeforeValidator(none_if_empty)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
InterfaceName = Annotated[str, Field(min_length=1, max_length=15)]  # the kernel's limit


def setting(default: Any, name: str, meaning: str, example: str = "", *, secret: bool = False) -> Any:
    """One setting: its variable, what it means, and a right value where the default shows none. `...`: required."""
    shown = example or str(default)
    extra: dict[str, Any] = {"secret": secret}
    return Field(
        default,
        alias=name,
        description=meaning,
        examples=[shown],
        json_schema_extra=extra,
        validate_default=default is not ...,
    )


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True, case_sensitive=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load` hands over the environment."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

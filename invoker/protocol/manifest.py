"""◇ The runtimes manifest: which image runs which kind of action, and which stock is wanted (contract, section 11).

A kind is `<family>:<version>`; the family's default also answers to `<family>:default`. A manifest that can't be used
stops the start of the service, so an error says where: the family, the kind, the field.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from invoker.errors import SettingsError
from invoker.protocol.raw_json import DECODE_ERRORS, reason
from invoker.protocol.sizes import parse_size

MEGABYTE_BYTES = 1_048_576
STEM_CELLS_MAX = 10_000
"""Containers that one entry may ask for: more is a slip of the pen."""

_SPAN = re.compile(r"([0-9]{1,9}) ?([a-z]+)")
_UNITS_MS = {
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
}


class MalformedManifest(SettingsError):
    """The runtimes manifest can't be used; the text names the family or kind, and the field."""


class Reactive(msgspec.Struct, frozen=True):
    """A stock that follows cold starts: `min_count` to `max_count`, `increment` for each `threshold` cold starts of the
    last round; one that was not used for `ttl_ms` milliseconds is let go."""

    min_count: int
    max_count: int
    ttl_ms: int
    threshold: int
    increment: int


class StemCell(msgspec.Struct, frozen=True):
    """`count` prewarmed containers of `kind` with `memory_mb` MiB; `reactive` None: always that many."""

    kind: str
    memory_mb: int
    count: int
    reactive: Reactive | None = None


class RuntimesManifest(msgspec.Struct, frozen=True):
    """What a node can run. Kinds and their images, what the default names stand for, the wanted stock."""

    images: dict[str, str]
    defaults: dict[str, str]
    cells: tuple[StemCell, ...]

    def resolve(self, kind: str) -> str | None:
        """The kind itself, or what `<family>:default` stands for; None where the manifest knows neither."""
        if kind in self.images:
            return kind
        return self.defaults.get(kind)

    def image(self, kind: str) -> str | None:
        """The image of a kind, default names included; None where the manifest doesn't know it."""
        resolved = self.resolve(kind)
        return None if resolved is None else self.images[resolved]

    def stem_cells(self) -> tuple[StemCell, ...]:
        """The wanted stock, in the manifest's order."""
        return self.cells


_Count = Annotated[int, msgspec.Meta(ge=0, le=STEM_CELLS_MAX)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=STEM_CELLS_MAX)]


class _Reactive(msgspec.Struct, rename="camel"):
    min_count: _Count
    max_count: _Positive
    ttl: str
    threshold: _Positive
    increment: _Positive


class _StemCell(msgspec.Struct, rename="camel"):
    memory: str
    count: _Count | None = None
    initial_count: _Count | None = None
    reactive: _Reactive | None = None


class _Image(msgspec.Struct):
    name: str
    prefix: str | None = None
    tag: str | None = None
    registry: str | None = None


class _Runtime(msgspec.Struct, rename="camel"):
    kind: str
    image: _Image
    default: bool | None = None
    stem_cells: list[_StemCell] | None = None


class _Manifest(msgspec.Struct):
    runtimes: dict[str, msgspec.Raw]


_MANIFEST = msgspec.json.Decoder(_Manifest)
_FAMILY = msgspec.json.Decoder(list[msgspec.Raw])
_RUNTIME = msgspec.json.Decoder(_Runtime)
_decode_kind = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse_manifest(text: str) -> RuntimesManifest:
    """Read the JSON of RUNTIMES_MANIFEST; unknown fields are ignored. Raises MalformedManifest."""
    try:
        families = _MANIFEST.decode(text).runtimes
    except (*DECODE_ERRORS, UnicodeEncodeError) as problem:
        raise MalformedManifest(f"the runtimes manifest can't be read: {reason(problem)}") from None
    images: dict[str, str] = {}
    defaults: dict[str, str] = {}
    cells: list[StemCell] = []
    for family, raw in families.items():
        runtimes = _runtimes(family, raw)
        for runtime in runtimes:
            if runtime.kind in images:
                raise MalformedManifest(f"the runtimes manifest has kind {_quoted(runtime.kind)} twice")
            images[runtime.kind] = _image(runtime)
            cells += [_stem_cell(runtime.kind, cell) for cell in runtime.stem_cells or ()]
        default = _default(family, runtimes)
        if default is not None:
            defaults[f"{family}:default"] = default
    return RuntimesManifest(images, defaults, tuple(cells))


def _runtimes(family: str, raw: msgspec.Raw) -> list[_Runtime]:
    try:
        entries = _FAMILY.decode(raw)
    except DECODE_ERRORS as problem:
        raise MalformedManifest(f"family {_quoted(family)} of the runtimes manifest: {reason(problem)}") from None
    return [_runtime(family, index, entry) for index, entry in enumerate(entries)]


def _runtime(family: str, index: int, raw: msgspec.Raw) -> _Runtime:
    try:
        runtime = _RUNTIME.decode(raw)
    except DECODE_ERRORS as problem:
        which = _kind_of(raw) or f"entry {index + 1}"
        raise MalformedManifest(
            f"family {_quoted(family)}, {which} of the runtimes manifest: {reason(problem)}"
        ) from None
    if not runtime.kind or not runtime.image.name:
        what = "image.name" if runtime.kind else "kind"
        raise MalformedManifest(
            f"family {_quoted(family)}, entry {index + 1} of the runtimes manifest: {what} is empty"
        )
    return runtime


def _kind_of(raw: msgspec.Raw) -> str | None:
    """For an error's text: the kind of an entry that can't be read as a whole."""
    try:
        return "kind " + _quoted(msgspec.json.decode(_decode_kind(raw)["kind"], type=str))
    except (*DECODE_ERRORS, KeyError):
        return None


def _default(family: str, runtimes: list[_Runtime]) -> str | None:
    """The kind that the family's default name stands for: the one so marked, or the only one."""
    marked = [runtime.kind for runtime in runtimes if runtime.default]
    if len(marked) > 1:
        kinds = ", ".join(_quoted(kind) for kind in marked)
        raise MalformedManifest(f"family {_quoted(family)} of the runtimes manifest has several defaults: {kinds}")
    if marked:
        return marked[0]
    return runtimes[0].kind if len(runtimes) == 1 else None


def _image(runtime: _Runtime) -> str:
    """`registry/prefix/name:tag`, without what is missing."""
    image = runtime.image
    path = "/".join(part.strip("/") for part in (image.registry, image.prefix, image.name) if part)
    return f"{path}:{image.tag}" if image.tag else path


def _stem_cell(kind: str, cell: _StemCell) -> StemCell:
    try:
        reactive = None if cell.reactive is None else _reactive(cell.reactive)
        return StemCell(kind, _memory_mb(cell.memory), _count(cell), reactive)
    except ValueError as problem:
        raise MalformedManifest(f"stemCells of kind {_quoted(kind)} in the runtimes manifest: {problem}") from None


def _memory_mb(text: str) -> int:
    memory_mb, rest = divmod(parse_size(text), MEGABYTE_BYTES)
    if rest or not memory_mb:
        raise ValueError(f"memory {_quoted(text)} is no whole number of MB")
    return memory_mb


def _count(cell: _StemCell) -> int:
    """`initialCount` is the newer name of `count`."""
    count = cell.initial_count if cell.initial_count is not None else cell.count
    if count is None:
        raise ValueError("count is missing")
    return count


def _reactive(wire: _Reactive) -> Reactive:
    if wire.min_count > wire.max_count:
        raise ValueError(f"reactive.minCount {wire.min_count} is above maxCount {wire.max_count}")
    if wire.increment > wire.max_count:
        raise ValueError(f"reactive.increment {wire.increment} is above maxCount {wire.max_count}")
    return Reactive(wire.min_count, wire.max_count, _span_ms(wire.ttl), wire.threshold, wire.increment)


def _span_ms(text: str) -> int:
    """`2 minutes`, `10m`, `30 s` in milliseconds."""
    match = _SPAN.fullmatch(text.strip().lower())
    unit_ms = _UNITS_MS.get(match.group(2)) if match is not None else None
    if match is None or unit_ms is None:
        raise ValueError(f"reactive.ttl {_quoted(text)} is no span of time like 2 minutes or 30 s")
    return int(match.group(1)) * unit_ms


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")

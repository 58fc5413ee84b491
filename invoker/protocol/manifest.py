"""◇ The runtimes manifest: which image runs a kind, and what to keep prewarmed of it (contract, section 11).

It is read once at start, so it is checked as a whole and strictly: a wrong entry is better found then than by the
first function that needs it. Fields that nobody here needs are ignored. Upstream's extensions are understood: a
registry before the prefix, images without prefix or tag, a single version as its family's default, reactive stem
cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from invoker.errors import SettingsError
from invoker.protocol.raw_json import DECODE_ERRORS, reason
from invoker.protocol.sizes import parse_size

STEM_CELLS_MAX = 10_000  # in one entry; more is a slip, not a node
_MB = 1 << 20
_DURATION = re.compile(r"(\d{1,9}) ?([a-z]+)", re.ASCII)
_UNITS_NS = {
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 1_000_000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1_000_000_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000_000_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000_000_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000_000_000),
}


class MalformedManifest(SettingsError):
    """The manifest can't be used; the text names the family or kind."""


class Reactive(msgspec.Struct, frozen=True):
    """Grow the stock by `increment` for each `threshold` cold starts of a period, within its bounds."""

    min_count: int
    max_count: int
    ttl_ns: int
    threshold: int
    increment: int


class StemCell(msgspec.Struct, frozen=True):
    """How many prewarmed containers of a kind and size (MiB) to keep."""

    kind: str
    memory_mb: int
    count: int
    reactive: Reactive | None = None


class RuntimesManifest(msgspec.Struct, frozen=True):
    """What was read. `images`: kind -> image; `defaults`: family -> kind."""

    images: dict[str, str]
    defaults: dict[str, str]
    stock: tuple[StemCell, ...]

    def resolve(self, kind: str) -> str | None:
        """The kind itself where it is known, the default kind for `<family>:default`, else None."""
        if kind in self.images:
            return kind
        family, _, version = kind.rpartition(":")
        return self.defaults.get(family) if version == "default" else None

    def image(self, kind: str) -> str | None:
        """The image that runs the kind, which may be `<family>:default`; None where the kind is unknown."""
        known = self.resolve(kind)
        return None if known is None else self.images[known]

    def stem_cells(self) -> tuple[StemCell, ...]:
        """The wanted stock, in the manifest's order."""
        return self.stock


_Count = Annotated[int, msgspec.Meta(ge=0, le=STEM_CELLS_MAX)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=STEM_CELLS_MAX)]


class _Image(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    registry: str | None = None
    prefix: str | None = None
    tag: str | None = None


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


class _Runtime(msgspec.Struct, rename="camel"):
    kind: Annotated[str, msgspec.Meta(min_length=1)]
    image: _Image
    default: bool | None = None
    stem_cells: list[_StemCell] | None = None


class _Manifest(msgspec.Struct):
    runtimes: dict[str, msgspec.Raw]


_MANIFEST = msgspec.json.Decoder(_Manifest)
_FAMILY = msgspec.json.Decoder(list[_Runtime])


def parse_manifest(text: str) -> RuntimesManifest:
    """Read RUNTIMES_MANIFEST. Raises MalformedManifest."""
    try:
        families = _MANIFEST.decode(text).runtimes
    except (*DECODE_ERRORS, UnicodeEncodeError) as problem:
        raise MalformedManifest(f"the runtimes manifest can't be read: {_why(problem)}") from None
    images: dict[str, str] = {}
    defaults: dict[str, str] = {}
    stock: list[StemCell] = []
    for family, raw in families.items():
        runtimes = _family(family, raw)
        for runtime in runtimes:
            if runtime.kind in images:
                raise MalformedManifest(f"the runtimes manifest has the kind {runtime.kind!r} twice")
            images[runtime.kind] = _image(runtime.image)
            stock += _stem_cells(runtime)
        marked = [runtime.kind for runtime in runtimes if runtime.default]
        if len(marked) > 1:
            raise MalformedManifest(f"the runtimes manifest's family {family!r} has two defaults: {', '.join(marked)}")
        if marked or len(runtimes) == 1:
            defaults[family] = marked[0] if marked else runtimes[0].kind
    return RuntimesManifest(images, defaults, tuple(stock))


def _family(family: str, raw: msgspec.Raw) -> list[_Runtime]:
    try:
        return _FAMILY.decode(raw)
    except DECODE_ERRORS as problem:
        raise MalformedManifest(f"the runtimes manifest's family {family!r} can't be read: {reason(problem)}") from None


def _image(image: _Image) -> str:
    path = "/".join([part.rstrip("/") for part in (image.registry, image.prefix, image.name) if part])
    return f"{path}:{image.tag}" if image.tag else path


def _stem_cells(runtime: _Runtime) -> Iterator[StemCell]:
    for cell in runtime.stem_cells or ():
        try:
            yield StemCell(runtime.kind, _memory_mb(cell.memory), _count(cell), _reactive(cell.reactive))
        except ValueError as problem:
            raise MalformedManifest(f"the runtimes manifest's stemCells of {runtime.kind!r}: {problem}") from None


def _count(cell: _StemCell) -> int:
    count = cell.initial_count if cell.initial_count is not None else cell.count
    if count is None:
        raise ValueError("count is missing")
    return count


def _memory_mb(text: str) -> int:
    size = parse_size(text)
    if size == 0 or size % _MB:
        raise ValueError(f"memory {text!r} is no whole number of MB above 0")
    return size // _MB


def _reactive(reactive: _Reactive | None) -> Reactive | None:
    if reactive is None:
        return None
    if reactive.min_count > reactive.max_count:
        raise ValueError(f"reactive.minCount {reactive.min_count} is more than maxCount {reactive.max_count}")
    if reactive.increment > reactive.max_count:
        raise ValueError(f"reactive.increment {reactive.increment} is more than maxCount {reactive.max_count}")
    return Reactive(
        reactive.min_count, reactive.max_count, _duration_ns(reactive.ttl), reactive.threshold, reactive.increment
    )


def _duration_ns(text: str) -> int:
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS_NS:
        raise ValueError(f"reactive.ttl {text[:40]!r} is no span of time such as 2 minutes")
    return int(match[1]) * _UNITS_NS[match[2]]


def _why(problem: Exception) -> str:
    return "it is no Unicode text" if isinstance(problem, UnicodeEncodeError) else reason(problem)

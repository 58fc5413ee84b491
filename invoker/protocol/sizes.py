"""◇ Byte sizes as people write them: `256 MB`, `1g`, `512KiB`; 1024-based in any spelling (contract, section 2)."""

from __future__ import annotations

import re

_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(\d{1,19}) ?([A-Za-z]+)", re.ASCII)
_UNIT = re.compile(r"B|[KMG](?:i?B)?", re.IGNORECASE)
SIZE_BYTES_MAX = (1 << 63) - 1


def parse_size(text: str) -> int:
    """The size in bytes. Raises ValueError naming what is wrong: no unit, a fraction, another unit, beyond 2^63 - 1."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_quoted(text)} is no byte size: {_complaint(text.strip())}; an example is 256 MB")
    number, unit = match.groups()
    if _UNIT.fullmatch(unit) is None:
        raise ValueError(f"{_quoted(text)} is no byte size: the unit is not B, K, M, G, KB, MB, GB, KiB, MiB or GiB")
    size = int(number) * _UNITS[unit[0].upper()]
    if size > SIZE_BYTES_MAX:
        raise ValueError(f"{_quoted(text)} is no byte size: it is larger than 2^63 - 1 bytes")
    return size


def format_size(n: int) -> str:
    """Bytes in the largest unit that needs no fraction: `256 MB`, `1 GB`, `1536 B`; 0 is `0 B`."""
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if n and n % scale == 0:
            return f"{n // scale} {unit}"
    return f"{n} B"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _complaint(text: str) -> str:
    if re.fullmatch(r"\d+", text, re.ASCII):
        return "it has no unit" if len(text) <= 19 else "it is far too large"
    if re.match(r"\d+[.,]\d", text, re.ASCII):
        return "a fraction is not allowed"
    return "it is not an integer and a unit"

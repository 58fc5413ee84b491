"""◇ Values as people write them, `16 GB` or `10 min`, to the integers that the simulator counts in.

Sizes and spans are read by the invoker's own parsers; besides, spans may be in days, and their units may be words.
Functions raise ValueError with words that follow a setting's name.
"""

from __future__ import annotations

import re
from typing import Any, Final

from invoker.protocol.sizes import parse_size

_MB = 1 << 20
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)", re.IGNORECASE)
_WORDS: Final = {
    "us": "us", "µs": "us", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m", "hour": "h", "hours": "h",
}  # fmt: skip
_DAYS: Final = ("d", "day", "days")
_SCALES_NS: Final = {"_ns": 1, "_ms": 1_000_000, "_s": 1_000_000_000}


def span_ns(text: str) -> int:
    """`250 ms`, `1.5 s`, `10 min`, `2 h` or `1 day` in ns. Raises ValueError."""
    from invoker.config.values import parse_duration_ns  # at its first use: it brings the invoker's settings along

    found = _SPAN.fullmatch(text.strip())
    if found and found[2] in _DAYS:
        return 24 * parse_duration_ns(f"{found[1]}h")
    try:
        return parse_duration_ns(f"{found[1]}{_WORDS.get(found[2], found[2])}" if found else text)
    except ValueError:
        raise ValueError(f"is {text!r}, and wants a span of time: a number and ms, s, min, h or d") from None


def size_mb(text: str) -> int:
    """`512 MB` or `16 GB` in MB of 1,048,576 bytes. Raises ValueError, also where it is no whole number of them."""
    size_bytes = parse_size(text)
    if size_bytes % _MB:
        raise ValueError(f"is {text!r}, and wants a whole number of MB")
    return size_bytes // _MB


def measured(text: str, unit: str) -> int | float:
    """A size or span in the unit that a setting's name ends in (`_mb`, `_s`, ...). Raises ValueError."""
    if unit == "_mb":
        return size_mb(text)
    if unit == "_bytes":
        return parse_size(text)
    number = span_ns(text)
    scale_ns = _SCALES_NS[unit]
    return number // scale_ns if number % scale_ns == 0 else number / scale_ns


def number(text: str) -> int | float | None:
    """A plain number (`3`, `1e9`, `10_000`), or None."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def words(value: Any) -> str:
    """A value as an error names it."""
    shown = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."

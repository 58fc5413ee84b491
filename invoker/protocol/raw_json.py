"""◇ JSON whose values stay as they were written, also the ones that no decoder of ours would give back unchanged.

`msgspec.Raw` keeps a value's bytes after checking that they are JSON. One legal form it refuses: an escape of half a
surrogate pair ("\\\\ud83d" alone), which JavaScript writes when it cuts a string in two. So where decoding fails,
such an escape's backslash is masked by the byte 0xFF and decoding is tried once more: 0xFF is no part of any UTF-8
text, so the mask can't be mistaken, and Raw doesn't look at the bytes of a string. A string that we do decode refuses
the mask, as it must: half a pair is no text.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bytes: wrong JSON or types, broken UTF-8, nesting beyond Python's recursion limit."""

_MASK = b"\xff"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"(?:\\[^u]"  # an escaped backslash doesn't begin an escape
    rb"|\\u(?![dD][89a-fA-F])"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair
    rb"|[^\\]++)++"  # all that is fine at once and without a way back: a megabyte of backslashes must cost nothing
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half a pair
)


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8, as JSON between systems has to be."""
    if data.isascii():
        return True
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decode_masked(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode UTF-8 bytes; Raw values in the answer need `unmask`. Raises one of DECODE_ERRORS."""
    try:
        return decoder.decode(data)
    except (msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        raise
    except msgspec.DecodeError:
        if _SURROGATE.search(data) is None:
            raise
        return decoder.decode(_ESCAPE.sub(_masked, data))


def unmask(raw: msgspec.Raw | bytes) -> bytes:
    """A Raw value's bytes as they were written."""
    data = bytes(raw)
    return data.replace(_MASK, b"\\") if _MASK in data else data


def is_json(data: bytes) -> bool:
    """Whether the bytes are one JSON value in UTF-8, half surrogate pairs allowed."""
    if not is_utf8(data):
        return False
    try:
        decode_masked(_RAW, data)
    except DECODE_ERRORS:
        return False
    return True


def reason(problem: Exception) -> str:
    """What a decoder complained of, in words that show nothing of the data."""
    if isinstance(problem, UnicodeDecodeError):
        return "a string is no Unicode text"
    if isinstance(problem, RecursionError):
        return "it is nested too deeply"
    return str(problem)


def _masked(escape: re.Match[bytes]) -> bytes:
    half = escape.group(1)
    return escape.group() if half is None else _MASK + half[1:]


_RAW = msgspec.json.Decoder(msgspec.Raw)

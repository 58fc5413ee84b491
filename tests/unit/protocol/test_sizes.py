"""Byte sizes: what is read, what is refused with which words, and that what is printed can be read."""

from __future__ import annotations

import pytest

from invoker.protocol.sizes import format_size, parse_size

pytestmark = pytest.mark.contract("2")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("1 B", 1),
        ("512b", 512),
        ("1k", 1024),
        ("1 KB", 1024),
        ("1kib", 1024),
        ("256 MB", 256 << 20),
        ("256m", 256 << 20),
        ("2 MiB", 2 << 20),
        ("1G", 1 << 30),
        ("3 GB", 3 << 30),
        ("4GiB", 4 << 30),
        (" 1 GB ", 1 << 30),
        ("9223372036854775807 B", (1 << 63) - 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("256", "no unit"),
        ("1.5 GB", "a fraction"),
        ("1,5 GB", "a fraction"),
        ("5 TB", "the unit is not"),
        ("5 Mb/s", "not an integer and a unit"),
        ("5 Ki", "the unit is not"),
        ("5 bytes", "the unit is not"),
        ("-5 MB", "not an integer and a unit"),
        ("MB", "not an integer and a unit"),
        ("", "not an integer and a unit"),
        ("٣ MB", "not an integer and a unit"),
        ("9223372036854775808 B", "larger than"),
        ("9999999999 GB", "larger than"),
        ("9" * 100_000, "far too large"),
        ("9" * 100_000 + "MB", "not an integer and a unit"),
        (" " * 100_000, "not an integer and a unit"),
    ],
)
def test_no_sizes(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_size(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1536 B"),
        (1024, "1 KB"),
        (256 << 20, "256 MB"),
        (1 << 30, "1 GB"),
        (1025 << 20, "1025 MB"),
        (2048 << 30, "2048 GB"),
    ],
)
def test_printed_sizes(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size

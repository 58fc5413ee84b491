"""Frames to lines, lines to logs: sentinels, limits, what is cut, and what belongs to whom."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from invoker.errors import PlatformFault
from invoker.protocol.logs import (
    LINE_BYTES_MAX,
    NO_SENTINELS,
    SENTINEL,
    UNARMED_LIMIT_BYTES,
    CollectedLog,
    FrameDecoder,
    LogCollector,
    MalformedFrame,
    format_time,
)

pytestmark = pytest.mark.contract("10")

NOW_NS = 1_700_000_000_123_456_789
TIME = "2023-11-14T22:13:20.123456789Z"
END = SENTINEL + b"\n"
OUT, ERR = f"{TIME} stdout: ", f"{TIME} stderr: "
HEAD_BYTES = len(OUT)
PLENTY_BYTES = 10_000_000


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def collector(limit_bytes: int = PLENTY_BYTES) -> LogCollector:
    log = LogCollector()
    log.arm(limit_bytes)
    return log


def finish(log: LogCollector) -> CollectedLog:
    for stream in (1, 2):
        log.feed(stream, END, NOW_NS)
    assert log.complete
    return log.take(NOW_NS)


# --- frames ---------------------------------------------------------------------------------------------------------


FRAMES = [(1, b"out\n"), (1, b"more"), (2, b""), (2, b"err\n"), (1, b""), (1, b"x" * 300), (2, b"\x01\x00\x00\x00")]
STREAM = b"".join(frame(*each) for each in FRAMES)


def by_stream(pieces: list[tuple[int, bytes]]) -> dict[int, bytes]:
    return {stream: b"".join(piece for which, piece in pieces if which == stream) for stream in (1, 2)}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 11, 64, 1000])
def test_frames_come_through_whatever_the_cuts(size: int) -> None:
    decoder = FrameDecoder()
    pieces = [piece for at in range(0, len(STREAM), size) for piece in decoder.feed(STREAM[at : at + size])]
    assert by_stream(pieces) == by_stream(FRAMES)


def test_neighbouring_frames_of_a_stream_come_as_one_and_order_is_kept() -> None:
    data = frame(1, b"a\n") + frame(1, b"b\n") + frame(2, b"c\n") + frame(1, b"d\n")
    assert list(FrameDecoder().feed(data)) == [(1, b"a\nb\n"), (2, b"c\n"), (1, b"d\n")]


def test_a_large_frame_is_passed_on_as_it_comes() -> None:
    """A head may announce 4 GiB; nothing of it is kept."""
    decoder = FrameDecoder()
    assert list(decoder.feed(struct.pack(">BxxxL", 2, 0xFFFFFFFF))) == []
    assert list(decoder.feed(b"x" * 100_000)) == [(2, b"x" * 100_000)]
    assert list(decoder.feed(b"")) == []


@pytest.mark.parametrize(
    "head", [b"\x00\0\0\0", b"\x03\0\0\0", b"\x01\0\0\1", b"\x02\1\0\0", b"HTTP", b"\xff\xff\xff\xff"]
)
def test_a_head_that_is_none_breaks_the_stream_for_good(head: bytes) -> None:
    decoder = FrameDecoder()
    fed = decoder.feed(frame(1, b"good") + head + b"\0\0\0\4" + b"data")
    assert next(fed) == (1, b"good")
    with pytest.raises(MalformedFrame):
        next(fed)
    with pytest.raises(MalformedFrame):
        list(decoder.feed(frame(1, b"good again")))
    assert issubclass(MalformedFrame, PlatformFault)


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (NOW_NS, TIME),
        (NOW_NS // 1000 * 1000, "2023-11-14T22:13:20.123456Z"),
        (1_709_164_800_500_000_000, "2024-02-29T00:00:00.5Z"),
        (951_782_399_999_999_999, "2000-02-28T23:59:59.999999999Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
    ],
)
def test_time(now_ns: int, text: str) -> None:
    assert format_time(now_ns) == text.ljust(30)


def test_time_agrees_with_the_calendar_on_every_day() -> None:
    for day in range(0, 366 * 200, 1):
        seconds = day * 86_400 + day * 7 % 86_400
        assert format_time(seconds * 10**9).rstrip() == datetime.fromtimestamp(seconds, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )


# --- lines ----------------------------------------------------------------------------------------------------------


def test_lines_of_both_streams_in_the_order_they_came() -> None:
    log = collector()
    log.feed(1, b"one\ntwo\n", NOW_NS)
    log.feed(2, b"three\n", NOW_NS)
    log.feed(1, b"\nfive\r\n", NOW_NS)
    got = finish(log)
    lines = [OUT + "one", OUT + "two", ERR + "three", OUT, OUT + "five"]
    assert got == CollectedLog(lines, sum(map(len, lines)), complete=True, truncated=False)


@pytest.mark.parametrize("size", [1, 2, 5, 17, 40])
def test_lines_come_together_whatever_the_cuts(size: int) -> None:
    text = "a\r\nélan 😀\n\nlast ".encode() + SENTINEL + b"\r\n"
    log = collector()
    for at in range(0, len(text), size):
        log.feed(1, text[at : at + size], NOW_NS)
    log.feed(2, END, NOW_NS)
    assert log.complete
    assert log.take(NOW_NS).lines == [OUT + "a", OUT + "élan 😀", OUT, OUT + "last "]


@pytest.mark.contract("19")
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"x" + END, ["x"]),
        (SENTINEL + b" x\n" + END, [SENTINEL.decode() + " x"]),
        (SENTINEL + END, [SENTINEL.decode()]),
        (b"a\nb" + SENTINEL + b"\r\n", ["a", "b"]),
        (SENTINEL[1:] + b"\n" + END, [SENTINEL[1:].decode()]),
    ],
)
def test_a_line_that_ends_with_the_sentinel_is_one(text: bytes, lines: list[str]) -> None:
    log = collector()
    log.feed(2, END, NOW_NS)
    log.feed(1, text, NOW_NS)
    assert log.complete
    assert log.take(NOW_NS).lines == [OUT + line for line in lines]


def test_both_sentinels_are_needed() -> None:
    log = collector()
    assert not log.complete
    log.feed(1, END, NOW_NS)
    assert not log.complete
    log.feed(1, END, NOW_NS)
    assert not log.complete
    log.feed(2, END, NOW_NS)
    assert log.complete


def test_what_is_no_utf8_becomes_the_replacement_character() -> None:
    log = collector()
    log.feed(1, b"a\xffb\nc\xc3\n", NOW_NS)
    got = finish(log)
    assert got.lines == [OUT + "a\ufffdb", OUT + "c\ufffd"]
    assert got.size_bytes == sum(len(line.encode()) for line in got.lines)


def test_another_stream_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="streams 1 and 2"):
        collector().feed(3, b"x", NOW_NS)


# --- bounds ---------------------------------------------------------------------------------------------------------


def note(limit_bytes: int) -> str:
    return f"{ERR}Logs were truncated because the total bytes size exceeds the limit of {limit_bytes} bytes."


@pytest.mark.contract("19")
@pytest.mark.parametrize("together", [True, False])
def test_the_line_beyond_the_limit_is_replaced_and_the_rest_dropped(together: bool) -> None:
    limit_bytes = 2 * (HEAD_BYTES + 4)
    texts = [b"aaaa\n", b"bbbb\n", b"c\n", b"d\n"]
    log = collector(limit_bytes)
    for data in [b"".join(texts)] if together else texts:
        log.feed(1, data, NOW_NS)
    log.feed(2, b"late\n", NOW_NS)
    assert finish(log) == CollectedLog(
        [OUT + "aaaa", OUT + "bbbb", note(limit_bytes)], limit_bytes, complete=True, truncated=True
    )


def test_the_next_log_starts_afresh_after_a_truncated_one() -> None:
    log = collector(50)
    log.feed(1, b"too long for this\n", NOW_NS)
    assert finish(log).truncated
    log.arm(PLENTY_BYTES)
    log.feed(1, b"fine\n", NOW_NS)
    assert finish(log).lines == [OUT + "fine"]


def test_the_limit_counts_bytes_as_they_are_stored() -> None:
    log = collector(HEAD_BYTES + 4)
    log.feed(1, "éé\n".encode(), NOW_NS)
    assert not finish(log).truncated
    log.arm(HEAD_BYTES + 4)
    log.feed(1, b"\xff\xff\n", NOW_NS)  # two bytes that become six
    assert finish(log).truncated


@pytest.mark.contract("19")
def test_a_limit_of_nothing_allows_nothing() -> None:
    log = collector(0)
    log.feed(1, b"\n", NOW_NS)
    assert finish(log) == CollectedLog([note(0)], 0, complete=True, truncated=True)
    log.arm(0)
    assert finish(log) == CollectedLog([], 0, complete=True, truncated=False)


def test_a_long_line_is_cut_in_pieces() -> None:
    log = collector()
    log.feed(1, b"x" * (2 * LINE_BYTES_MAX + 10) + b"\n", NOW_NS)
    assert [len(line) - HEAD_BYTES for line in finish(log).lines] == [LINE_BYTES_MAX, LINE_BYTES_MAX, 10]


def test_a_line_without_end_is_cut_as_it_comes() -> None:
    log = collector()
    for _ in range(3 * LINE_BYTES_MAX // 1000):
        log.feed(1, b"x" * 1000, NOW_NS)
    log.feed(1, SENTINEL + b"\n", NOW_NS)
    log.feed(2, END, NOW_NS)
    texts = [line[HEAD_BYTES:] for line in log.take(NOW_NS).lines]
    assert "".join(texts) == "x" * (3 * LINE_BYTES_MAX // 1000 * 1000)
    assert max(map(len, texts)) <= LINE_BYTES_MAX


@pytest.mark.parametrize("early", [0, 1, 17, len(SENTINEL) - 1, len(SENTINEL)])
@pytest.mark.parametrize("size", [1000, LINE_BYTES_MAX * 2])
def test_a_cut_never_hides_a_sentinel(early: int, size: int) -> None:
    """The sentinel lies across the place where the long line is cut."""
    text = b"x" * (LINE_BYTES_MAX - early) + SENTINEL
    log = collector()
    log.feed(2, END, NOW_NS)
    for at in range(0, len(text), size):
        log.feed(1, text[at : at + size], NOW_NS)
    log.feed(1, b"\n", NOW_NS)
    assert log.complete
    assert "".join(line[HEAD_BYTES:] for line in log.take(NOW_NS).lines) == "x" * (LINE_BYTES_MAX - early)


def test_a_cut_never_splits_a_character() -> None:
    text = "x" + "😀" * (LINE_BYTES_MAX // 2)
    for size in (1000, len(text) * 4):
        log = collector()
        data = text.encode()
        for at in range(0, len(data), size):
            log.feed(1, data[at : at + size], NOW_NS)
        log.feed(1, b"\n", NOW_NS)
        assert "".join(line[HEAD_BYTES:] for line in finish(log).lines) == text


# --- activations ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("19")
def test_output_between_activations_opens_the_next_log() -> None:
    log = collector()
    log.feed(1, b"first\n", NOW_NS)
    log.feed(1, END + b"between\n", NOW_NS)
    log.feed(2, END, NOW_NS)
    assert log.take(NOW_NS).lines == [OUT + "first"]
    log.feed(2, b"idle\n", NOW_NS)
    log.arm(PLENTY_BYTES)
    log.feed(1, b"second\n", NOW_NS)
    assert finish(log).lines == [OUT + "between", ERR + "idle", OUT + "second"]


def test_output_before_the_first_activation_is_bounded_too() -> None:
    log = LogCollector()
    for _ in range(100):
        log.feed(1, b"x" * 9_999 + b"\n", NOW_NS)
    limit_bytes = 3 * (HEAD_BYTES + 9_999)
    log.arm(limit_bytes)
    got = finish(log)
    assert got.size_bytes <= UNARMED_LIMIT_BYTES
    assert got.truncated


def test_a_limit_known_late_counts_for_what_lies_there() -> None:
    log = LogCollector()
    log.feed(1, b"a\nb\nc\n", NOW_NS)
    log.arm(HEAD_BYTES + 1)
    assert finish(log) == CollectedLog([OUT + "a", note(HEAD_BYTES + 1)], HEAD_BYTES + 1, complete=True, truncated=True)


def test_several_activations_each_take_the_next_pair() -> None:
    log = LogCollector()
    for _ in range(3):
        log.arm(PLENTY_BYTES)
    log.feed(1, b"a\n" + END + b"b\n" + END + b"c\n", NOW_NS)
    assert not log.complete
    log.feed(2, b"A\n" + END, NOW_NS)
    assert log.complete
    assert log.take(NOW_NS).lines == [OUT + "a", ERR + "A"]
    assert not log.complete
    log.feed(2, b"B\n" + END + b"C\n" + END, NOW_NS)
    assert log.take(NOW_NS).lines == [OUT + "b", ERR + "B"]
    assert not log.complete
    log.feed(1, END, NOW_NS)
    assert log.take(NOW_NS).lines == [OUT + "c", ERR + "C"]


def test_sentinels_that_nobody_waits_for_are_dropped() -> None:
    """A function may print them itself, as many as it likes."""
    log = collector()
    for _ in range(1000):
        log.feed(1, b"fake\n" + END, NOW_NS)
        log.feed(2, END, NOW_NS)
    assert log.take(NOW_NS) == CollectedLog([OUT + "fake"], HEAD_BYTES + 4, complete=True, truncated=False)
    log.feed(1, END, NOW_NS)
    log.feed(2, END, NOW_NS)
    assert not log.complete
    log.arm(PLENTY_BYTES)
    assert not log.complete
    assert len(finish(log).lines) == 999


@pytest.mark.contract("19")
def test_a_log_without_its_sentinels_says_so() -> None:
    log = collector()
    log.feed(1, b"done\n" + END + b"next", NOW_NS)
    log.feed(2, b"unfinished", NOW_NS)
    got = log.take(NOW_NS)
    assert got == CollectedLog(
        [OUT + "done", ERR + "unfinished", ERR + NO_SENTINELS],
        2 * HEAD_BYTES + len("done" + "unfinished"),
        complete=False,
        truncated=False,
    )
    log.arm(PLENTY_BYTES)
    log.feed(1, b"\n", NOW_NS)
    assert finish(log).lines == [OUT + "next"]


@pytest.mark.contract("19")
@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("It broke", "It broke. Logs might be missing."),
        ("It broke.", "It broke. Logs might be missing."),
        ("", NO_SENTINELS),
        (None, "There was an issue while collecting your logs. Logs might be missing."),
    ],
)
def test_a_log_without_its_sentinels_names_the_error(error: str | None, line: str) -> None:
    assert collector().take(NOW_NS, error).lines == [ERR + line]


def test_a_sentinel_without_its_newline_does_not_show() -> None:
    log = collector()
    log.feed(1, b"text" + SENTINEL, NOW_NS)
    log.feed(2, SENTINEL, NOW_NS)
    assert log.take(NOW_NS).lines == [OUT + "text", ERR + NO_SENTINELS]


def test_a_whole_log_carries_no_error() -> None:
    log = collector()
    log.feed(1, END, NOW_NS)
    log.feed(2, END, NOW_NS)
    assert log.take(NOW_NS, "It broke").lines == []

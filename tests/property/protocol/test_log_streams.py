"""A container may print anything, in any pieces: its log keeps its limits, and how the bytes were cut says nothing."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocol.logs import LINE_BYTES_MAX, SENTINEL, CollectedLog, FrameDecoder, LogCollector, MalformedFrame
from tests.property.protocol.mutations import SEED

ROUNDS = 25_000
LOG_ROUNDS = 5_000
NOW_NS = 1_700_000_000_123_456_789
HEAD_COLUMNS = 39  # of a formatted line, before its text

PIECES = [
    *(
        b"",
        b"\n",
        b"\r\n",
        b"\r",
        b"text",
        b"more text\n",
        b"two\nlines\n",
        b"\xff\n",
        "ümläut\n".encode(),
        b"\xe2\x82",
    ),
    *(SENTINEL, SENTINEL + b"\n", SENTINEL + b"\r\n", b"text before " + SENTINEL + b"\n", SENTINEL + b" behind\n"),
    *(SENTINEL[:20], SENTINEL[20:] + b"\n", b"x" * 5000, b"y" * LINE_BYTES_MAX, b"\0"),
]
HEADS = [*(b"\1\0\0\0", b"\2\0\0\0"), *(b"\0\0\0\0", b"\3\0\0\0", b"\1\0\1\0", b"\xff\xff\xff\xff", b"\1")]


def frame(stream: int, payload: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(payload)) + payload


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The same bytes in up to five pieces, empty ones too."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(5)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def decoded(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """What came on each stream, and whether the frames broke."""
    decoder = FrameDecoder()
    streams = [b"", b"", b""]
    try:
        for piece in pieces:
            for stream, data in decoder.feed(piece):
                streams[stream] += data
    except MalformedFrame:
        return streams, True
    return streams, False


def test_frames_are_passed_on_or_refused_however_they_are_cut() -> None:
    rng = random.Random(SEED)
    broken = 0
    for each in range(ROUNDS):
        data = b"".join(frame(rng.choice((1, 2)), rng.choice(PIECES[:15])) for _ in range(rng.randrange(4)))
        if rng.random() < 0.5:
            place = rng.randrange(len(data) + 1)
            data = data[:place] + rng.choice(HEADS) + data[place + rng.randrange(5) :]
        whole, refused = decoded([data])
        assert decoded(cut(rng, data)) == (whole, refused), f"FUZZ_SEED={SEED}, round {each}: {data!r}"
        assert sum(map(len, whole)) <= len(data)
        broken += refused
    assert ROUNDS // 20 < broken < ROUNDS


def test_a_broken_stream_stays_broken() -> None:
    decoder = FrameDecoder()
    for data in (b"\7\0\0\0\0\0\0\1a", frame(1, b"text")):
        try:
            got = list(decoder.feed(data))
        except MalformedFrame:
            continue
        raise AssertionError(f"passed on: {got}")


@pytest.mark.contract("10")
def test_any_output_keeps_a_log_within_its_limits() -> None:
    rng = random.Random(SEED)
    for each in range(LOG_ROUNDS):
        collector = LogCollector()
        limit_bytes = rng.choice((0, 40, 100, 1000, 100_000, 1_000_000))
        armed = rng.randrange(4)
        for _ in range(armed):
            collector.arm(limit_bytes)
        for _ in range(rng.randrange(12)):
            collector.feed(rng.choice((1, 2)), rng.choice(PIECES), NOW_NS)
        for _ in range(armed + 1):
            check(collector.take(NOW_NS), limit_bytes if armed else 256 * 1024, f"FUZZ_SEED={SEED}, round {each}")


def check(log: CollectedLog, limit_bytes: int, where: str) -> None:
    notes = log.truncated + (not log.complete)
    kept = [line for line in log.lines if not (notes and "ogs " in line and line[31:38] == "stderr:")]
    assert len(log.lines) - len(kept) == notes, where
    assert sum(len(line.encode()) for line in kept) == log.size_bytes <= limit_bytes, where
    for line in log.lines:
        assert line[30:39] in (" stdout: ", " stderr: "), where
        assert "\n" not in line, where
        assert len(line.encode()) <= HEAD_COLUMNS + 3 * LINE_BYTES_MAX, where  # a broken byte becomes U+FFFD


@pytest.mark.contract("10")
def test_a_stream_without_end_or_newline_is_cut_and_not_kept() -> None:
    """Memory while 64 MiB go by: a pending line and a full log, whatever the function prints."""
    collector = LogCollector()
    collector.arm(1000)
    block = b"z" * 65_536
    for _ in range(1024):
        collector.feed(1, block, NOW_NS)
    log = collector.take(NOW_NS)
    assert log.truncated
    assert log.size_bytes <= 1000
    assert len(log.lines) == 2


# --- the same lines, however they were cut, as a simple reading of the whole text gives ----------------------------

TEXTS = st.lists(
    st.sampled_from([b"a", b"", b"line of text", "é€\U0001f600".encode(), b"bad \xff byte", b"ends\r", b"x" * 300])
    | st.binary(max_size=20).filter(lambda text: b"\n" not in text),
    max_size=8,
)
CUTS = st.lists(st.integers(0, 4000), max_size=8)


@pytest.mark.contract("10")
@given(first=TEXTS, second=TEXTS, cuts=CUTS, tail=st.booleans())
def test_lines_don_t_depend_on_how_they_were_cut(
    first: list[bytes], second: list[bytes], cuts: list[int], tail: bool
) -> None:
    """`tail`: the sentinel stands behind text on its line."""
    collector = LogCollector()
    for activation in (first, second):
        collector.arm(1_000_000)
        printed = b"".join(text + b"\n" for text in activation)
        data = printed + (b"last " if tail else b"") + SENTINEL + b"\n"
        places = sorted(place for place in cuts if place < len(data))
        for start, end in zip([0, *places], [*places, len(data)], strict=True):
            collector.feed(1, data[start:end], NOW_NS)
        assert not collector.complete
        collector.feed(2, SENTINEL + b"\n", NOW_NS)
        assert collector.complete
        log = collector.take(NOW_NS)
        lines = [text.removesuffix(b"\r") for text in activation] + [b"last "] * tail
        assert [line[HEAD_COLUMNS:] for line in log.lines] == [line.decode("utf-8", "replace") for line in lines]
        assert log.complete


@pytest.mark.contract("10")
@given(st.lists(st.sampled_from([1, 2]), max_size=12), st.integers(1, 4))
def test_the_nth_pair_of_sentinels_closes_the_nth_log(order: list[int], at_once: int) -> None:
    """Several activations at once: each stream's n-th text belongs to the n-th log, whatever the streams' order."""
    collector = LogCollector()
    for _ in range(at_once):
        collector.arm(10_000)
    seen = {1: 0, 2: 0}
    for stream in [*order, *[1] * at_once, *[2] * at_once]:
        if seen[stream] < at_once:
            seen[stream] += 1
            collector.feed(stream, b"%d of %d\n" % (seen[stream], stream) + SENTINEL + b"\n", NOW_NS)
    for number in range(1, at_once + 1):
        assert collector.complete
        log = collector.take(NOW_NS)
        assert sorted(line[HEAD_COLUMNS:] for line in log.lines) == [f"{number} of 1", f"{number} of 2"]
    assert not collector.complete

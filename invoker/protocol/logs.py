"""◇ A container's output: Docker's frames become lines, and those between two sentinels a log (contract, section 10).

After every run the runtime prints a sentinel line on each stream; text before the sentinel on its line is a line still.
Everything up to the n-th sentinel of a stream belongs to the n-th activation that finishes in the container, so output
that comes between two activations opens the next log, and with several activations at once each takes the next whole
pair. A sentinel that no armed activation waits for is one that the function printed itself, and is dropped: the number
of logs that wait to be taken is bounded by the number of activations.

Bounded, whatever a container prints: a frame's payload is passed on as it comes, an unfinished line is cut at 256
KiB, a log ends at its limit and the rest is read and dropped.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from struct import Struct

import msgspec

from invoker.errors import PlatformFault

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
LINE_BYTES_MAX = 256 * 1024
UNARMED_LIMIT_BYTES = 256 * 1024
"""What is kept of a container's output before its first activation is known."""

STDOUT, STDERR = 1, 2
NO_SENTINELS = "There was an issue while collecting your logs. Logs might be missing."

_unpack_head = Struct(">II").unpack_from  # the stream and three zero bytes, the payload's length
_HEAD_BYTES = 8
_STREAMS = {STDOUT << 24: STDOUT, STDERR << 24: STDERR}
_SENTINEL_LINE = SENTINEL + b"\n"
_TIME_COLUMNS = 30
_MARKS = (" stdout: ", " stderr: ")


class MalformedFrame(PlatformFault):
    """The stream is not what Docker sends; nothing after this place can be trusted."""


class CollectedLog(msgspec.Struct, frozen=True):
    """An activation's log. `size_bytes` counts the function's formatted lines that were kept, in UTF-8.

    `complete`: both sentinels were seen. `truncated`: lines beyond the limit were dropped.
    """

    lines: list[str]
    size_bytes: int
    complete: bool
    truncated: bool


class FrameDecoder:
    """Docker's multiplexed stream -> pieces of output. Holds at most an unfinished head, 7 bytes."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = 0
        self._left_bytes = 0  # of the payload that is being read
        self._broken = False

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream 1 or 2, piece of output) for bytes as they come; to be iterated to its end.

        Neighbouring frames of one stream are joined: a program that prints line by line makes a frame of each.
        Raises MalformedFrame, for good, at a head that is none.
        """
        if self._head:
            data, self._head = self._head + data, b""
        run: list[bytes] = []
        at, end = 0, len(data)
        stream, left = self._stream, self._left_bytes
        while at < end:
            if left == 0:
                if end - at < _HEAD_BYTES:
                    self._head = data[at:]
                    break
                mark, left = _unpack_head(data, at)
                at += _HEAD_BYTES
                following = 0 if self._broken else _STREAMS.get(mark, 0)
                if following != stream and run:
                    yield stream, b"".join(run)
                    run.clear()
                stream = following
                if stream == 0:
                    self._broken, self._left_bytes = True, 0
                    raise MalformedFrame(f"the container's output is broken: no frame of Docker begins with {mark:08x}")
            piece = data[at : at + left]
            at += len(piece)
            left -= len(piece)
            if piece:
                run.append(piece)
        self._stream, self._left_bytes = stream, left
        if run:
            yield stream, b"".join(run)


class _Segment:
    """The lines of one activation, while they come."""

    __slots__ = ("lines", "size_bytes", "truncated")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.size_bytes = 0
        self.truncated = False

    def add(self, head: str, text: bytes, limit_bytes: int) -> None:
        """Append a line; beyond the limit the note that says so, once."""
        if self.truncated:
            return
        line = head + text.decode("utf-8", "replace")
        size = len(line) if line.isascii() else len(line.encode())
        if self.size_bytes + size > limit_bytes:
            self._cut(line[:_TIME_COLUMNS], limit_bytes)
        else:
            self.lines.append(line)
            self.size_bytes += size

    def shrink(self, limit_bytes: int) -> None:
        """Drop the last lines until the limit is kept: it was not known when they came."""
        if self.truncated or self.size_bytes <= limit_bytes:
            return
        time = ""
        while self.size_bytes > limit_bytes:
            line = self.lines.pop()
            self.size_bytes -= len(line.encode())
            time = line[:_TIME_COLUMNS]
        self._cut(time, limit_bytes)

    def _cut(self, time: str, limit_bytes: int) -> None:
        self.truncated = True
        self.lines.append(
            f"{time} stderr: Logs were truncated because the total bytes size exceeds the limit of {limit_bytes} bytes."
        )


class _Stream:
    """One of the two: its unfinished line, and which of the open logs it writes to."""

    __slots__ = ("mark", "pending", "place")

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.pending = bytearray()
        self.place = 0


class LogCollector:
    """The log of one container; sans-IO. `arm` at an activation's begin, `take` at its end, `feed` at any time."""

    def __init__(self) -> None:
        self._streams = (_Stream(_MARKS[0]), _Stream(_MARKS[1]))
        self._segments: deque[_Segment] = deque((_Segment(),))
        self._limit_bytes = UNARMED_LIMIT_BYTES
        self._armed = 0  # activations begun and not yet taken
        self._time_ns, self._time = -1, ""  # the last instant, and as text

    def arm(self, limit_bytes: int) -> None:
        """An activation begins whose log may have `limit_bytes` of formatted lines, 0 for none at all.

        What lies there already counts. All activations of a container are of one action, so have one limit.
        """
        self._limit_bytes = limit_bytes
        self._armed += 1
        for segment in self._segments:
            segment.shrink(limit_bytes)

    @property
    def complete(self) -> bool:
        """Whether the next log to be taken has both its sentinels."""
        return self._streams[0].place > 0 and self._streams[1].place > 0

    def feed(self, stream: int, data: bytes, now_ns: int) -> None:
        """Take output of stream 1 or 2 (ValueError otherwise) that came at the Unix instant `now_ns`."""
        if stream not in (STDOUT, STDERR):
            raise ValueError(f"a container has the streams 1 and 2, not {stream}")
        source = self._streams[stream - 1]
        pending = source.pending
        if data == _SENTINEL_LINE and not pending:
            self._close(source)
            return
        if data.endswith(b"\n") and not pending:
            self._lines(source, data, self._line_head(source, now_ns))
            return
        first = data.find(b"\n")
        if first < 0:
            pending += data
        else:
            head = self._line_head(source, now_ns)
            if pending:
                pending += data[:first]
                self._cut(source, head)
                self._line(source, bytes(pending), head)
                pending.clear()
                first += 1
            else:
                first = 0
            last = data.rfind(b"\n") + 1
            if first < last:
                self._lines(source, data[first:last], head)
            pending += data[last:]
        if len(pending) >= LINE_BYTES_MAX + len(SENTINEL):
            self._cut(source, self._line_head(source, now_ns))

    def _line_head(self, source: _Stream, now_ns: int) -> str:
        """What stands before the text of a line that comes now."""
        if now_ns != self._time_ns:
            self._time_ns, self._time = now_ns, format_time(now_ns)
        return self._time + source.mark

    def take(self, now_ns: int, error: str | None = None) -> CollectedLog:
        """The next log: whole where `complete`, else what there is and a line that says so, or why (`error`)."""
        complete = self.complete
        if not complete:
            self._flush(now_ns)
        segment = self._segments.popleft()
        if not complete:
            segment.lines.append(f"{format_time(now_ns)} stderr: {_missing(error)}")
        for source in self._streams:
            source.place = max(0, source.place - 1)
        if not self._segments:
            self._segments.append(_Segment())
        self._armed = max(0, self._armed - 1)
        return CollectedLog(segment.lines, segment.size_bytes, complete, segment.truncated)

    def _flush(self, now_ns: int) -> None:
        """Make lines of what is unfinished in the log that is about to be taken: its end will not come."""
        for source in self._streams:
            if source.place == 0 and source.pending:
                text = bytes(source.pending).removesuffix(b"\r").removesuffix(SENTINEL)
                source.pending.clear()
                if text:
                    self._pieces(source, text, self._line_head(source, now_ns))

    def _lines(self, source: _Stream, block: bytes, head: str) -> None:
        """Take whole lines, their newlines included."""
        at = 0
        while (found := block.find(SENTINEL, at)) >= 0:
            begin = max(block.rfind(b"\n", at, found) + 1, at)
            if begin > at:
                self._plain(source, block[at:begin], head)
            end = block.find(b"\n", found)
            self._line(source, block[begin:end], head)
            at = end + 1
        if at < len(block):
            self._plain(source, block[at:] if at else block, head)

    def _plain(self, source: _Stream, block: bytes, head: str) -> None:
        """Take whole lines without a sentinel: all at once where nothing is to be cut, else one by one."""
        segment = self._segments[source.place]
        if segment.truncated:
            return
        size = len(block) + block.count(b"\n") * (len(head) - 1)
        if len(block) <= LINE_BYTES_MAX and segment.size_bytes + size <= self._limit_bytes and b"\r" not in block:
            try:
                text = str(block, "utf-8")
            except UnicodeDecodeError:
                pass
            else:
                segment.lines += [head + line for line in text[:-1].split("\n")]
                segment.size_bytes += size
                return
        for line in block[:-1].split(b"\n"):
            self._pieces(source, line.removesuffix(b"\r"), head)

    def _line(self, source: _Stream, line: bytes, head: str) -> None:
        """Take one line, without its newline, that may end in a sentinel."""
        line = line.removesuffix(b"\r")
        text = line.removesuffix(SENTINEL)
        if len(text) == len(line):
            self._pieces(source, line, head)
            return
        if text:
            self._pieces(source, text, head)
        self._close(source)

    def _close(self, source: _Stream) -> None:
        """The stream's sentinel was seen: what follows belongs to the next log."""
        if source.place >= self._armed:
            return
        source.place += 1
        if source.place == len(self._segments):
            self._segments.append(_Segment())

    def _pieces(self, source: _Stream, text: bytes, head: str) -> None:
        segment = self._segments[source.place]
        at = 0
        while len(text) - at > LINE_BYTES_MAX:
            cut = _character_boundary(text, at + LINE_BYTES_MAX)
            segment.add(head, text[at:cut], self._limit_bytes)
            at = cut
        segment.add(head, text[at:] if at else text, self._limit_bytes)

    def _cut(self, source: _Stream, head: str) -> None:
        """Make pieces of an unfinished line that is too long, but never cut a sentinel in two."""
        pending = source.pending
        segment = self._segments[source.place]
        while len(pending) >= LINE_BYTES_MAX + len(SENTINEL):
            across = pending.find(SENTINEL, LINE_BYTES_MAX - len(SENTINEL) + 1, LINE_BYTES_MAX + len(SENTINEL) - 1)
            cut = across if across >= 0 else _character_boundary(pending, LINE_BYTES_MAX)
            segment.add(head, bytes(pending[:cut]), self._limit_bytes)
            del pending[:cut]


def format_time(now_ns: int) -> str:
    """A Unix instant in nanoseconds as RFC 3339 in UTC, up to 9 digits of a second, padded to 30 columns."""
    seconds, fraction_ns = divmod(now_ns, 1_000_000_000)
    if fraction_ns == 0:
        return (_second(seconds) + "Z").ljust(_TIME_COLUMNS)
    return f"{_second(seconds)}.{f'{fraction_ns:09d}'.rstrip('0')}Z".ljust(_TIME_COLUMNS)


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    """A Unix second as `2026-01-31T23:59:59`, by the calendar's rule of 400 years (`datetime` has a clock)."""
    days, second = divmod(seconds, 86_400)
    days += 719_468  # since 1 March of the year 0, so that a leap day ends its year
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153  # March is 0
    day = day_of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    year = year_of_era + era * 400 + (month <= 2)
    minute, second = divmod(second, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{minute // 60:02d}:{minute % 60:02d}:{second:02d}"


def _character_boundary(text: bytes | bytearray, at: int) -> int:
    """The nearest place at or shortly before `at` that doesn't cut a character of UTF-8 in two."""
    for place in range(at, at - 4, -1):
        if text[place] & 0xC0 != 0x80:
            return place
    return at


def _missing(error: str | None) -> str:
    if not error:
        return NO_SENTINELS
    return f"{error if error.endswith('.') else error + '.'} Logs might be missing."

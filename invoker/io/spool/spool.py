"""◆ The spool: activation records on disk, in order, from the moment they are made until CouchDB has confirmed them.

A directory of segments, files of frames that are only ever appended to. A frame is a record's length and a checksum of
both before the record itself, so the torn end that a crash leaves is recognised; a new life appends to a segment of its
own, never behind a torn end. What is confirmed is told by one small file, replaced in one step, and by segments that
are gone. It may lag behind a crash: then some records are sent twice, and CouchDB knows them by their `_id`.

A write survives the end of this process, kill -9 included. With `sync="group"` it is on the disk before `append`
returns and survives a power cut as well.

Everything here blocks and belongs to one thread (`spool_thread`). A directory belongs to one process, by a lock on a
file.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from invoker.errors import PlatformFault
from invoker.io.spool.settings import SpoolSettings
from invoker.protocol.sizes import format_size

log = logging.getLogger(__name__)

MAGIC = b"FNSPOOL1"
HEAD = struct.Struct("<II")  # of a frame: length of the record in bytes, checksum of length and record
_LENGTH = struct.Struct("<I")


class Position(NamedTuple):
    """A place in the spool: everything before it. Places compare in the order of the records."""

    segment: int
    offset: int


class Batch(NamedTuple):
    """The oldest records that are not confirmed, and the place after the last of them."""

    records: list[bytes]
    end: Position


class Told(NamedTuple):
    """Who learns of what is lost, in the spool's thread. `dropped` gets the records; `damaged` a count of bytes."""

    dropped: Callable[[list[bytes]], None]
    damaged: Callable[[int], None]


class _Frames(NamedTuple):
    records: list[bytes]
    end: int  # offset after the last of them
    sound: bool  # False: what follows is no frame


class Spool:
    """The records of one invoker. `open` first; after `close` nothing. Raises PlatformFault where the disk fails."""

    def __init__(self, settings: SpoolSettings, told: Told) -> None:
        self._settings = settings
        self._told = told
        self._directory = Path(settings.directory)
        self.held_bytes = 0
        """What is not confirmed yet; may be read from any thread."""
        self._sizes: dict[int, int] = {}  # of each segment, oldest first
        self._head = Position(1, len(MAGIC))
        self._next = 1
        self._writing = -1  # file descriptor of the newest segment, where it is this life's
        self._lock = -1

    def open(self) -> None:
        """Make or find the directory, take its lock, and look what a former life has left."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            self._find()
        except OSError as problem:
            self.close()
            raise PlatformFault(
                f"the spool of records can't be kept in {self._directory}: {problem.strerror}; see SPOOL_DIR"
            ) from problem

    def close(self) -> None:
        """Let the files go. Twice is once."""
        for descriptor in (self._writing, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._writing = self._lock = -1

    def append(self, records: Sequence[bytes]) -> None:
        """Write all of them, or none. Makes room by dropping the oldest segments where the spool is full."""
        data = b"".join(frame(record) for record in records)
        if len(data) + len(MAGIC) > self._settings.spool_bytes:
            raise PlatformFault(
                f"{format_size(len(data))} of records are more than the whole spool may hold; raise SPOOL_BYTES"
            )
        try:
            self._make_room(len(data) + len(MAGIC))
            self._write(data)
        except OSError as problem:
            raise PlatformFault(
                f"the spool in {self._directory} can't be written: {problem.strerror}; make room on the disk"
            ) from problem
        finally:
            self._count()

    def read(self, bytes_max: int) -> Batch:
        """The oldest records, as many as `bytes_max` hold with their frames, at least one where there is any."""
        records: list[bytes] = []
        end = self._head
        left = bytes_max
        for number in list(self._sizes):
            offset = self._head.offset if number == self._head.segment else len(MAGIC)
            found = self._frames(number, offset, left, at_least_one=not records)
            records += found.records
            left -= found.end - offset
            end = Position(number, found.end)
            if not found.sound:
                self._skip_damage(number, found.end)
                end = Position(number, self._sizes[number])
            elif found.end < self._sizes[number]:  # there is more, and no room for it
                break
        return Batch(records, end)

    def acknowledge(self, end: Position) -> None:
        """Everything before `end` is confirmed: forget it. A place that was dropped meanwhile changes nothing."""
        if end <= self._head:
            return
        self._head = end
        try:
            if end.segment == self._newest and end.offset >= self._sizes.get(end.segment, 0):
                self._end_segment()  # nothing is left: the file can go as well
                self._head = Position(self._next, len(MAGIC))
            self._note_head()
            for number in [number for number in self._sizes if number < self._head.segment]:
                self._unlink(number)
        except OSError as problem:
            raise PlatformFault(
                f"the spool in {self._directory} can't note what is confirmed: {problem.strerror}"
            ) from problem
        finally:
            self._count()

    def reject(self, record: bytes, reason: str) -> None:
        """Set a record aside that CouchDB refuses: a line of JSON in rejected.jsonl, the former half of it beside."""
        line = _rejected(record, reason)
        path = self._directory / "rejected.jsonl"
        try:
            if path.exists() and path.stat().st_size + len(line) > self._settings.rejected_bytes // 2:
                if path.with_suffix(".1.jsonl").exists():
                    log.warning("the oldest of the records that were set aside make room: see SPOOL_REJECTED_BYTES")
                path.replace(path.with_suffix(".1.jsonl"))
            with open(path, "ab", opener=_private) as file:
                file.write(line)
        except OSError as problem:
            raise PlatformFault(f"{path} can't be written: {problem.strerror}; make room on the disk") from problem

    # --- segments -----------------------------------------------------------------------------------------------

    @property
    def _newest(self) -> int:
        return next(reversed(self._sizes), 0)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:016d}.spool"

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise PlatformFault(
                f"another invoker uses the spool in {self._directory}; give each one its own SPOOL_DIR"
            ) from None

    def _find(self) -> None:
        found = {int(path.stem): path.stat().st_size for path in self._directory.glob("*.spool") if path.stem.isdigit()}
        self._sizes = dict(sorted(found.items()))
        noted = Position(0, 0)
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            noted = msgspec.json.decode((self._directory / "confirmed").read_bytes(), type=Position)
        self._next = max(self._newest, noted.segment) + 1
        for number in [number for number in self._sizes if number < noted.segment]:
            self._unlink(number)
        first = next(iter(self._sizes), self._next)
        self._head = Position(first, len(MAGIC))
        if noted.segment == first:
            self._head = Position(first, min(noted.offset, self._sizes.get(first, noted.offset)))
        self._count()

    def _count(self) -> None:
        confirmed = self._head.offset if self._head.segment in self._sizes else 0
        self.held_bytes = max(0, sum(self._sizes.values()) - confirmed)

    def _write(self, data: bytes) -> None:
        if self._writing < 0:
            self._begin_segment()
        start = self._sizes[self._newest]
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._writing, view) :]
            if self._settings.sync == "group":
                os.fdatasync(self._writing)
        except OSError:
            self._take_back(start)
            raise
        self._sizes[self._newest] = start + len(data)
        if self._sizes[self._newest] >= self._settings.segment_bytes:
            self._end_segment()

    def _take_back(self, start: int) -> None:
        """No torn frame may stand before those that follow: cut it off, or follow elsewhere."""
        try:
            os.ftruncate(self._writing, start)
        except OSError:
            self._end_segment()

    def _begin_segment(self) -> None:
        number = self._next
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._writing = os.open(self._path(number), flags, 0o600)
        self._next += 1
        try:
            self._sizes[number] = os.write(self._writing, MAGIC)
            if self._settings.sync == "group":
                self._sync_directory()
        except OSError:
            self._end_segment()
            self._sizes.setdefault(number, 0)
            self._unlink(number)
            raise

    def _end_segment(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def _make_room(self, more_bytes: int) -> None:
        while self._sizes and sum(self._sizes.values()) + more_bytes > self._settings.spool_bytes:
            number = next(iter(self._sizes))
            if number == self._newest:
                self._end_segment()
            start = self._head.offset if number == self._head.segment else len(MAGIC)
            lost = self._frames(number, start, self._sizes[number], at_least_one=True).records
            self._unlink(number)
            self._head = Position(next(iter(self._sizes), self._next), len(MAGIC))
            self._told.dropped(lost)

    def _unlink(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        del self._sizes[number]

    def _note_head(self) -> None:
        path = self._directory / "confirmed"
        fresh = path.with_suffix(".new")
        with open(fresh, "wb", opener=_private) as file:
            file.write(msgspec.json.encode(self._head))
        fresh.replace(path)

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # --- frames -------------------------------------------------------------------------------------------------

    def _frames(self, number: int, offset: int, bytes_max: int, *, at_least_one: bool) -> _Frames:
        """Whole frames of a segment from `offset` on, no more than `bytes_max`."""
        size = self._sizes[number]
        try:
            with self._path(number).open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    return _Frames([], offset, sound=size == 0)
                file.seek(offset)
                wanted = min(size - offset, max(HEAD.size if at_least_one else 0, bytes_max))
                data = file.read(wanted)
                if at_least_one and len(data) == wanted < (first := min(_first_frame_bytes(data), size - offset)):
                    data += file.read(first - wanted)
                    wanted = first
        except OSError as problem:
            raise PlatformFault(f"{self._path(number)} can't be read: {problem.strerror}") from problem
        records: list[bytes] = []
        end = 0
        for record in frames(data):
            records.append(record)
            end += HEAD.size + len(record)
        limited = len(data) == wanted < size - offset  # then the last frame may be cut, which is no damage
        return _Frames(records, offset + end, sound=offset + end == size or (limited and _cut(data, end)))

    def _skip_damage(self, number: int, offset: int) -> None:
        """The rest of a segment is no frame, by a crash or a damaged disk: go on behind it, and say so."""
        size = self._sizes[number]
        if number == self._newest:
            self._end_segment()
        log.warning(
            "%s has no record that can be read from byte %d on: %d bytes are passed over",
            self._path(number),
            offset,
            size - offset,
        )
        self._told.damaged(size - offset)


def frame(record: bytes) -> bytes:
    """A record as it lies in a segment."""
    length = _LENGTH.pack(len(record))
    return b"%b%b%b" % (length, _LENGTH.pack(zlib.crc32(record, zlib.crc32(length))), record)


def frames(data: bytes) -> Iterator[bytes]:
    """The records at the front of `data`, up to the first frame that is not whole or not sound."""
    offset = 0
    while offset + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, offset)
        record = data[offset + HEAD.size : offset + HEAD.size + length]
        if length == 0 or len(record) < length:
            return
        if zlib.crc32(record, zlib.crc32(_LENGTH.pack(length))) != checksum:
            return
        yield record
        offset += HEAD.size + length


def _first_frame_bytes(data: bytes) -> int:
    return HEAD.size + HEAD.unpack_from(data)[0] if len(data) >= HEAD.size else HEAD.size


def _cut(data: bytes, end: int) -> bool:
    """Whether the frame at `end` goes beyond `data`."""
    rest = len(data) - end
    return rest < HEAD.size or rest < HEAD.size + HEAD.unpack_from(data, end)[0]


def _rejected(record: bytes, reason: str) -> bytes:
    try:
        document = msgspec.json.format(record, indent=-1)
    except msgspec.MsgspecError:
        document = msgspec.json.encode(record.decode("utf-8", "replace"))
    return b'{"reason":%b,"document":%b}\n' % (msgspec.json.encode(reason), document)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

"""The spool: what a crash leaves can be read, what is confirmed is gone, what is full drops its oldest and says so."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import PlatformFault
from invoker.io.spool import spool as module
from invoker.io.spool.settings import SPOOL_BYTES_MIN, SpoolSettings
from invoker.io.spool.spool import HEAD, MAGIC, Position, Spool, Told, frame, frames

RECORDS = [b'{"_id":"guest/%032x"}' % number for number in range(100)]


class Lab:
    """Opens one life of the spool after the other on one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dropped: list[bytes] = []
        self.damaged = 0
        self.life: Spool | None = None

    def open(self, **given: Any) -> Spool:
        """The next life; the former one ends, as abruptly as a process may."""
        if self.life is not None:
            self.life.close()
        given = {"spool_bytes": 1 << 20} | given
        self.life = Spool(SpoolSettings(str(self.directory), **given), Told(self.dropped.extend, self._damage))
        self.life.open()
        return self.life

    def _damage(self, count: int) -> None:
        self.damaged += count

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("*.spool"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "spool")
    yield made
    if made.life is not None:
        made.life.close()
        made.life.close()


def all_of(spool: Spool, bytes_max: int = 1 << 20) -> list[bytes]:
    """Everything that is not confirmed, batch by batch, confirmed on the way."""
    found: list[bytes] = []
    while (batch := spool.read(bytes_max)).records:
        found += batch.records
        spool.acknowledge(batch.end)
    return found


def test_what_goes_in_comes_out_in_order_and_nothing_is_left(lab: Lab) -> None:
    spool = lab.open()
    spool.append(RECORDS[:10])
    spool.append(RECORDS[10:])
    assert spool.held_bytes > sum(map(len, RECORDS))
    assert all_of(spool, 500) == RECORDS
    assert spool.held_bytes == 0
    assert lab.files() == []


def test_a_batch_is_as_large_as_allowed_and_has_one_record_at_least(lab: Lab) -> None:
    spool = lab.open()
    spool.append(RECORDS)
    each = HEAD.size + len(RECORDS[0])
    assert len(spool.read(3 * each).records) == 3
    assert len(spool.read(4 * each - 1).records) == 3
    assert spool.read(1).records == RECORDS[:1]
    assert spool.read(0).records == RECORDS[:1]


def test_a_later_life_finds_what_was_not_confirmed(lab: Lab) -> None:
    spool = lab.open()
    spool.append(RECORDS)
    batch = spool.read(1000)
    spool.acknowledge(batch.end)
    spool = lab.open()
    spool.append([b"later"])
    assert all_of(spool) == [*RECORDS[len(batch.records) :], b"later"]


def test_a_batch_goes_on_in_the_next_segment(lab: Lab) -> None:
    for part in range(0, 100, 10):
        lab.open().append(RECORDS[part : part + 10])
    assert len(lab.files()) == 10
    spool = lab.open()
    assert spool.read(1 << 20).records == RECORDS
    assert all_of(spool, 700) == RECORDS
    assert lab.files() == []


@pytest.mark.parametrize("lost", [1, 7, 8, 9, len(RECORDS[0]) + 7, len(RECORDS[0]) + 8])
def test_a_torn_end_is_passed_over_and_told(lab: Lab, lost: int, caplog: pytest.LogCaptureFixture) -> None:
    lab.open().append(RECORDS)
    (file,) = lab.files()
    os.truncate(file, file.stat().st_size - lost)
    spool = lab.open()
    spool.append([b"later"])
    assert all_of(spool) == [*RECORDS[:-1], b"later"]
    torn = HEAD.size + len(RECORDS[0]) - lost
    assert lab.damaged == torn
    assert ("bytes are passed over" in caplog.text) == (torn > 0)
    assert lab.files() == []


def test_zeros_are_no_records(lab: Lab) -> None:
    """What some file systems leave at the end of a file after a power cut."""
    lab.open().append(RECORDS)
    with lab.files()[0].open("ab") as file:
        file.write(bytes(4096))
    assert all_of(lab.open()) == RECORDS
    assert lab.damaged == 4096


def test_a_damaged_record_costs_its_segment_and_no_other(lab: Lab) -> None:
    for part in range(3):
        lab.open().append(RECORDS[part * 10 : part * 10 + 10])
    second = lab.files()[1]
    data = bytearray(second.read_bytes())
    data[len(MAGIC) + 3 * (HEAD.size + len(RECORDS[0])) + HEAD.size + 2] ^= 1
    second.write_bytes(data)
    assert all_of(lab.open()) == [*RECORDS[:13], *RECORDS[20:30]]
    assert lab.damaged == 7 * (HEAD.size + len(RECORDS[0]))


def test_a_file_that_is_none_of_ours_is_passed_over(lab: Lab) -> None:
    lab.open().append(RECORDS[:1])
    lab.files()[0].write_bytes(b"something else altogether")
    spool = lab.open()
    spool.append([b"later"])
    assert all_of(spool) == [b"later"]


def test_a_damaged_note_of_what_is_confirmed_sends_again(lab: Lab) -> None:
    spool = lab.open()
    spool.append(RECORDS)
    spool.acknowledge(spool.read(1000).end)
    (lab.directory / "confirmed").write_bytes(b"")
    assert all_of(lab.open()) == RECORDS


def test_a_full_spool_drops_the_oldest_and_says_which(lab: Lab) -> None:
    spool = lab.open(spool_bytes=SPOOL_BYTES_MIN)
    many = [b'{"_id":"guest/%032x"}' % number for number in range(5000)]
    for record in many:
        spool.append([record])
        assert sum(path.stat().st_size for path in lab.files()) <= SPOOL_BYTES_MIN
    kept = all_of(spool)
    assert lab.dropped + kept == many
    assert len(kept) * (HEAD.size + len(many[0])) > SPOOL_BYTES_MIN * 0.9


def test_confirming_what_was_dropped_meanwhile_changes_nothing(lab: Lab) -> None:
    spool = lab.open(spool_bytes=SPOOL_BYTES_MIN)
    big = [bytes([65 + number]) * 3000 for number in range(26)]
    spool.append(big[:5])
    batch = spool.read(1 << 20)
    for record in big[5:]:
        spool.append([record])
    assert lab.dropped[:5] == batch.records
    spool.acknowledge(batch.end)
    assert lab.dropped + all_of(spool) == big


def test_more_than_the_whole_spool_is_refused(lab: Lab) -> None:
    spool = lab.open(spool_bytes=SPOOL_BYTES_MIN)
    spool.append(RECORDS)
    with pytest.raises(PlatformFault, match="more than the whole spool may hold; raise SPOOL_BYTES"):
        spool.append([b"x" * SPOOL_BYTES_MIN])
    assert all_of(spool) == RECORDS


def test_one_process_at_a_time(lab: Lab) -> None:
    lab.open()
    other = Spool(SpoolSettings(str(lab.directory)), Told(print, print))
    with pytest.raises(PlatformFault, match=r"another invoker uses the spool in .*; give each one its own SPOOL_DIR"):
        other.open()
    other.close()


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(SpoolSettings(str(tmp_path / "file" / "spool")), Told(print, print))
    with pytest.raises(PlatformFault, match=r"can't be kept in .*: Not a directory; see SPOOL_DIR"):
        spool.open()


def test_a_full_disk_leaves_no_torn_frame(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = lab.open()
    spool.append(RECORDS[:5])
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:10])

    monkeypatch.setattr(module.os, "write", full)
    for _ in range(3):
        with pytest.raises(PlatformFault, match=r"can't be written: No space left on device; make room on the disk"):
            spool.append(RECORDS[5:10])
    monkeypatch.undo()
    assert len(lab.files()) == 1
    spool.append(RECORDS[10:15])
    assert all_of(lab.open()) == [*RECORDS[:5], *RECORDS[10:15]]
    assert lab.damaged == 0


def test_with_sync_the_disk_is_waited_for_once_a_group(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(module.os, "fdatasync", synced.append)
    lab.open(sync="group").append(RECORDS)
    assert len(synced) == 1
    lab.open().append(RECORDS)
    assert len(synced) == 1


def test_what_is_set_aside_is_a_line_of_json_and_bounded(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    spool = lab.open(rejected_bytes=2000)
    spool.reject(b'{"_id": "guest/1",\n  "n": 1.0}', "forbidden: no")
    (line,) = (lab.directory / "rejected.jsonl").read_text().splitlines()
    assert line == '{"reason":"forbidden: no","document":{"_id":"guest/1","n":1.0}}'
    spool.reject(b"\xff no json", "bad_request")
    assert json.loads((lab.directory / "rejected.jsonl").read_text().splitlines()[1])["document"] == "� no json"
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            spool.reject(b'{"_id":"guest/%d"}' % number, "too large")
    files = [lab.directory / name for name in ("rejected.jsonl", "rejected.1.jsonl")]
    assert sum(path.stat().st_size for path in files) <= 2000
    assert "guest/99" in files[0].read_text()
    assert "make room: see SPOOL_REJECTED_BYTES" in caplog.text


def test_nobody_else_may_read_what_users_computed(lab: Lab) -> None:
    spool = lab.open()
    spool.append(RECORDS)
    spool.reject(RECORDS[0], "no")
    spool.acknowledge(Position(1, 100))
    assert lab.directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in lab.directory.iterdir())


def test_frames_are_what_frame_made() -> None:
    data = b"".join(map(frame, RECORDS))
    assert list(frames(data)) == RECORDS
    assert list(frames(data[:-1])) == RECORDS[:-1]
    assert list(frames(b"")) == []

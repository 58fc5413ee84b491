"""The decision log: whole lines in order, files by size, and a slow or broken disk that stops no invocation."""

from __future__ import annotations

import logging
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from invoker.errors import PlatformFault
from invoker.io import decision_log
from invoker.io.decision_log import DecisionLog, Header
from invoker.policy import events as ev
from invoker.policy import policyset
from invoker.policy.types import ContainerId

POLICIES = policyset.default(512)
WAIT_S = 10.0


def begin(directory: pathlib.Path, *, file_bytes: int = 1 << 30, files_max: int = 100, run: int = 7) -> DecisionLog:
    return DecisionLog(directory, POLICIES, run, file_bytes=file_bytes, files_max=files_max)


def note(log: DecisionLog, number: int) -> None:
    log.append(number, ev.Paused(ContainerId(number)), [])


def lines(path: pathlib.Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_a_header_then_a_line_a_step(tmp_path: pathlib.Path) -> None:
    log = begin(tmp_path / "deep" / "place")
    for number in range(3):
        note(log, number)
    log.close()
    with log.path.open("rb") as file:
        header = msgspec.json.decode(file.readline(), type=Header)
    assert header == Header(1, f"{7:020d}", 1, 7, POLICIES)
    assert lines(log.path)[1:] == [[number, ["Paused", number], []] for number in range(3)]


def test_what_is_handed_over_is_on_the_disk_without_an_end(tmp_path: pathlib.Path) -> None:
    log = begin(tmp_path)
    note(log, 1)
    log.flush()
    give_up_s = time.monotonic() + WAIT_S
    while len(lines(log.path)) < 2:
        assert time.monotonic() < give_up_s
        time.sleep(0.001)
    log.close()


def test_files_end_at_their_size_and_the_oldest_go(tmp_path: pathlib.Path) -> None:
    log = begin(tmp_path, file_bytes=500, files_max=3)
    for number in range(200):
        note(log, number)
        log.flush()
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    parts = [lines(path)[0]["part"] for path in files]
    assert parts == list(range(parts[0], parts[0] + 3))
    assert parts[0] > 1
    kept = [line[0] for path in files for line in lines(path)[1:]]
    assert kept == list(range(kept[0], 200))


def test_files_of_former_runs_count_too(tmp_path: pathlib.Path) -> None:
    for run in range(1, 6):
        log = begin(tmp_path, files_max=3, run=run)
        note(log, run)
        log.close()
    assert [lines(path)[0]["run"] for path in sorted(tmp_path.iterdir())] == [f"{run:020d}" for run in (3, 4, 5)]


class Stuck:
    """A disk that takes nothing until it is freed."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.reached = threading.Event()
        self.freed = threading.Event()

    def write(self, piece: bytes) -> int:
        self.reached.set()
        assert self.freed.wait(WAIT_S)
        return self._file.write(piece)

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def stuck(tmp_path: pathlib.Path) -> Iterator[tuple[DecisionLog, Stuck]]:
    log = begin(tmp_path)
    disk = log._file = Stuck(log._file)  # type: ignore[assignment] # pyright: ignore
    yield log, disk
    disk.freed.set()


def test_a_slow_disk_ends_the_log_and_nothing_waits(
    stuck: tuple[DecisionLog, Stuck], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, disk = stuck
    note(log, 0)
    log.flush()
    assert disk.reached.wait(WAIT_S)
    for number in range(1, decision_log.BACKLOG_MAX + 1):
        note(log, number)
        log.flush()
    assert not log.stopped
    for number in range(1000):  # returns though the disk takes nothing; one line says so
        note(log, number)
        log.flush()
    assert log.stopped
    assert caplog.text.count("the disk is too slow") == 1
    disk.freed.set()
    log.close()
    assert [line[0] for line in lines(log.path)[1:]] == list(range(decision_log.BACKLOG_MAX + 1))


@pytest.mark.parametrize("backlog", [0, decision_log.BACKLOG_MAX], ids=["one piece", "a full backlog"])
def test_a_disk_that_hangs_holds_up_the_end_for_a_bounded_time(
    stuck: tuple[DecisionLog, Stuck], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, backlog: int
) -> None:
    monkeypatch.setattr(decision_log, "CLOSE_WAIT_S", 0.05)
    log, disk = stuck
    note(log, 0)
    log.flush()
    assert disk.reached.wait(WAIT_S)
    for number in range(1, backlog + 1):
        note(log, number)
        log.flush()
    begun_s = time.monotonic()
    log.close()
    assert time.monotonic() - begun_s < WAIT_S
    assert "the disk did not take the end of the decision log" in caplog.text
    assert log.path.name in caplog.text
    note(log, 1000)  # nothing more is taken
    disk.freed.set()
    monkeypatch.undo()
    log.close()
    assert [line[0] for line in lines(log.path)[1:]] == list(range(backlog + 1))


def test_twice_closed_is_once(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    log = begin(tmp_path)
    note(log, 1)
    log.close()
    log.close()
    assert len(lines(log.path)) == 2
    assert not caplog.records


def test_a_stopped_log_keeps_no_memory(stuck: tuple[DecisionLog, Stuck]) -> None:
    log, disk = stuck
    log.stopped = True
    for number in range(10_000):
        note(log, number)
    assert not log._gathered  # pyright: ignore[reportPrivateUsage]
    disk.freed.set()
    log.close()


def test_a_disk_that_fails_is_told_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def write(self, _: bytes) -> int:
            raise OSError(28, os.strerror(28))

        def close(self) -> None:
            pass

    log = begin(tmp_path)
    log._file.close()  # pyright: ignore[reportPrivateUsage]
    log._file = Broken()  # type: ignore[assignment] # pyright: ignore
    with caplog.at_level(logging.ERROR):
        for number in range(5):
            note(log, number)
            log.flush()
        log.close()
    assert log.stopped
    assert caplog.text.count("No space left on device") == 1


def test_a_directory_that_can_not_be_written_stops_the_start(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(PlatformFault, match="can't be written to"):
        begin(place)

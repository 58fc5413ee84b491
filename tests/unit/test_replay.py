"""A decision log replays identically, says where it doesn't, and what is wrong with one that can't be replayed."""

from __future__ import annotations

import pathlib

import msgspec
import pytest

from invoker.io.decision_log import DecisionLog
from invoker.policy import PolicySet, policyset
from invoker.policy import events as ev
from invoker.policy.types import ContainerId
from invoker.replay import ReplayError, read, replay
from tests.unit.policy.test_determinism import walked


def write(
    directory: pathlib.Path, *, file_bytes: int = 1 << 30, files_max: int = 1000, steps: int = 1500
) -> pathlib.Path:
    """A log of a walk; its first file."""
    world = walked("charged", steps)
    log = DecisionLog(directory, world.pool.policies, 1, file_bytes=file_bytes, files_max=files_max)
    for number, entry in enumerate(world.steps):
        log.append(*entry)
        if number % 50 == 0:
            log.flush()
    log.close()
    assert not log.stopped
    return log.path


def test_a_log_replays_identically(tmp_path: pathlib.Path) -> None:
    report = replay([write(tmp_path)])
    assert report.identical
    assert report.steps == 1500
    assert report.invocations > 300
    assert not report.cut_short
    assert len(list(read(next(tmp_path.iterdir())))) == 1500


def test_a_rotated_log_replays_over_its_files(tmp_path: pathlib.Path) -> None:
    first = write(tmp_path, file_bytes=20_000)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 3
    assert replay([first]).files == len(files)
    assert replay(list(reversed(files))).identical


def test_old_files_go_and_the_replay_says_what_is_missing(tmp_path: pathlib.Path) -> None:
    write(tmp_path, file_bytes=20_000, files_max=2)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    with pytest.raises(ReplayError, match=r"is part \d+ of its run, but part 1 is missing.*DECISION_LOG_FILES"):
        replay(files)


def test_the_first_difference_is_shown_with_both_sides(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"Dispatch"' in line and b'"warm"' in line)
    lines[at] = lines[at].replace(b'"warm"', b'"cold"')
    path.write_bytes(b"".join(lines))
    found = replay([path]).difference
    assert found is not None
    assert found.line == at + 1
    assert "cold" in repr(found.recorded)
    assert "warm" in repr(found.decided)


def test_an_event_the_heart_refuses_is_a_difference(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, steps=50)
    last_ns = max(decision.now_ns for decision in read(path))
    with path.open("ab") as file:
        file.write(msgspec.json.encode((last_ns, ev.Removed(ContainerId(99_999)), [])) + b"\n")
    found = replay([path]).difference
    assert found is not None
    assert found.decided == "refused: there never was a container 99999"


def test_a_killed_invoker_leaves_half_a_line_and_that_is_fine(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, steps=50)
    path.write_bytes(path.read_bytes()[:-20])
    report = replay([path])
    assert report.identical
    assert report.cut_short
    assert report.steps == 49


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no decision log: its first line is no header"),
        (b"hello\n", "is no decision log: its first line is no header"),
        (
            b'{"decisions":9,"run":"r","part":1,"started_ns":1,"policies":POLICIES}\n',
            "has format 9, this invoker reads",
        ),
        (b'{"decisions":1,"run":"r","part":1,"started_ns":1,"policies":POLICIES}\n[1]\n', "line 2 is no decision"),
    ],
)
def test_what_is_no_log_is_told(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content.replace(b"POLICIES", msgspec.json.encode(policyset.default(256))))
    with pytest.raises(ReplayError, match=message):
        replay([path])


def test_a_missing_file_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ReplayError, match=r"can't be read: No such file"):
        replay([tmp_path / "nowhere.jsonl"])


@pytest.mark.parametrize("make", [policyset.default, policyset.reference])
def test_policy_sets_pass_through_a_header(make: type[PolicySet]) -> None:
    policies = make(512)  # pyright: ignore[reportCallIssue]
    assert msgspec.json.decode(msgspec.json.encode(policies), type=PolicySet) == policies

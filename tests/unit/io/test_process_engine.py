"""What the process engine does at its edges: long paths, former lives, starts that wait or fail.

What it owes as an engine is in tests/contract/engine.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import PlatformFault, StartFailed
from invoker.io.containers.base import Observe, unobserved
from invoker.io.process.container import PROCESS_FILE
from invoker.io.process.engine import ProcessEngine, ProcessSettings
from invoker.io.process.isolation import Runtime, default_runtimes
from invoker.io.process.state import start_time
from invoker.policy.types import ContainerId
from invoker.ports import ContainerSpec

LIMIT_S = 20.0
SOCKET_PATH_BYTES_MAX = 107
SLOW = "slow"
TALKS = "talks"
KINDS = {
    SLOW: Runtime(("/bin/sh", "-c", "exec sleep 600")),
    TALKS: Runtime(("/bin/sh", "-c", "echo one; echo 'no library' >&2; exit 1")),
}

Make = Callable[..., ProcessEngine]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes engines without isolation, for what has nothing to do with it; closes them."""
    engines: list[ProcessEngine] = []

    def engine(observe: Observe = unobserved, **given: Any) -> ProcessEngine:
        fitting: dict[str, Any] = {
            "directory": tmp_path,
            "runtimes": default_runtimes() | KINDS,
            "groups": False,
            "bubblewrap": False,
        }
        engines.append(ProcessEngine(ProcessSettings(**(fitting | given)), observe=observe))
        return engines[-1]

    yield engine
    await asyncio.gather(*(engine.close() for engine in engines))


def spec(kind: str = "python:3", number: int = 1) -> ContainerSpec:
    return ContainerSpec(ContainerId(number), kind, "", 512, ("guest", "x"))


def unexpected(oom: bool) -> None:
    raise AssertionError(f"a container died unasked, oom={oom}")


async def test_a_directory_may_be_longer_than_a_sockets_path(make: Make, tmp_path: Path) -> None:
    engine = make(directory=tmp_path / ("long" * 50))
    await engine.open()
    container = await engine.start(spec(), unexpected)
    assert len(container.address) > SOCKET_PATH_BYTES_MAX
    assert (await container.run(b"{}", LIMIT_S)).status == 403
    await container.remove()


async def test_what_it_makes_is_private(make: Make, tmp_path: Path) -> None:
    engine = make()
    await engine.open()
    container = await engine.start(spec(), unexpected)
    place = Path(container.address).parent
    assert [path.stat().st_mode & 0o777 for path in (place, place.parent)] == [0o700, 0o700]
    await engine.close()
    assert os.listdir(tmp_path) == []


async def test_a_relative_directory_stays_where_it_was(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = make(directory=Path("here"))
    monkeypatch.chdir("/")
    await engine.open()
    assert (tmp_path / "here").is_dir()
    assert (await engine.start(spec(), unexpected)).address.startswith(str(tmp_path / "here"))


async def test_a_directory_that_cannot_be_made(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlatformFault, match="can't be used for containers"):
        await make(directory=tmp_path / "file").open()


async def test_a_file_where_its_directory_should_be(make: Make, tmp_path: Path) -> None:
    (tmp_path / "functions-invoker.0").touch()
    with pytest.raises(PlatformFault, match="can't be used for containers"):
        await make().open()


async def test_a_directory_that_vanishes_while_it_is_made_is_made_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a former life's guard may remove it between two looks of `mkdir`."""
    mkdir, tried = Path.mkdir, 0

    def vanishing(self: Path, *arguments: Any, **options: Any) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise FileExistsError(self)
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", vanishing)
    engine = make()
    await engine.open()
    assert tried == 2


async def test_a_runtimes_last_words_are_told(make: Make) -> None:
    engine = make()
    await engine.open()
    with pytest.raises(StartFailed, match="ended before it answered") as failure:
        await engine.start(spec(TALKS), unexpected)
    assert "stdout: one" in str(failure.value)
    assert "stderr: no library" in str(failure.value)
    assert not failure.value.leaked


async def test_a_kind_that_is_not_there_is_answered_with_those_that_are(make: Make) -> None:
    engine = make()
    await engine.open()
    with pytest.raises(StartFailed, match=r"cobol:85 on this machine; there are .*python:3"):
        await engine.start(spec("cobol:85"), unexpected)


async def test_a_program_that_cannot_be_run_is_no_container(make: Make) -> None:
    engine = make(runtimes={"odd": Runtime(("/nowhere/at/all",))})
    await engine.open()
    with pytest.raises(StartFailed) as failure:
        await engine.start(spec("odd"), unexpected)
    assert not failure.value.leaked


async def test_not_before_open_and_not_after_close(make: Make) -> None:
    engine = make()
    with pytest.raises(StartFailed, match="not open"):
        await engine.start(spec(), unexpected)
    await engine.open()
    await engine.close()
    with pytest.raises(StartFailed, match="not open"):
        await engine.start(spec(), unexpected)


async def test_a_start_that_waits_for_its_turn_does_not_begin_after_close(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(starts_at_a_time=1)
    await engine.open()
    begun, go = asyncio.Event(), asyncio.Event()
    launch = engine._launch

    async def slow_launch(*given: Any) -> Any:
        begun.set()
        await go.wait()
        return await launch(*given)

    monkeypatch.setattr(engine, "_launch", slow_launch)
    starts = [asyncio.create_task(engine.start(spec(SLOW, number), unexpected)) for number in (1, 2)]
    await begun.wait()
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    go.set()
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StartFailed, StartFailed]
    await closing


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own, as containers do."""
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


async def test_only_the_process_that_was_noted_is_killed(
    make: Make, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    """A process id may have been given to a stranger since; its start time tells."""
    former = tmp_path / "functions-invoker.0"
    notes = {"1-former": f"{stranger.pid} {(start_time(stranger.pid) or 0) - 1}\n", "2-former": "no number\n"}
    for name, text in notes.items():
        (former / name).mkdir(parents=True)
        (former / name / PROCESS_FILE).write_text(text)
    await make().open()
    assert os.listdir(former) == []
    assert stranger.poll() is None


async def test_another_instances_containers_are_left_alone(make: Make, tmp_path: Path) -> None:
    other = tmp_path / "functions-invoker.1" / "1-other"
    other.mkdir(parents=True)
    await make(instance=0).open()
    assert other.is_dir()


async def test_instances_share_a_directory(make: Make) -> None:
    one, two = make(instance=1), make(instance=2)
    await asyncio.gather(one.open(), two.open())
    first, second = await asyncio.gather(one.start(spec(), unexpected), two.start(spec(), unexpected))
    assert first.address != second.address
    await one.close()
    assert await second.condition() == "running"


async def test_what_takes_time_is_told(make: Make) -> None:
    told: list[tuple[str, float]] = []
    engine = make(observe=lambda command, seconds: told.append((command, seconds)))
    await engine.open()
    container = await engine.start(spec(), unexpected)
    assert dict(told) == container.start_timings
    await container.pause()
    await container.unpause()
    await container.remove()
    assert [command for command, _ in told] == ["run", "poll", "pause", "unpause", "rm"]
    assert all(seconds > 0 for _, seconds in told)

"""The ladder of isolation: what is found to hold, the command for it, and what a process then really has."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

from invoker.io.containers.cgroup import CgroupSupport, ControlGroup
from invoker.io.process import isolation
from invoker.io.process.isolation import FILES_MAX, Isolation, Runtime, default_runtimes, environment, probe

LIMIT_S = 20.0
LOWEST = Isolation(bubblewrap=None, freezer=False, memory=False, network=True)
SHOW = Runtime(
    (sys.executable, "-c", "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_AS))")
)


async def output(command: list[str]) -> tuple[int | None, str]:
    """(exit status, what it printed) of a command."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(LIMIT_S):
        printed, _ = await process.communicate()
    return process.returncode, printed.decode()


def script(path: Path, text: str) -> None:
    """A program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


async def test_limits_hold_from_the_first_instruction() -> None:
    status, printed = await output(LOWEST.command(SHOW, None, 512, ()))
    assert status == 0
    assert printed == f"{(FILES_MAX, FILES_MAX)} {(512 << 20, 512 << 20)}\n"


@pytest.mark.parametrize(
    ("rungs", "runtime"),
    [
        (LOWEST, msgspec.structs.replace(SHOW, reserves=True)),
        (msgspec.structs.replace(LOWEST, memory=True), SHOW),
    ],
)
async def test_the_address_space_is_limited_only_where_nothing_better_is(rungs: Isolation, runtime: Runtime) -> None:
    _, printed = await output(rungs.command(runtime, None, 512, ()))
    assert printed == f"{(FILES_MAX, FILES_MAX)} (-1, -1)\n"


async def test_arguments_arrive_as_they_are() -> None:
    words = ("--fd", "7", "two words", "$HOME", "*", "'", "")
    runtime = Runtime((sys.executable, "-c", "import sys; print(sys.argv[1:])"))
    _, printed = await output(LOWEST.command(runtime, None, 512, words))
    assert printed == f"{list(words)}\n"


async def test_who_cannot_enter_its_group_does_not_run(tmp_path: Path) -> None:
    nowhere = ControlGroup("gone", 2, {"": tmp_path / "gone"})
    status, printed = await output(LOWEST.command(SHOW, nowhere, 512, ()))
    assert status == 125
    assert "(1024" not in printed


async def test_it_enters_every_directory_of_its_group(tmp_path: Path) -> None:
    directories = {name: tmp_path / name for name in ("memory", "freezer")}
    for directory in directories.values():
        directory.mkdir()
    status, _ = await output(LOWEST.command(SHOW, ControlGroup("g", 1, directories), 512, ()))
    assert status == 0
    assert [(tmp_path / name / "cgroup.procs").read_text() for name in directories] == ["0\n", "0\n"]


@pytest.mark.parametrize(
    ("program", "problem"),
    [("echo 'no namespaces for you' >&2; exit 1", "no namespaces for you"), ("exit 7", "exit status 7")],
)
async def test_a_bubblewrap_that_does_not_work_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, problem: str
) -> None:
    script(tmp_path / "bwrap", program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = await probe({}, groups=False)
    assert found.bubblewrap is None
    assert any(problem in word for word in found.missing)
    assert problem in found.describe()["missing"]


async def test_a_bubblewrap_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bwrap", "exec sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(isolation, "PROBE_WAIT_S", 0.05)
    found = await probe({}, groups=False)
    assert found.bubblewrap is None
    assert any("did not end" in word for word in found.missing)


async def test_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await probe({}, groups=False)
    assert found.missing == ("control groups: not wanted", "bubblewrap: not installed")
    assert "none" in found.describe()["isolation"]
    assert "for development" in found.describe()["isolation"]


async def test_missing_groups_are_said_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation.cgroup, "probe", lambda: CgroupSupport(1, False, False, "read-only"))
    found = await probe({}, bubblewrap=False)
    assert not found.groups
    assert found.describe()["freezer"].startswith("SIGSTOP")
    assert "read-only" in found.describe()["missing"]


def test_the_sandbox_shows_what_a_runtime_asks_for_and_no_more() -> None:
    rungs = msgspec.structs.replace(LOWEST, bubblewrap="/usr/bin/bwrap", network=False)
    words = rungs.command(Runtime(("/opt/x/run",), ("/opt/x", "/usr/lib/x", "/")), None, 64, ())
    bound = {words[place + 2] for place, word in enumerate(words) if word == "--ro-bind"}
    assert "/opt/x" in bound
    assert bound & {"/", "/home", "/var", "/usr/lib/x"} == set()
    assert "--share-net" not in words
    assert "--remount-ro" in words
    assert words[-2:] == ["--", "/opt/x/run"]


def test_our_runtimes_are_there() -> None:
    runtimes = default_runtimes()
    assert runtimes["python:3"] == runtimes["python:default"]
    for runtime in runtimes.values():
        assert all(Path(place).is_dir() for place in runtime.shown)
        assert Path(runtime.command[0]).is_file()
        assert Path(runtime.command[-1]).is_file()


def test_node_is_offered_only_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not any(kind.startswith("nodejs") for kind in default_runtimes())
    script(tmp_path / "node", "exit 0")
    assert default_runtimes()["nodejs:20"].command[0] == str(tmp_path / "node")


def test_the_environment_is_all_there_is() -> None:
    given = environment("http://api", "/tmp")
    assert given["__OW_API_HOST"] == "http://api"
    assert given["HOME"] == "/tmp"
    assert set(given) == {"PATH", "HOME", "TMPDIR", "LANG", "__OW_API_HOST", "__OW_ALLOW_CONCURRENT"}

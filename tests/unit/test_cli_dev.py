"""The command line with a real `invoker dev` behind it: for one call, over a kill -9, and through the whole tour."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest

from invoker.cli import main
from invoker.client import Client
from invoker.commands.exit_codes import ExitCode
from invoker.dev_process import DevProcess
from invoker.errors import PlatformFault
from invoker.io.dev import page as dev_file

HELLO = str(files("invoker.examples").joinpath("hello.py"))
TOUR_WAIT_MAX_S = 100.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "d"


@pytest.fixture
def run(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--data-dir", str(data_dir)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_without_a_running_invoker_one_is_started_for_the_call(run: Run, data_dir: Path) -> None:
    assert run("action", "put", "guest/hello", HELLO)[0] == 0
    code, out, _ = run("invoke", "guest/hello", "--param", "name=Ada")
    assert code == 0
    assert "cold: a new container" in out
    assert '{"greeting": "Hello, Ada!", "greeted": 1}' in out
    assert "stdout greeting Ada, number 1 of this container" in out
    assert dev_file.find(data_dir) is None
    code, out, _ = run("activation", "list", "--json")
    assert [each["containerType"] for each in json.loads(out)] == ["cold"]
    code, _, err = run("invoke", "guest/hello", "--no-blocking")
    assert (code, "invoker dev" in err) == (ExitCode.REFUSED, True)
    code, _, err = run("invoke", "guest/other")
    assert (code, err) == (ExitCode.NOT_FOUND, "invoker: no action guest/other\n")


def test_what_was_answered_outlives_a_kill(run: Run, data_dir: Path) -> None:
    run("action", "put", "guest/hello", HELLO)
    with DevProcess(data_dir) as process:
        code, out, _ = run("invoke", "guest/hello", "--json")
        assert code == 0
        os.kill(process.page.pid, signal.SIGKILL)
        assert process.stop() == -signal.SIGKILL
    record = json.loads(out)
    assert dev_file.find(data_dir) is None
    code, out, _ = run("activation", "get", record["activationId"], "--json")
    assert (code, json.loads(out)) == (0, record)
    with DevProcess(data_dir):  # nothing that was left behind is in the way
        assert run("invoke", "guest/hello")[0] == 0


def test_two_do_not_serve_one_directory(run: Run, data_dir: Path) -> None:
    with DevProcess(data_dir) as process:
        url = process.page.url
        Client(process.door).info()
        code, _, err = run("dev", "--http-port", "0")
    assert code == ExitCode.SETTINGS
    assert f"served by the invoker at {url}" in err


def test_an_invoker_that_does_not_start_tells_why(data_dir: Path) -> None:
    with (
        pytest.raises(PlatformFault, match=r"(?s)exit code 78.*USER_MEMORY"),
        DevProcess(data_dir, ["--memory", "much"]),
    ):
        pass


def test_the_tour_is_as_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "invoker.cli", "tour"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TOUR_WAIT_MAX_S, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in ("cold: a new container", "warm: the container was ready", "paused: the container was thawed"):
        assert words in done.stdout
    assert "is evicted to make room" in done.stdout
    assert "✗ developer error  guest/hungry" in done.stdout
    assert "identical: " in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_tour_that_is_broken_off_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-u", "-m", "invoker.cli", "tour"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    # What a shell starts in the background ignores SIGINT, and so does all that it starts, this run perhaps included.
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, preexec_fn=heeded
    ) as process:
        assert process.stdout is not None
        while b"invoker dev serves at" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=TOUR_WAIT_MAX_S)
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []

"""The script that finds, starts and stops a Docker daemon tells a live one from what a killed one left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "docker_daemon.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, its world moved into an empty directory."""
    spec = importlib.util.spec_from_file_location("docker_daemon", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("DOCKER_HOST", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module, "STATE", tmp_path)
    monkeypatch.setattr(module, "RECORD", tmp_path / "dockerd.json")
    monkeypatch.setattr(module, "SYSTEM_SOCKET", tmp_path / "docker.sock")
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.3)
    return module


@contextmanager
def daemon(path: Path, answer: bytes) -> Iterator[None]:
    """Something that answers one connection after the other on a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if not connection.recv(1024):
                        return
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, name="daemon")
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
            thread.join(5)


VERSION = b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"ApiVersion":"1.41"}'


def test_a_daemon_that_answers_is_used(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(script.SYSTEM_SOCKET, VERSION):
        assert script.main(["answers"]) == 0
        assert script.main(["up"]) == 0
    told = capsys.readouterr().out
    assert f"export DOCKER_HOST=unix://{script.SYSTEM_SOCKET}\n" in told
    assert "export DOCKER_API_VERSION=1.41\n" in told


def test_docker_host_names_the_only_place(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with daemon(script.SYSTEM_SOCKET, VERSION):
        assert script.find() is None
        assert script.main(["up"]) == 1
    assert "none answers at DOCKER_HOST" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 no\r\nContent-Length: 2\r\n\r\n{}", b"garbage\r\n\r\n"])
def test_whatever_answers_otherwise_is_no_daemon(script: ModuleType, answer: bytes) -> None:
    with daemon(script.SYSTEM_SOCKET, answer):
        assert script.find() is None


def test_a_stale_socket_is_no_daemon(script: ModuleType) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(script.SYSTEM_SOCKET))
    assert script.SYSTEM_SOCKET.exists()
    assert script.main(["answers"]) == 1


def test_the_recorded_pid_counts_only_with_its_start_time(script: ModuleType) -> None:
    assert script.recorded_pid() is None
    started = script.start_time(os.getpid())
    script.RECORD.write_text(json.dumps({"pid": os.getpid(), "started": started, "socket": "x"}))
    assert script.recorded_pid() == os.getpid()
    script.RECORD.write_text(json.dumps({"pid": os.getpid(), "started": "1", "socket": "x"}))
    assert script.recorded_pid() is None, "the number was given to another process"


def test_down_stops_nothing_that_it_did_not_start(script: ModuleType) -> None:
    script.RECORD.write_text(json.dumps({"pid": os.getpid(), "started": "1", "socket": "x"}))
    assert script.main(["down"]) == 0
    assert not script.RECORD.exists()


def test_a_pid_file_is_believed_only_for_its_program(script: ModuleType, tmp_path: Path) -> None:
    pid_file = tmp_path / "docker.pid"
    pid_file.write_text(str(os.getpid()))
    assert script.command_of(script.read_pid(pid_file)) not in (None, "dockerd")
    pid_file.write_text("rubbish")
    assert script.command_of(script.read_pid(pid_file)) is None


@pytest.mark.parametrize(
    ("system", "user", "told"),
    [("darwin", 501, "Docker Desktop or Colima"), ("linux", 1000, "systemctl start docker"), ("linux", 0, "docker.io")],
)
def test_what_is_missing_comes_with_its_remedy(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, system: str, user: int, told: str
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert told in script.obstacle()

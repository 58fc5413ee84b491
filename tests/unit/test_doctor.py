"""The doctor's checks against machines that are made up, and its verdict as an exit code."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from invoker.cli import main
from invoker.commands import doctor
from invoker.commands.doctor import Finding
from invoker.commands.exit_codes import ExitCode
from invoker.io.containers import cgroup


class Daemon:
    """Answers on a unix socket as Docker does, with what it is given."""

    def __init__(self, path: Path, answers: dict[str, bytes]) -> None:
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                head = peer.recv(65536)
                if not head:
                    continue
                body = self._answers[head.split()[1].decode()]
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def docker_host(tmp_path: Path) -> Iterator[tuple[dict[str, str], dict[str, bytes]]]:
    """The environment that leads to a daemon, and its answers."""
    answers = {
        "/version": b'{"Version": "27.0", "ApiVersion": "1.46"}',
        "/info": b'{"CgroupVersion": "2", "CgroupDriver": "systemd", "Runtimes": {"runc": {}, "io.x": {}, "b": {}}}',
    }
    path = tmp_path / "docker.sock"
    daemon = Daemon(path, answers)
    yield {"DOCKER_HOST": f"unix://{path}"}, answers
    daemon.close()


def test_a_daemon_that_answers_is_described(docker_host: tuple[dict[str, str], dict[str, bytes]]) -> None:
    environ, _ = docker_host
    found = doctor.docker(required=True, environ=environ)
    assert found == Finding("Docker", "ok", "27.0, API 1.46, control groups v2 (systemd), runtimes b, runc")


def test_an_old_daemon_is_told_to_be_updated(docker_host: tuple[dict[str, str], dict[str, bytes]]) -> None:
    environ, answers = docker_host
    answers["/version"] = b'{"Version": "19.03", "ApiVersion": "1.40"}'
    found = doctor.docker(required=False, environ=environ)
    assert found.verdict == "warn"
    assert "1.41" in found.mend


@pytest.mark.parametrize("nonsense", [b"", b"[]", b"no JSON"])
def test_who_answers_nonsense_is_no_daemon(
    docker_host: tuple[dict[str, str], dict[str, bytes]], nonsense: bytes
) -> None:
    environ, answers = docker_host
    answers["/info"] = nonsense
    assert doctor.docker(required=True, environ=environ).verdict == "fail"


@pytest.mark.parametrize(("required", "verdict"), [(True, "fail"), (False, "warn")])
@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://10.0.0.1:2375"])
def test_without_a_daemon_it_depends_on_what_is_needed(host: str, required: bool, verdict: str) -> None:
    found = doctor.docker(required=required, environ={"DOCKER_HOST": host})
    assert found.verdict == verdict
    assert found.mend


@pytest.mark.parametrize(
    ("text", "verdict", "told"),
    [
        ("MemTotal: 9 kB\nMemAvailable: 8388608 kB\n", "ok", "8192 MB"),
        ("MemAvailable: 307200 kB\n", "warn", "300 MB"),
        ("", "warn", "unknown"),
    ],
)
def test_memory(tmp_path: Path, text: str, verdict: str, told: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    found = doctor.memory(tmp_path / "meminfo")
    assert found.verdict == verdict
    assert told in found.found
    assert bool(found.mend) == (verdict != "ok")


@pytest.mark.parametrize(("version", "verdict"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 14), "ok")])
def test_python(version: tuple[int, int], verdict: str) -> None:
    assert doctor.python(version).verdict == verdict


@pytest.mark.parametrize(
    ("support", "freezes", "limits", "told"),
    [
        (cgroup.CgroupSupport(2, True, True, ""), "ok", "ok", "v2"),
        (cgroup.CgroupSupport(2, False, False, "read-only"), "warn", "warn", "read-only"),
        (cgroup.CgroupSupport(1, True, False, "no memory controller"), "ok", "warn", "v1"),
        (cgroup.CgroupSupport(None, False, False, "none are mounted"), "warn", "warn", "SIGSTOP"),
    ],
)
def test_control_groups(
    monkeypatch: pytest.MonkeyPatch, support: cgroup.CgroupSupport, freezes: str, limits: str, told: str
) -> None:
    monkeypatch.setattr(cgroup, "probe", lambda: support)
    freezer, memory = doctor.freezer(), doctor.memory_limits()
    assert (freezer.verdict, memory.verdict) == (freezes, limits)
    assert told in freezer.found
    assert all(found.mend for found in (freezer, memory) if found.verdict == "warn")


def program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "verdict", "told"),
    [
        ("echo v22.1.0", "ok", "v22.1.0"),
        ("echo v16.0.0", "warn", "v16.0.0"),
        ("echo broken >&2; exit 3", "warn", "broken"),
        ("exit 3", "warn", "exit code 3"),
        (None, "warn", "not installed"),
    ],
)
def test_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, verdict: str, told: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        program(tmp_path, "node", script)
    found = doctor.node()
    assert found.verdict == verdict
    assert told in found.found


@pytest.mark.parametrize(("script", "verdict"), [("exit 0", "ok"), ("echo denied >&2; exit 1", "warn"), (None, "warn")])
def test_bubblewrap_is_run_not_only_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, verdict: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        program(tmp_path, "bwrap", script)
    found = doctor.bubblewrap()
    assert found.verdict == verdict
    assert bool(found.mend) == (verdict != "ok")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([Finding("a", "ok", "x"), Finding("b", "warn", "y", "mend b so")], ExitCode.OK),
        ([Finding("a", "fail", "x", "mend a so")], ExitCode.UNFIT),
    ],
)
def test_the_verdict_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], findings: list[Finding], code: ExitCode
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda _engine: findings)
    assert main(["doctor"]) == code
    told = capsys.readouterr().out
    assert all(finding.mend in told for finding in findings)
    assert main(["doctor", "--json"]) == code
    assert [row["what"] for row in json.loads(capsys.readouterr().out)] == [finding.what for finding in findings]


def test_this_machine_can_be_examined() -> None:
    findings = doctor.examine("process")
    assert findings[0].what == "Python"
    assert all(finding.mend for finding in findings if finding.verdict != "ok")

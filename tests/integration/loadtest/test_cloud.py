"""`make cloud`: it comes up, what it prints to try works as it is printed, and Ctrl-C leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.couch_server import CouchServer, missing
from tests.support.docker_fixtures import docker
from tests.support.kafka_server import Broker
from tests.support.node import LIMIT_S
from tests.support.serving import ROOT

pytestmark = pytest.mark.docker

DATABASES = ("whisks", "activations", "subjects")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def to_try(told: str) -> str:
    """The lines to try, as a script."""
    lines = told.partition("Try, from a second terminal:")[2].partition("Or put load on it")[0].splitlines()
    return "\n".join(line.removeprefix("  ") for line in lines)


def values(text: str) -> list[Any]:
    """JSON values one after the other."""
    found: list[Any] = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def invokers_of(pid: int) -> list[int]:
    """The processes of the cloud's invokers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in children if b"invoker.cli" in Path(f"/proc/{each}/cmdline").read_bytes()]


def wait(true: Callable[[], bool]) -> None:
    """With a bound."""
    give_up_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def test_a_cloud_does_what_it_prints_and_leaves_nothing(
    kafka: Broker, couchdb: CouchServer, docker_images: dict[str, str], tmp_path: Path
) -> None:
    assert docker_images
    assert shutil.which("curl"), "this test runs the printed lines, which call curl: install it"
    out = tmp_path / "out"
    place = couchdb.url.replace("//", f"//{couchdb.user}:{couchdb.password.replace(' ', '%20')}@")
    options = [f"--port={free_port()}", f"--kafka={kafka.bootstrap}", f"--couchdb={place}", "--memory=512 MB"]
    with out.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cloud", *options], cwd=ROOT, stdout=stream, stderr=stream
        )
    try:
        wait(lambda: "Ctrl-C stops it all" in out.read_text() or process.poll() is not None)
        assert process.poll() is None, out.read_text()
        told = out.read_text()
        script = tmp_path / "try"
        script.write_text(to_try(told))
        done = subprocess.run(["bash", "-e", str(script)], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        put, ran, record, invokers = values(done.stdout)
        assert (put["name"], put["version"]) == ("hello", "0.0.1")
        assert ran == {"hello": "you"}
        assert record["response"]["result"] == {"hello": "world"}
        assert sorted(invokers.values()) == ["up", "up"]
        os.kill(invokers_of(process.pid)[0], signal.SIGKILL)
        wait(lambda: "is started again" in out.read_text())
        owners = docker("network", "ls", "--format", "{{.Name}}", f"--filter=name=-{process.pid}-").split()
        assert len(owners) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0, out.read_text()
        assert "nothing is left" in out.read_text()
    finally:
        process.kill()
        process.wait()
    assert docker("network", "ls", "--quiet", f"--filter=name=-{process.pid}-") == ""
    assert [name for name in DATABASES if not missing(couchdb, name)] == []
    directory = re.search(r"as long as it runs: (\S+)", told)
    assert directory is not None
    assert not Path(directory[1]).exists()


def test_a_mistake_is_told_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cloud", "--kafka=127.0.0.1:1", "--couchdb=nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ | {"COLUMNS": "100"},
        check=False,
    )
    assert done.returncode == 1
    assert "error: --couchdb is http://user:password@host:port" in done.stdout
    assert "Traceback" not in done.stderr

"""Listeners in processes of their own, and certificates for them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority

ROOT = Path(__file__).parents[3]
END_TIMEOUT_S = 10.0


class Listening:
    """A listener process: its port, and what it tells of itself."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.first = self._read()
        self.port: int = self.first["port"]

    def state(self) -> dict[str, Any]:
        """Memory, CPU, connections and refusals as they are now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> int:
        """Have it end; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(END_TIMEOUT_S)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def listening(request: pytest.FixtureRequest) -> Iterator[Callable[..., Listening]]:
    """Start a listener with limits, and with TLS where a certificate and its key are given."""
    started: list[tuple[subprocess.Popen[str], Listening]] = []

    def start(*files: Path, **limits: float) -> Listening:
        command = [sys.executable, "-m", "tests.integration.http.listener", json.dumps(limits), *map(str, files)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        listening = Listening(process)
        started.append((process, listening))
        return listening

    try:
        yield start
    finally:
        for process, listening in started:
            with process:
                try:
                    assert listening.end() == 0
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files_max() -> Iterator[int]:
    """How many file descriptors this process may have, raised as far as it goes, and lowered again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, hard), hard))
    yield min(20_000, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

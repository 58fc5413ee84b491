"""An `invoker dev` in a process of its own, as tests that send it signals need it."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from invoker.dev_process import DevProcess
from invoker.io.process_container import start_time
from tests.support.node import NAMESPACE, PYTHON, Machine, request


class Outside:
    """The process and how to reach it."""

    def __init__(self, process: DevProcess) -> None:
        self.process = process
        self.pid = process.page.pid
        self.port = int(process.page.url.rpartition(":")[2])
        self.decisions = Path(process.page.decision_log or "")

    async def put(self, name: str, code: str, memory_mb: int = 128) -> None:
        """Keep an action."""
        body = {"exec": {"kind": PYTHON, "code": code}, "limits": {"memory": memory_mb}}
        path = f"/api/v1/namespaces/{NAMESPACE}/actions/{name}"
        response = await request(self.port, "PUT", f"{path}?overwrite=true", json.dumps(body).encode())
        told = await response.body()
        assert response.status == 200, told

    def descendants(self) -> dict[int, int]:
        """Every process below it, with its start time."""
        found: dict[int, int] = {}
        parents = [self.pid]
        while parents:
            pid = parents.pop()
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in map(int, children.read_text().split()):
                    born = start_time(child)
                    if born is not None:
                        found[child] = born
                        parents.append(child)
        return found

    @property
    def first_decisions(self) -> Path:
        """The first file of the newest run's decision log."""
        return max(self.decisions.glob("decisions-*-00001.jsonl"))


@contextmanager
def outside(
    machine: Machine, directory: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, **settings: str
) -> Generator[Outside]:
    """Serve from another process for the body of the `with`; `settings` are variables by their names."""
    for name, text in (machine.environment() | settings).items():
        monkeypatch.setenv(name, text)
    with DevProcess(directory / "data", arguments) as process:
        yield Outside(process)

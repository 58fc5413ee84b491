"""An `invoker dev` in a process of its own, as tests that send it signals need it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from invoker.io.dev import page as dev_file
from invoker.io.process.state import start_time
from tests.support.node import LIMIT_S, NAMESPACE, PYTHON, Machine, eventually, request


class Outside:
    """The process and how to reach it."""

    def __init__(self, process: Process, page: dev_file.DevPage, log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid
        self.port = int(page.url.rpartition(":")[2])
        self.decisions = Path(page.decision_log or "")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(LIMIT_S):
            return await self._process.wait()

    async def said(self, words: str) -> None:
        """Wait until its log has these words."""
        await eventually(lambda: words in self._log.read_text(), f"the log says {words!r}")

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


@asynccontextmanager
async def outside(machine: Machine, directory: Path, **settings: str) -> AsyncGenerator[Outside]:
    """Serve from another process for the body of the `with`, which is to end it; `settings` are variables."""
    data_dir, log = directory / "data", directory / "outside.log"
    environment = os.environ | machine.environment() | {"DATA_DIR": str(data_dir), "HTTP_PORT": "0"} | settings
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "invoker.cli", "dev"), env=environment, stdin=DEVNULL, stdout=stream, stderr=stream
        )
    try:
        await eventually(lambda: _page(data_dir, process.pid) or process.returncode is not None, "it serves")
        page = _page(data_dir, process.pid)
        assert page is not None, log.read_text()
        yield Outside(process, page, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _page(data_dir: Path, pid: int) -> dev_file.DevPage | None:
    page = dev_file.find(data_dir)
    return page if page is not None and page.pid == pid else None

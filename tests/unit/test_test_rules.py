"""The rules of tests/conftest.py can fail: each offender below is caught, and nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"

OFFENDERS = """
import asyncio, subprocess, sys, threading
import pytest

stop = threading.Event()
keep = []

def test_fine():
    pass

async def test_fine_task():
    await asyncio.create_task(asyncio.sleep(0))

async def test_fine_fixture(server):
    assert not server.done()

@pytest.fixture
async def server():
    task = asyncio.create_task(asyncio.Event().wait())
    yield task
    task.cancel()

def test_skipped():
    pytest.skip("no daemon")

@pytest.mark.xfail
def test_xfailed():
    raise AssertionError

async def test_task_left():
    keep.append(asyncio.create_task(asyncio.Event().wait()))

def test_thread_left():
    threading.Thread(target=stop.wait, name="straggler", daemon=True).start()

def test_child_left():
    keep.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
"""


def run(directory: Path, ci: str) -> tuple[int, str]:
    directory.joinpath("conftest.py").write_text(
        re.sub(r"SETTLE_TIMEOUT_S = [\d.]+", "SETTLE_TIMEOUT_S = 0.2", CONFTEST.read_text())
    )
    directory.joinpath("test_offenders.py").write_text(OFFENDERS)
    directory.joinpath("pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short", "."]
    environment = os.environ | {"CI": ci, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_each_offender_is_caught_in_ci(tmp_path: Path) -> None:
    status, output = run(tmp_path, "true")
    assert status == 1, output
    assert "a thread outlives the test: straggler" in output
    assert "tasks outlive the test" in output
    assert "skipped, which CI counts as a failure" in output
    assert re.search(r"processes outlive the session: .*input\(\)", output)
    assert re.search(r"=+ 1 failed, 6 passed, 1 xfailed, 2 errors in", output), output


def test_elsewhere_a_skip_stays_a_skip(tmp_path: Path) -> None:
    _, output = run(tmp_path, "")
    assert re.search(r"=+ 6 passed, 1 skipped, 1 xfailed, 2 errors in", output), output

"""Rules for every test: the same on every run, in CI no skip, and nothing may outlive the test that made it.

Tasks are looked for after all other fixtures of the test are gone, threads at the same moment, child processes at the
end of the session (session fixtures may own some until then).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Property tests draw the same examples on every run, and a slow machine fails none of them. Who wants to look further
# afield sets HYPOTHESIS_PROFILE to explore.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

IN_CI = os.environ.get("CI") == "true"
SETTLE_TIMEOUT_S = 2.0  # for what is ending already: a closed connection's task, a joined thread
POOL_THREADS = ("asyncio_", "ThreadPoolExecutor")  # idle workers of executors; their loop or owner joins them later


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI counts as a failure: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the watch over tasks around every asyncio test: set up first, so torn down last."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_leaked_tasks")


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fails a test after which tasks still run on its loop."""
    before = asyncio.all_tasks()
    yield
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    if leaked:
        _, leaked = await asyncio.wait(leaked, timeout=SETTLE_TIMEOUT_S)
    assert not leaked, f"tasks outlive the test: {[task.get_coro() for task in leaked]}"


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fails a test after which threads of its own still run."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + SETTLE_TIMEOUT_S
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith(POOL_THREADS):
            thread.join(max(0.0, until - time.monotonic()))
            assert not thread.is_alive(), f"a thread outlives the test: {thread.name}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a session that leaves child processes."""
    until = time.monotonic() + SETTLE_TIMEOUT_S
    while (left := _children()) and time.monotonic() < until:
        time.sleep(0.05)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"processes outlive the session: {left}", red=True)


def _children() -> dict[int, str]:
    """This process's live children and their commands; none where the system has no /proc."""
    children: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
            command = stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # ended while being looked at
        state, parent = tail.split()[:2]
        if int(parent) == os.getpid() and state != "Z":
            children[int(stat.parent.name)] = command.strip() or head
    return children

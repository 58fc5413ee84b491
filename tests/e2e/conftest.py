"""Where whole invokers are put to the test: machines with real containers, and the table of faults in the report."""

from __future__ import annotations

import pytest

from tests.e2e.fault_table import OUTCOMES, ROWS
from tests.support.docker_fixtures import *  # noqa: F403
from tests.support.loops import pytest_asyncio_loop_factories
from tests.support.machines import machine

__all__ = ["machine", "pytest_asyncio_loop_factories"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The faults of the contract's section 14, and what became of each on each engine."""
    if not OUTCOMES:
        return
    engines = list(dict.fromkeys(engine for _, engine in OUTCOMES))
    wide = max(len(row.fault) for row in ROWS)
    terminalreporter.section("one invocation, and what each fault becomes")
    terminalreporter.write_line(f"{'where':6}{'fault':{wide}}  status  container  {'  '.join(engines)}")
    for row in ROWS:
        told = "  ".join(f"{OUTCOMES.get((row.name, engine), '-'):{len(engine)}}" for engine in engines)
        status = "" if row.status is None else str(row.status)
        terminalreporter.write_line(f"{row.where:6}{row.fault:{wide}}  {status:6}  {row.fate:9}  {told}")

"""On which event loops a test runs: a module that says `EACH_LOOP = True` has its asyncio tests run on all of them.

For a conftest.py: `from tests.support.loops import pytest_asyncio_loop_factories`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """asyncio's own loop, and uvloop where the module asks for each and it is installed."""
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if getattr(getattr(item, "module", None), "EACH_LOOP", False) and find_spec("uvloop"):
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories

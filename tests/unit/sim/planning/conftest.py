"""What tests with worker processes share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any, cast

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_tracker_left() -> Iterator[None]:
    """Ends the process that `multiprocessing` keeps for all of a program's life once it began another process."""
    yield
    cast(Any, resource_tracker)._resource_tracker._stop()


@pytest.fixture(scope="session")
def dask_threads() -> None:
    """Begins the thread that Dask keeps for all of a program's life, so that no test is blamed for it."""
    from distributed.utils import offload

    asyncio.run(cast(Any, offload)(str))

"""The engines under test. Every test of this directory runs once with each, and leaves nothing on the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.contract.engine.lab import Lab, eventually, open_files
from tests.support.docker_fixtures import *  # noqa: F403
from tests.support.loops import pytest_asyncio_loop_factories

__all__ = ["lab", "pytest_asyncio_loop_factories"]

ENGINES = ["fake", "process", pytest.param("docker", marks=pytest.mark.docker)]


def make_lab(name: str, request: pytest.FixtureRequest, stack: AsyncExitStack) -> Lab:
    """The seam: a new engine needs a line here."""
    if name == "fake":
        from tests.contract.engine.fake_lab import FakeLab

        return FakeLab(stack)
    if name == "process":
        from tests.contract.engine.process_lab import ProcessLab

        return ProcessLab(stack)
    from tests.contract.engine.docker_lab import DockerLab

    return DockerLab(request, stack)


@pytest.fixture(params=ENGINES)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """The place where the engine under test works; afterwards nothing of it is left."""
    files = open_files()
    async with AsyncExitStack() as stack:
        under_test = make_lab(request.param, request, stack)
        yield under_test
    left = [name for identity in under_test.identities for name in under_test.standing(identity)]
    assert left == [], f"left on the machine: {left}"
    await eventually(lambda: open_files() <= files, "every file descriptor is closed")

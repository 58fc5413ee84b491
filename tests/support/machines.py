"""The fixture `machine`: a test that takes it runs once on each engine.

For a conftest.py: `from tests.support.machines import machine`, beside the fixtures of `docker_fixtures`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.docker_fixtures import TestNetwork
from tests.support.node import DockerMachine, Machine, ProcessMachine

ENGINES = ["process", pytest.param("docker", marks=pytest.mark.docker)]


def make_machine(engine: str, request: pytest.FixtureRequest, directory: Path, instance: int = 0) -> Machine:
    """The machine of an engine; what is Docker's is only asked for where it is wanted.

    The processes' directory is where `invoker dev` with the data directory `directory/data` has it.
    """
    if engine == "process":
        return ProcessMachine(directory / "data" / "containers")
    network: TestNetwork = request.getfixturevalue("docker_network")
    return DockerMachine(network, instance)


@pytest.fixture(params=ENGINES)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Each engine's place of work."""
    return make_machine(request.param, request, tmp_path)

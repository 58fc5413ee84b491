"""What a killed test run leaves in the daemon is removed by the next run, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from invoker.io.docker.settings import OWNER_LABEL
from tests.support.docker_fixtures import OWNER, docker, free_subnet, marked, remove_leftovers

pytestmark = pytest.mark.docker


def test_leftovers_of_the_dead(docker_network: Any, odd_image: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owner = f"{OWNER}-{ended.pid}-1"
    label = f"--label={OWNER_LABEL}={owner}"
    with free_subnet() as subnet:
        docker("network", "create", f"--subnet={subnet}", label, owner)
    docker("run", "--detach", f"--network={owner}", label, odd_image)
    paused = docker("run", "--detach", label, odd_image).strip()
    docker("pause", paused)
    ours = docker("create", f"--label={OWNER_LABEL}={docker_network.owner}", odd_image).strip()
    remove_leftovers()
    assert marked(owner) == []
    networks = docker("network", "ls", "--format", "{{.Name}}").split()
    assert owner not in networks
    assert docker_network.name in networks
    docker("rm", ours)

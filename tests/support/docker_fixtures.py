"""◆ Fixtures for tests that drive a real Docker daemon.

For a conftest.py: `from tests.support.docker_fixtures import *`. A run has a network of its own on a subnet nobody
uses, and marks all it makes with its process id; what is left of a run that was killed is removed by the next one. A
missing daemon fails the tests and says how to get one: it is never skipped.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from invoker.io.docker.engine import DockerEngine
from invoker.io.docker.prepare import BRIDGE_OPTION, ICC_OPTION
from invoker.io.docker.settings import INSTANCE_LABEL, OWNER_LABEL, DockerSettings
from tests.support import docker_images as images

__all__ = ["docker_engine", "docker_images", "docker_network", "docker_settings", "odd_image"]

OWNER = "functions-invoker-test"
SUBNETS = [f"172.31.{number}.0/24" for number in range(256)]
TIMEOUT_S = 60

Make = Callable[..., Awaitable[DockerEngine]]
_instances = itertools.count(1)
_networks = itertools.count(1)


class TestNetwork(NamedTuple):
    """The network of this run, and the owner that all of it is marked with."""

    name: str
    subnet: str
    bridge: str
    owner: str

    __test__ = False


def docker(*arguments: str) -> str:
    """Run the `docker` command; what it printed. Raises CalledProcessError."""
    command = ["docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout


def inspect(container: str) -> dict[str, Any]:
    """What Docker says of a container."""
    (shown,) = json.loads(docker("inspect", container))
    return shown


def marked(owner: str, instance: int | None = None) -> list[str]:
    """The names of the containers with these labels, running or not."""
    filters = ["--filter", f"label={OWNER_LABEL}={owner}"]
    if instance is not None:
        filters += ["--filter", f"label={INSTANCE_LABEL}={instance}"]
    return docker("ps", "--all", *filters, "--format", "{{.Names}}").split()


def remove_all(owner: str) -> None:
    """Remove every container and network with this owner, and what stands on those networks whoever owns it."""
    networks = docker("network", "ls", "--filter", f"label={OWNER_LABEL}={owner}", "--format", "{{.ID}}").split()
    filters = [f"--filter=network={network}" for network in networks]
    guests = docker("ps", "--all", *filters, "--format", "{{.Names}}").split() if networks else []
    for container in {*marked(owner), *guests}:
        subprocess.run(["docker", "unpause", container], capture_output=True, timeout=TIMEOUT_S, check=False)
        docker("rm", "--force", "--volumes", container)
    if networks:
        docker("network", "rm", *networks)


def remove_leftovers() -> None:
    """Remove what runs that were killed have left: those whose process is no more."""
    owners = docker("ps", "--all", "--format", f'{{{{.Label "{OWNER_LABEL}"}}}}')
    owners += docker("network", "ls", "--format", f'{{{{.Label "{OWNER_LABEL}"}}}}')
    for owner in set(owners.split()):
        match = re.fullmatch(rf"{OWNER}-(\d+)-\d+", owner)
        if match and not Path(f"/proc/{match[1]}").exists():
            remove_all(owner)


@contextmanager
def free_subnet() -> Generator[str]:
    """A subnet that no network of Docker's and no route of this machine touches; other runs wait meanwhile."""
    with (Path(tempfile.gettempdir()) / f"{OWNER}-subnets.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _free_subnet()


def _free_subnet() -> str:
    ids = docker("network", "ls", "--quiet").split()
    networks = [
        ip_network(config["Subnet"])
        for network in json.loads(docker("network", "inspect", *ids))
        for config in network["IPAM"]["Config"] or []
        if "Subnet" in config
    ]
    networks += _routes()
    return next(
        subnet
        for subnet in SUBNETS
        if not any(other.version == 4 and other.overlaps(IPv4Network(subnet)) for other in networks)
    )


def _routes() -> list[IPv4Network]:
    """Where this machine's routes lead, the default one left out."""
    found: list[IPv4Network] = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[column]), "little") for column in (1, 7))
        if mask:
            found.append(IPv4Network((address & mask, mask.bit_count())))
    return found


@pytest.fixture(scope="session")
def docker_images() -> dict[str, str]:
    """Kind -> image of this project's runtimes."""
    return images.action_images()


@pytest.fixture(scope="session")
def odd_image() -> str:
    """The image of tests/support/odd_runtime."""
    images.check_daemon()
    return images.build(Path(__file__).parent / "odd_runtime", base=images.base_image("python"), repository="odd")


@pytest.fixture(scope="session")
def docker_network() -> Iterator[TestNetwork]:
    """A network of this run's own; all that bears its owner is removed in the end."""
    images.check_daemon()
    number = next(_networks)  # every conftest.py that imports this fixture has one of its own
    name = owner = f"{OWNER}-{os.getpid()}-{number}"
    bridge = f"brf{os.getpid()}-{number}"
    with free_subnet() as subnet:
        remove_leftovers()
        options = [f"--opt={BRIDGE_OPTION}={bridge}", f"--opt={ICC_OPTION}=false", f"--label={OWNER_LABEL}={owner}"]
        docker("network", "create", f"--subnet={subnet}", *options, name)
    try:
        yield TestNetwork(name, subnet, bridge, owner)
    finally:
        remove_all(owner)


@pytest.fixture
def docker_settings(docker_network: TestNetwork) -> Callable[..., DockerSettings]:
    """Makes settings that fit this run, each with an instance number of its own; any of them may be given."""

    def make(**given: Any) -> DockerSettings:
        fitting: dict[str, Any] = {
            "network": docker_network.name,
            "subnet": docker_network.subnet,
            "bridge": docker_network.bridge,
            "owner": docker_network.owner,
            "instance": (instance := next(_instances)),
            "name_prefix": f"fit{os.getpid()}-{instance}",
            "oci_runtime": "runc",
            "resolver_file": None,
        }
        return DockerSettings(**(fitting | given))

    return make


@pytest.fixture
async def docker_engine(docker_settings: Callable[..., DockerSettings]) -> AsyncIterator[Make]:
    """Makes opened engines, from settings that may be given; closes them and sees that nothing is left of them."""
    engines: list[tuple[DockerEngine, DockerSettings]] = []

    async def make(observe: Callable[[str, float], None] = lambda _, __: None, **given: Any) -> DockerEngine:
        settings = docker_settings(**given)
        engine = DockerEngine(settings, observe=observe)
        await engine.open()
        engines.append((engine, settings))
        return engine

    yield make
    await asyncio.gather(*(engine.close() for engine, _ in engines))
    for _, settings in engines:
        assert marked(settings.owner, settings.instance) == []

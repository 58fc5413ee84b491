"""What an engine checks and makes before its first container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import PlatformFault, SettingsError
from invoker.io.docker.daemon import socket_path
from invoker.io.docker.engine import DockerEngine
from invoker.io.docker.prepare import BRIDGE_OPTION, ICC_OPTION
from tests.support.docker_fixtures import Make, docker, free_subnet

pytestmark = pytest.mark.docker


async def test_no_daemon(docker_settings: Any, tmp_path: Path) -> None:
    engine = DockerEngine(docker_settings(socket=str(tmp_path / "none")))
    with pytest.raises(
        PlatformFault, match=r"no daemon answers at .*/none .*start it, or name its socket in DOCKER_SOCKET"
    ):
        await engine.open()
    await engine.close()


async def test_unknown_runtime_names_the_setting(docker_settings: Any) -> None:
    engine = DockerEngine(docker_settings(oci_runtime="no-such-runtime"))
    with pytest.raises(PlatformFault, match=r"'no-such-runtime'; it knows .*runc.*OCI_RUNTIME"):
        await engine.open()
    await engine.close()


@pytest.mark.contract("17")
async def test_missing_network_is_made(docker_settings: Any, docker_network: Any) -> None:
    name = f"{docker_network.name}-made"
    with free_subnet() as subnet:
        settings = docker_settings(network=name, subnet=subnet, bridge=f"{docker_network.bridge}m"[:15])
        for _ in range(2):  # the second life finds it
            engine = DockerEngine(settings)
            await engine.open()
            await engine.close()
    (shown,) = json.loads(docker("network", "inspect", name))
    docker("network", "rm", name)
    assert shown["IPAM"]["Config"][0]["Subnet"] == settings.subnet
    assert shown["Options"][ICC_OPTION] == "false"
    assert shown["Options"][BRIDGE_OPTION] == settings.bridge


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"subnet": "172.31.255.0/25"},
            r"subnet \(CONTAINERS_SUBNET\) is '172\.31\.\d+\.0/24', not '172\.31\.255\.0/25'",
        ),
        ({"bridge": "br-other"}, r"bridge \(CONTAINERS_BRIDGE_NAME\) is 'brf\d+-\d+', not 'br-other'"),
    ],
)
async def test_network_that_does_not_fit_is_refused(docker_settings: Any, given: dict[str, str], message: str) -> None:
    engine = DockerEngine(docker_settings(**given))
    with pytest.raises(PlatformFault, match=message):
        await engine.open()
    await engine.close()


@pytest.mark.contract("17")
async def test_network_whose_containers_reach_each_other_is_warned_of(
    docker_settings: Any, docker_network: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name, bridge = f"{docker_network.name}-open", f"{docker_network.bridge}o"[:15]
    with free_subnet() as subnet:
        docker("network", "create", f"--subnet={subnet}", f"--opt={BRIDGE_OPTION}={bridge}", name)
    engine = DockerEngine(docker_settings(network=name, subnet=subnet, bridge=bridge))
    try:
        await engine.open()
        assert f"containers can reach each other on Docker network {name}" in caplog.text
    finally:
        await engine.close()
        docker("network", "rm", name)


async def test_describe(docker_engine: Make) -> None:
    engine = await docker_engine()
    described = engine.describe()
    assert described["engine"] == "docker"
    assert "runc" in described["isolation"]
    assert described["freezer"] in ("the containers' cgroups", "Docker's pause")
    assert (await docker_engine(freeze="pause")).describe()["freezer"] == "Docker's pause"


def test_socket_from_docker_host() -> None:
    assert socket_path({}) == "/var/run/docker.sock"
    assert socket_path({"DOCKER_HOST": "unix:///run/other.sock"}) == "/run/other.sock"
    for host in ("tcp://127.0.0.1:2375", "unix://", "ssh://node"):
        with pytest.raises(SettingsError, match="DOCKER_HOST"):
            socket_path({"DOCKER_HOST": host})

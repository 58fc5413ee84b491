"""The firewall kept from a helper container over the daemon's exec API; the "node" is a container's network.

The helper joins that network, so that this machine's own tables are not touched.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invoker.errors import PlatformFault
from invoker.firewall.rules import of_container
from invoker.firewall.state import ClusterState, ContainerRule
from invoker.io.docker.daemon import Daemon, socket_path
from invoker.io.docker.prepare import remove_orphans
from invoker.io.docker.settings import DockerSettings
from invoker.io.firewall.helper import HelperPrograms
from invoker.io.firewall.reconciler import FirewallReconciler
from invoker.io.firewall.settings import FirewallSettings
from tests.integration.firewall.test_packets import CLUSTER, GUARDED, LIMIT_S, REACHED
from tests.support.docker_fixtures import OWNER, docker, inspect, marked, remove_all, remove_leftovers
from tests.support.firewall_image import helper_image
from tests.support.firewall_lab import CONTAINER, Lab, lab

pytestmark = pytest.mark.docker

MANY = 5000
_numbers = itertools.count(9001)  # beyond those of the networks, in the same pattern

Settings = Callable[..., FirewallSettings]


@pytest.fixture(scope="session")
def image() -> str:
    return helper_image()


@pytest.fixture
def owner() -> Iterator[str]:
    """What all containers of a test bear; they are gone at its end, or with the next run."""
    remove_leftovers()
    name = f"{OWNER}-{os.getpid()}-{next(_numbers)}"
    yield name
    left = [each for each in marked(name) if "firewall" in each]
    remove_all(name)
    assert left == [], "a helper outlives its reconciler"


@pytest.fixture
def machine(image: str, owner: str) -> str:
    """A container whose network is the node's."""
    label = f"--label=functions-invoker.owner={owner}"
    return docker("run", "--detach", "--network=none", label, f"--name={owner}", image).strip()


@pytest.fixture
def node(machine: str) -> Iterator[Lab]:
    with lab(inspect(machine)["State"]["Pid"]) as made:
        yield made


@pytest.fixture
def settings(machine: str, image: str, owner: str) -> Settings:
    def make(**given: Any) -> FirewallSettings:
        fitting: dict[str, Any] = {
            "guarded": GUARDED,
            "image": image,
            "network_mode": f"container:{machine}",
            "owner": owner,
            "name_prefix": owner,
            "interval_s": 3600.0,
            "retry_first_s": 0.05,
            "lock_file": None,
            "backend": "nft",
        }
        return FirewallSettings(**(fitting | given))

    return make


@pytest.fixture
async def firewall(settings: Settings) -> AsyncIterator[FirewallReconciler]:
    made = FirewallReconciler(settings(), CLUSTER)
    await made.open()
    yield made
    await made.close()


@pytest.mark.contract("17")
@pytest.mark.parametrize("backend", ["legacy", "nft"])
async def test_who_can_reach_what(node: Lab, settings: Settings, backend: str) -> None:
    before = node.table()
    assert set(before.values()) == {"open"}
    made = FirewallReconciler(settings(backend=backend), CLUSTER)
    await made.open()
    await made.admit(CONTAINER, of_container(CONTAINER, [ContainerRule("accept", "169.254.0.0/16")]))
    expected = {name: "open" if name in REACHED else "refused" for name in before}
    assert node.table() == expected | {"metadata": "open"}
    await made.dismiss(CONTAINER)
    assert node.table() == expected
    assert await made.check() == f"reachable, {made.describe()}; rules in place"
    await asyncio.gather(made.close(), made.close())
    assert node.table() == expected


@pytest.mark.contract("17")
async def test_the_helper_is_no_action_container(firewall: FirewallReconciler, owner: str) -> None:
    (name,) = set(marked(owner)) - {owner}
    assert name == f"{owner}_firewall_0"
    daemon = Daemon(socket_path(), api_version="auto", limit_s=LIMIT_S)
    await daemon.open()
    assert await remove_orphans(daemon, DockerSettings(owner=owner, instance=0)) == 0
    await daemon.close()
    shown = inspect(name)
    assert shown["State"]["Running"]
    host = shown["HostConfig"]
    assert (host["CapDrop"], sorted(host["CapAdd"])) == (["ALL"], ["NET_ADMIN", "NET_RAW"])
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert not host["Binds"]


@pytest.mark.contract("17")
@pytest.mark.parametrize("deed", [("kill",), ("rm", "--force"), ("pause",), ("stop", "--time=0")])
async def test_a_helper_that_is_gone_is_made_again(
    node: Lab, firewall: FirewallReconciler, owner: str, deed: tuple[str, ...]
) -> None:
    helper = f"{owner}_firewall_0"
    first = inspect(helper)["Id"]
    docker(*deed, helper)
    node.iptables("nft", "-F", "WHISK-FIREWALL")
    await firewall.reconciled()
    assert node.table()["metadata"] == "refused"
    assert inspect(helper)["Id"] != first
    assert len(marked(owner)) == 2


async def test_a_former_lifes_helper_is_removed(settings: Settings, owner: str) -> None:
    first, second = HelperPrograms(settings()), HelperPrograms(settings())
    await first.open()
    await second.open()
    assert len(marked(owner)) == 2
    assert (await second.run(["iptables", "--version"])).code == 0
    await second.close()
    await first.close()


async def test_a_check_leaves_a_live_helper_and_its_rules_alone(
    node: Lab, firewall: FirewallReconciler, settings: Settings, owner: str
) -> None:
    other = FirewallReconciler(settings(), ClusterState())
    text = await other.check()
    assert text.endswith("to be set: WHISK-FIREWALL had other rules")
    assert "iptables v" in text
    assert sorted(marked(owner)) == sorted([owner, f"{owner}_firewall_0"])
    assert node.table()["internet"] == "open"
    assert (await firewall.check()).endswith("rules in place")
    await other.close()


async def test_a_cluster_of_many_nodes(settings: Settings, firewall: FirewallReconciler, node: Lab) -> None:
    """More text than fits a command line, through a standard input that the API can't close."""
    addresses = tuple(f"192.1.{number // 250}.{number % 250 + 1}" for number in range(MANY))
    firewall.changed(msgspec.structs.replace(CLUSTER, node_addresses=addresses))
    await firewall.reconciled()
    assert node.saved("nft").count("-d 192.1.") == MANY
    assert (await firewall.check()).endswith("rules in place")


async def test_an_image_that_is_missing_is_named(settings: Settings) -> None:
    made = FirewallReconciler(settings(image="functions-invoker-test/there-is-none:such"))
    with pytest.raises(PlatformFault, match=r"there-is-none:such is not on the node.*docker build .*FIREWALL_IMAGE"):
        await made.open()
    with pytest.raises(PlatformFault, match="there-is-none"):
        await made.check()
    await made.close()


async def test_an_image_without_iptables_is_named(settings: Settings, odd_image: str, owner: str) -> None:
    made = FirewallReconciler(settings(image=odd_image))
    with pytest.raises(PlatformFault, match=r"iptables can't be used in helper container .*FIREWALL="):
        await made.open()
    assert marked(owner) == [owner]
    await made.close()


async def test_no_daemon_is_told(settings: Settings, tmp_path: Path) -> None:
    made = FirewallReconciler(settings(socket=str(tmp_path / "none.sock")))
    with pytest.raises(PlatformFault, match="no daemon answers"):
        await made.open()
    await made.close()


async def test_iptables_programs_take_turns_by_the_nodes_lock(settings: Settings, tmp_path: Path, owner: str) -> None:
    lock = tmp_path / "xtables.lock"
    missing = FirewallReconciler(settings(lock_file=str(lock)))
    await missing.open()
    assert inspect(f"{owner}_firewall_0")["HostConfig"].get("Mounts") in (None, [])
    assert not lock.exists(), "Docker itself would make a directory in its place"
    await missing.close()
    lock.touch()
    there = FirewallReconciler(settings(lock_file=str(lock), backend="legacy"))
    await there.open()
    assert inspect(f"{owner}_firewall_0")["HostConfig"]["Mounts"][0]["Source"] == str(lock)
    await there.close()


async def test_nothing_is_left_of_an_open_that_was_given_up(settings: Settings, owner: str) -> None:
    for patience_s in (0.01, 0.05, 0.2):
        made = FirewallReconciler(settings())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.open(), patience_s)
        await made.close()
        assert marked(owner) == [owner]


async def test_a_program_that_hangs_is_ended_with_its_container(settings: Settings, owner: str) -> None:
    programs = HelperPrograms(settings(command_timeout_s=5.0))
    await programs.open()
    first = inspect(f"{owner}_firewall_0")["Id"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(programs.run(["sleep", "3600"]), 0.3)
    assert (await programs.run(["cat"], b"well")).out == b"well"
    assert inspect(f"{owner}_firewall_0")["Id"] != first
    assert (await programs.run(["false"])).code == 1
    await programs.close()
    with pytest.raises(PlatformFault, match="closed"):
        await programs.run(["true"])

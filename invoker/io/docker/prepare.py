"""◆ What has to be so before the first container is made: a daemon that can do it, a network, and nothing left behind.

An invoker that finds a setting unmet says so here, at its start, rather than at the first activation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from invoker.errors import PlatformFault
from invoker.io.containers.cgroup import ControlGroup
from invoker.io.docker.daemon import Daemon, DaemonFacts, DockerFault, NetworkFacts, Orphan, socket_path
from invoker.io.docker.settings import OWNER_LABEL, DockerSettings

log = logging.getLogger(__name__)

BRIDGE_OPTION = "com.docker.network.bridge.name"
ICC_OPTION = "com.docker.network.bridge.enable_icc"
REMOVALS_AT_A_TIME = 10
CHECK_LIMIT_S = 10.0


def check_runtime(facts: DaemonFacts, settings: DockerSettings, socket: str) -> None:
    """Raises PlatformFault where the daemon does not know the OCI runtime."""
    if settings.oci_runtime not in facts.runtimes:
        raise PlatformFault(
            f"the Docker daemon at {socket} does not know the OCI runtime {settings.oci_runtime!r}; it knows "
            f"{', '.join(facts.runtimes)}. Install it in the daemon, or choose one of those with OCI_RUNTIME"
        )


async def prepare_network(daemon: Daemon, settings: DockerSettings) -> NetworkFacts:
    """The containers' network: made where it is missing, checked where it stands. Raises PlatformFault."""
    network = await daemon.network(settings.network)
    if network is None:
        await daemon.create_network(
            {
                "Name": settings.network,
                "CheckDuplicate": True,
                "Driver": "bridge",
                "IPAM": {"Driver": "default", "Config": [{"Subnet": settings.subnet}]},
                "Options": {BRIDGE_OPTION: settings.bridge, ICC_OPTION: "false"},
                "Labels": {OWNER_LABEL: settings.owner},
            }
        )
        network = await daemon.network(settings.network)
    if network is None:
        raise PlatformFault(f"Docker network {settings.network} was made and is not there; see the daemon's log")
    _fits(network, settings)
    return network


async def check(settings: DockerSettings, images: Iterable[str]) -> str:
    """What the daemon is and whether it has all that containers of these `images` need; nothing is made or removed.

    Raises PlatformFault, which names what is wrong, all missing images together.
    """
    daemon = Daemon(settings.socket or socket_path(), api_version=settings.api_version, limit_s=CHECK_LIMIT_S)
    try:
        facts = await daemon.open()
        check_runtime(facts, settings, daemon.socket)
        network = await daemon.network(settings.network)
        if network is not None:
            _fits(network, settings)
        wanted = sorted(set(images))
        missing = [image for image in wanted if not await daemon.has_image(image)]
    finally:
        await daemon.close()
    if missing:
        raise PlatformFault(f"images are not on the node: {', '.join(missing)}; `docker pull` or build them")
    to_make = "" if network is not None else f", network {settings.network} will be made"
    return (
        f"reachable, version {facts.version}, API {facts.api_version}, OCI runtime {settings.oci_runtime}, "
        f"{len(wanted)} images{to_make}"
    )


def _fits(network: NetworkFacts, settings: DockerSettings) -> None:
    """Raises PlatformFault where a network that stands is not as the settings say."""
    found = {
        "driver": (network.driver, "bridge"),
        "subnet (CONTAINERS_SUBNET)": (network.subnet, settings.subnet),
        "bridge (CONTAINERS_BRIDGE_NAME)": (network.options.get(BRIDGE_OPTION, ""), settings.bridge),
    }
    if network.options.get(ICC_OPTION, "true") != "false":
        log.warning(
            "containers can reach each other on Docker network %s: it was made without %s=false",
            settings.network,
            ICC_OPTION,
        )
    wrong = [f"{what} is {there!r}, not {wanted!r}" for what, (there, wanted) in found.items() if there != wanted]
    if wrong:
        raise PlatformFault(
            f"Docker network {settings.network} stands, but does not fit: {'; '.join(wrong)}. Change the settings, or "
            f"remove it (`docker network rm {settings.network}`), and it is made anew"
        )


async def remove_orphans(daemon: Daemon, settings: DockerSettings) -> int:
    """Remove what a former life of this invoker left; how many could not be removed.

    Those keep their addresses, as the network goes on telling them, and their names, which a new container may then
    want in vain. Containers of other invokers have other labels and are left alone. Raises DockerFault where they can't
    be listed.
    """
    turns = asyncio.Semaphore(REMOVALS_AT_A_TIME)

    async def remove(orphan: Orphan) -> bool:
        async with turns:
            with contextlib.suppress(PlatformFault):  # a removal by force may do even so
                await _thaw(daemon, orphan)
            try:
                await daemon.remove(orphan.id)
            except DockerFault:
                return False
            return True

    orphans = await daemon.labelled(settings.labels)
    return (await asyncio.gather(*(remove(orphan) for orphan in orphans))).count(False)


async def _thaw(daemon: Daemon, orphan: Orphan) -> None:
    if orphan.paused:
        await daemon.unpause(orphan.id)
        return
    state = await daemon.state(orphan.id)
    if state is not None and state.pid:
        await group_of(orphan.id, state.pid).thaw()


def group_of(container_id: str, pid: int) -> ControlGroup:
    """The control group of a container whose main process the daemon calls `pid`.

    In a process namespace of our own that number may be somebody else's, so the group has to bear the container's id,
    as it does with either of Docker's cgroup drivers. Raises PlatformFault where it can't be reached.
    """
    group = ControlGroup.of_process(pid, f"container {container_id[:12]}, process")
    if not all(container_id in directory.name for directory in group.directories):
        raise PlatformFault(
            f"process {pid} of container {container_id[:12]} is another one here: the invoker is in a process "
            "namespace of its own (in Kubernetes, hostPID shares the node's)"
        )
    return group

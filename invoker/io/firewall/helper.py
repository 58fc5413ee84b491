"""◆ The long-lived container in which iptables runs (contract, section 17): in the node's network, with NET_ADMIN.

The invoker itself has neither, and need not: what it holds is the Docker daemon's socket, and over that it runs the
programs. The container does nothing but sleep; it is made at the start, made again when a program can't be run because
it is gone (a daemon that was restarted takes it along), and removed at the end. It bears its owner's label and a
label of its own kind, so that neither the sweep for action containers nor another invoker takes it for theirs.
"""

# pyright: reportUnknownMemberType=false
# (aiodocker leaves its keyword arguments without types)

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from invoker.errors import PlatformFault
from invoker.io.docker.daemon import Daemon, DockerFault, socket_path
from invoker.io.firewall.iptables import Output, check_size
from invoker.io.firewall.settings import FirewallSettings

log = logging.getLogger(__name__)

MEMORY_BYTES = 256 * 1024 * 1024
PIDS_MAX = 64
EXIT_STEP_S = 0.01
GONE = (404, 409)
"""What the daemon answers for a container that is no more, or doesn't run."""

MISSING_MOUNT = "bind source path does not exist"
FEED = 'head -c "$1" | { shift; exec "$@"; }'
"""Docker's API can't close a program's standard input; `head` ends it after so many bytes. Where fewer arrive, the text
lacks its COMMIT, and nothing is done."""


class HelperDaemon(Daemon):
    """The daemon's API, and running a program inside a container."""

    async def execute(self, container: str, command: list[str], given: bytes) -> Output:
        """Run to the end. Raises DockerFault, with a status of GONE where the container can't run it, and PlatformFault
        where it printed too much."""
        wrapped = ["sh", "-c", FEED, "sh", str(len(given)), *command] if given else command
        async with self._command("exec", f"container {container[:12]}"):
            target = self._api.containers.container(container)
            execution = await target.exec(cmd=wrapped, stdin=bool(given), stdout=True, stderr=True, tty=False)
            said = {1: bytearray(), 2: bytearray()}
            async with execution.start(detach=False) as stream:
                if given:
                    await stream.write_in(given)
                while (message := await stream.read_out()) is not None:
                    part = said.setdefault(message.stream, bytearray())
                    part += message.data
                    check_size(len(part))
            while True:
                shown = await execution.inspect()
                if not shown.get("Running"):
                    break
                await asyncio.sleep(EXIT_STEP_S)  # the output ends a moment before the exit code is noted
        code = shown.get("ExitCode")
        return Output(int(code) if code is not None else 137, bytes(said[1]), bytes(said[2]))


class HelperPrograms:
    """Programs run in the helper container; implements `invoker.io.firewall.iptables.Programs`."""

    def __init__(self, settings: FirewallSettings) -> None:
        self._settings = settings
        self._daemon = HelperDaemon(
            settings.socket or socket_path(), api_version=settings.api_version, limit_s=settings.command_timeout_s
        )
        self._container = ""
        self._turn = asyncio.Lock()
        self._making: asyncio.Task[str] | None = None
        self._open = False

    def __repr__(self) -> str:
        return f"<HelperPrograms {self._settings.name} {self._container[:12] or 'not there'}>"

    async def open(self) -> None:
        """Remove a former life's helper and make one. Raises PlatformFault, with nothing left behind."""
        self._open = True
        try:
            await self._daemon.open()
            await self._make()
        except BaseException:
            with contextlib.suppress(PlatformFault):
                await self.close()
            raise

    async def run(self, command: list[str], given: bytes = b"") -> Output:
        """As Programs says, one after the other. A helper that is gone is made again, once; one in which a program was
        left running (its time was up, or its caller went away) is made again by the next call."""
        async with self._turn:
            if not self._open:
                raise PlatformFault("the firewall's helper container is closed")
            container, self._container = self._container, ""
            if container:
                try:
                    output = await self._daemon.execute(container, command, given)
                except DockerFault as error:
                    if error.status not in GONE:
                        raise
                    log.warning("the firewall's helper container is gone and is made again: %s", error)
                else:
                    self._container = container
                    return output
            await self._make()
            container, self._container = self._container, ""
            output = await self._daemon.execute(container, command, given)
            self._container = container
            return output

    async def close(self) -> None:
        """Remove the helper. Twice is once. Raises PlatformFault where it may still stand."""
        if not self._open:
            return
        self._open = False
        try:
            if self._making is not None:
                await asyncio.wait((self._making,))
            await self._remove_all()
        finally:
            await self._daemon.close()

    def describe(self) -> str:
        """Where they run."""
        return f"in helper container {self._settings.name} of image {self._settings.image}"

    async def _make(self) -> None:
        """A fresh helper. A create that was asked for is seen to its end, even when the caller is cancelled."""
        self._making = asyncio.create_task(self._create())
        self._container = await asyncio.shield(self._making)

    async def _create(self) -> str:
        settings = self._settings
        await self._remove_all()
        try:
            container = await self._create_locked()
        except DockerFault as error:
            if error.status != 404:
                raise
            raise PlatformFault(
                f"the firewall's image {settings.image} is not on the node ({error}): `docker build -t "
                f"{settings.image} deploy/firewall` makes it; FIREWALL_IMAGE names another; FIREWALL=off goes without"
            ) from error
        await self._daemon.start(container)
        return container

    async def _create_locked(self) -> str:
        """With the node's lock file where there is one: Docker itself would make a directory in its place."""
        settings = self._settings
        try:
            return await self._daemon.create(settings.name, helper_body(settings))
        except DockerFault as error:
            if MISSING_MOUNT not in str(error):
                raise
        return await self._daemon.create(settings.name, helper_body(settings, locked=False))

    async def _remove_all(self) -> None:
        for helper in await self._daemon.labelled(self._settings.labels):
            if helper.paused:
                await self._daemon.unpause(helper.id)
            await self._daemon.remove(helper.id)


def helper_body(settings: FirewallSettings, *, locked: bool = True) -> dict[str, Any]:
    """The API's body of the helper: nothing but the two capabilities that iptables needs, and the node's network.

    NET_RAW is the legacy programs': they speak to the kernel through a raw socket.
    """
    mounts: list[dict[str, Any]] = []
    if locked and settings.lock_file is not None:
        mounts.append({"Type": "bind", "Source": settings.lock_file, "Target": "/run/xtables.lock"})
    return {
        "Image": settings.image,
        "Entrypoint": ["sleep"],
        "Cmd": ["infinity"],
        "Labels": settings.labels,
        "HostConfig": {
            "NetworkMode": settings.network_mode,
            "UsernsMode": "host",  # a user namespace would have no power over the node's network
            "CapDrop": ["ALL"],
            "CapAdd": ["NET_ADMIN", "NET_RAW"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/run": "rw,noexec,nosuid,nodev,size=1m"},
            "Mounts": mounts,
            "LogConfig": {"Type": "none"},
            "Memory": MEMORY_BYTES,
            "MemorySwap": MEMORY_BYTES,
            "PidsLimit": PIDS_MAX,
            "Runtime": settings.oci_runtime,
            "RestartPolicy": {"Name": "no"},
        },
    }

"""◆ The Docker daemon's API, as much of it as containers need: every call bounded in time, every failure one of ours.

aiodocker speaks it; what is added here is what it leaves open. Its pool of connections is unlimited (each call has a
time limit of its own, and the callers limit what they ask at once), its calls that wait for ever don't, and its
exceptions stop here: a DockerFault names the command, the object and what the daemon said.
"""

# pyright: reportUnknownMemberType=false
# (aiodocker leaves its keyword arguments without types)

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import aiodocker
import aiohttp
import msgspec
from aiodocker.containers import DockerContainer

from invoker.errors import PlatformFault, SettingsError

DEFAULT_SOCKET = "/var/run/docker.sock"
NOT_REACHED = 900
"""What aiodocker gives as the status where the daemon could not be reached."""

KEEPALIVE_S = 30.0


class DockerFault(PlatformFault):
    """A command of the daemon failed. `status` is its HTTP status, None where no answer came (away, or too slow).

    `refused`: the daemon did nothing, for it said so, or was never reached. Otherwise it may have done its work.
    """

    def __init__(self, message: str, status: int | None, *, refused: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.refused = refused or (status is not None and 400 <= status < 500)


class ContainerState(msgspec.Struct, frozen=True):
    """What the daemon says of a container. `pid` is 0 where it does not run."""

    running: bool
    paused: bool
    oom_killed: bool
    exit_code: int
    pid: int
    error: str


class Orphan(msgspec.Struct, frozen=True):
    """A container found by its labels."""

    id: str
    name: str
    paused: bool


class DaemonFacts(msgspec.Struct, frozen=True):
    """What the daemon says of itself."""

    version: str
    api_version: str
    runtimes: tuple[str, ...]
    cgroup_version: str
    cgroup_driver: str


class NetworkFacts(msgspec.Struct, frozen=True):
    """A Docker network. `options` are the driver's; `addresses` those that running containers have on it."""

    driver: str
    subnet: str
    gateway: str
    options: dict[str, str]
    addresses: tuple[str, ...]


def socket_path(environment: Mapping[str, str] | None = None) -> str:
    """The daemon's Unix socket: DOCKER_HOST where it is set, else the usual place.

    Raises SettingsError for a daemon elsewhere, since its containers' addresses and cgroups would not be here either.
    """
    host = (os.environ if environment is None else environment).get("DOCKER_HOST", "")
    if not host:
        return DEFAULT_SOCKET
    if not host.startswith("unix://") or len(host) == len("unix://"):
        raise SettingsError(f"DOCKER_HOST is {host!r}; only a Unix socket of this machine will do, as unix:///path")
    return host.removeprefix("unix://")


class Daemon:
    """A connection to the daemon at `socket`. Every method raises DockerFault; `limit_s` bounds each command."""

    def __init__(self, socket: str, *, api_version: str, limit_s: float) -> None:
        self.socket = socket
        self.api_version = api_version
        self.limit_s = limit_s
        self._docker: aiodocker.Docker | None = None
        self._connector: aiohttp.UnixConnector | None = None

    async def open(self) -> DaemonFacts:
        """Connect, agree on the API's version (the daemon's own where "auto"), and ask the daemon about itself."""
        # A limit of 0 is no limit: the commands that wait longest would otherwise keep the short ones waiting.
        self._connector = aiohttp.UnixConnector(self.socket, limit=0, keepalive_timeout=KEEPALIVE_S)
        self._docker = aiodocker.Docker(
            url="http://docker",
            connector=self._connector,
            api_version=self.api_version,
            timeout=aiohttp.ClientTimeout(total=self.limit_s),
        )
        async with self._command("version", "the daemon"):
            version = await self._docker.version()
            self.api_version = self._docker.api_version
            info = cast("dict[str, Any]", await self._docker.system.info())
        return DaemonFacts(
            version=str(version.get("Version", "")),
            api_version=self.api_version,
            runtimes=tuple(sorted(info.get("Runtimes") or {})),
            cgroup_version=str(info.get("CgroupVersion", "1")),
            cgroup_driver=str(info.get("CgroupDriver", "")),
        )

    async def close(self) -> None:
        """Close the connections. Twice is once."""
        docker, self._docker = self._docker, None
        connector, self._connector = self._connector, None
        if docker is not None:
            await docker.close()
        if connector is not None:
            await connector.close()

    async def has_image(self, image: str) -> bool:
        """Whether the image is on the node."""
        async with self._command("image inspect", image):
            try:
                await self._api.images.inspect(image)
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return False
                raise
        return True

    async def network(self, name: str) -> NetworkFacts | None:
        """The network called `name`; None where there is none."""
        async with self._command("network inspect", name):
            try:
                shown = await (await self._api.networks.get(name)).show()
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return None
                raise
        ipam = cast("dict[str, Any]", shown.get("IPAM") or {})
        configs = cast("list[dict[str, str]]", ipam.get("Config") or [{}])
        members = cast("dict[str, dict[str, str]]", shown.get("Containers") or {})
        return NetworkFacts(
            driver=str(shown.get("Driver", "")),
            subnet=configs[0].get("Subnet", ""),
            gateway=configs[0].get("Gateway", ""),
            options=dict(shown.get("Options") or {}),
            addresses=tuple(member.get("IPv4Address", "").partition("/")[0] for member in members.values()),
        )

    async def create_network(self, body: dict[str, object]) -> None:
        """Create a network from the API's body; one that exists already is no error."""
        async with self._command("network create", str(body.get("Name"))):
            try:
                await self._api.networks.create(body)
            except aiodocker.DockerError as error:
                if error.status != 409:
                    raise

    async def labelled(self, labels: Mapping[str, str]) -> list[Orphan]:
        """Every container that bears all these labels, running or not."""
        filters = json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
        async with self._command("ps", "containers"):
            listed = await self._api.containers.list(all="true", filters=filters)
        return [_orphan(container) for container in listed]

    async def create(self, name: str, body: dict[str, Any]) -> str:
        """Create a container; its id."""
        async with self._command("create", name):
            return (await self._api.containers.create(body, name=name)).id

    async def start(self, container: str) -> None:
        """Start it."""
        async with self._command("start", _short(container)):
            await self._api.containers.container(container).start()

    async def state(self, container: str) -> ContainerState | None:
        """What became of it; None where it is no more."""
        async with self._command("inspect", _short(container)):
            try:
                shown = await self._api.containers.container(container).show()
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return None
                raise
        state = cast("dict[str, Any]", shown.get("State") or {})
        return ContainerState(
            running=bool(state.get("Running")),
            paused=bool(state.get("Paused")),
            oom_killed=bool(state.get("OOMKilled")),
            exit_code=int(state.get("ExitCode") or 0),
            pid=int(state.get("Pid") or 0),
            error=str(state.get("Error") or ""),
        )

    async def pause(self, container: str) -> None:
        """Freeze it by the daemon."""
        async with self._command("pause", _short(container)):
            await self._api.containers.container(container).pause()

    async def unpause(self, container: str) -> None:
        """Thaw it by the daemon."""
        async with self._command("unpause", _short(container)):
            await self._api.containers.container(container).unpause()

    async def remove(self, container: str) -> None:
        """Kill and remove it, its anonymous volumes too. One that is no more is no error."""
        async with self._command("rm", _short(container)):
            try:
                await self._api.containers.container(container).delete(force=True, v=True)
            except aiodocker.DockerError as error:
                if error.status != 404:
                    raise

    @property
    def _api(self) -> aiodocker.Docker:
        if self._docker is None:
            raise DockerFault("the connection to the Docker daemon is closed", None)
        return self._docker

    @asynccontextmanager
    async def _command(self, command: str, what: str) -> AsyncGenerator[None]:
        """Bound what happens inside, and make its failure ours."""
        try:
            async with asyncio.timeout(self.limit_s):
                yield
        except aiodocker.DockerError as error:
            if error.status == NOT_REACHED:
                raise self._away(command, what, error) from error
            raise DockerFault(
                f"docker {command} of {what}: {error.message} (status {error.status})", error.status
            ) from error
        except TimeoutError as error:
            raise DockerFault(f"docker {command} of {what} gave up after {self.limit_s:g} s", None) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DockerFault(f"docker {command} of {what}: {error!r}", None) from error

    def _away(self, command: str, what: str, error: aiodocker.DockerError) -> DockerFault:
        """aiodocker's error for a lost connection does not say how far it came; the one it was made from does."""
        cause = error.__context__
        unreached = isinstance(cause, aiohttp.ClientConnectorError)
        reason = cause.strerror if isinstance(cause, aiohttp.ClientConnectorError) else cause or error.message
        return DockerFault(
            f"docker {command} of {what}: no daemon answers at {self.socket} ({reason}); start it, or name its socket "
            "in DOCKER_SOCKET",
            None,
            refused=unreached,
        )


def _orphan(container: DockerContainer) -> Orphan:
    listed = container._container  # pyright: ignore[reportPrivateUsage]
    names = cast("list[str]", listed.get("Names") or [])
    return Orphan(container.id, names[0].lstrip("/") if names else "", listed.get("State") == "paused")


def _short(container: str) -> str:
    return f"container {container[:12]}"

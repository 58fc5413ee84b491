"""◆ Action containers in Docker; implements `invoker.ports.ContainerEngine`.

What must not happen here: a container that nobody knows of, and an address that two containers have. So every container
bears the labels of its owner and instance and is removed by them when the next life begins; a create that was asked for
is seen to its end even if the asker has gone; and an address is released in one place only, where the daemon has said
that its container is no more.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.io.containers import cgroup
from invoker.io.containers.base import EngineBase, Observe, unobserved
from invoker.io.containers.http import RuntimeClient, tcp
from invoker.io.containers.log import ContainerLog
from invoker.io.docker.addresses import AddressPool
from invoker.io.docker.attach import attach
from invoker.io.docker.container import DockerContainer
from invoker.io.docker.daemon import Daemon, DaemonFacts, DockerFault, socket_path
from invoker.io.docker.prepare import REMOVALS_AT_A_TIME, check_runtime, group_of, prepare_network, remove_orphans
from invoker.io.docker.settings import DockerSettings
from invoker.ports import ContainerEngine, ContainerSpec
from invoker.protocol.container_body import container_name, create_body

PORT = 8080
CREATES_MAX = 10
NAME_TAKEN = 409


class DockerEngine(EngineBase):
    """Makes, keeps and removes the containers of one invoker. `observe` is told how long Docker's commands took."""

    def __init__(self, settings: DockerSettings, *, observe: Observe = unobserved) -> None:
        super().__init__()
        self._settings = settings
        self._observe = observe
        self._socket = settings.socket or socket_path()
        self._daemon = Daemon(self._socket, api_version=settings.api_version, limit_s=settings.command_timeout_s)
        self._by_cgroup = False
        self._leftovers = 0
        self._creates = asyncio.Semaphore(settings.creates_at_a_time or min(os.cpu_count() or 1, CREATES_MAX))
        self._containers: dict[str, DockerContainer] = {}
        self._addresses: AddressPool | None = None
        self._facts: DaemonFacts | None = None

    def __repr__(self) -> str:
        return f"<DockerEngine {self._socket} containers={len(self._containers)} {self._addresses!r}>"

    async def open(self) -> None:
        """See that the daemon can do what is asked of it, make the network where it is missing, and remove what a
        former life of this invoker left. Raises PlatformFault or SettingsError, with nothing left open."""
        try:
            self._facts = await self._daemon.open()
            check_runtime(self._facts, self._settings, self._socket)
            self._by_cgroup = self._choose_freezer()
            self._leftovers = await remove_orphans(self._daemon, self._settings)
            network = await prepare_network(self._daemon, self._settings)
            self._addresses = AddressPool(
                self._settings.subnet,
                first=self._settings.address_first,
                last=self._settings.address_last,
                gateway=network.gateway or None,
                reserved=network.addresses,  # of others, and of what could not be removed
            )
        except BaseException:
            await self._daemon.close()
            raise

    async def start(self, spec: ContainerSpec, died: Callable[[bool], None]) -> DockerContainer:
        """As the port says. Create, attach and start are limited in number at a time, and seen to their end even when
        the caller is cancelled; waiting for the runtime to answer is neither."""
        if self._addresses is None or self._closing is not None:
            raise StartFailed(f"no container of kind {spec.kind} can be started: the engine is not open")
        asked_s = time.perf_counter()
        try:
            address = self._addresses.take()
        except PlatformFault as error:
            raise StartFailed(f"no container of kind {spec.kind} can be started: {error}") from error
        try:
            await self._creates.acquire()
        except asyncio.CancelledError:
            self._addresses.release(address)
            raise
        if self._closing is not None:
            self._creates.release()
            self._addresses.release(address)
            raise StartFailed(f"no container of kind {spec.kind} can be started: the engine is closing")
        return await self._started(self._launch(spec, address, asked_s), self._await_ready, died)

    def describe(self) -> dict[str, str]:
        """What was found, for people."""
        facts = self._facts
        return {
            "engine": "docker",
            "daemon": f"{facts.version}, API {facts.api_version}, at {self._socket}" if facts else "not open",
            "isolation": f"OCI runtime {self._settings.oci_runtime}",
            "freezer": "the containers' cgroups" if self._by_cgroup else "Docker's pause",
            "limits": f"cgroup v{facts.cgroup_version} by {facts.cgroup_driver}" if facts else "",
            "addresses": repr(self._addresses),
            "left behind by a former life": str(self._leftovers),
        }

    def _choose_freezer(self) -> bool:
        """Whether to freeze through cgroups: asked for or left open, and a freezer is mounted here."""
        if self._settings.freeze == "pause":
            return False
        support = cgroup.probe()
        if not support.freezer and self._settings.freeze == "cgroup":
            raise PlatformFault(
                f"containers are to be frozen through their cgroups, which can't be done from here ({support.reason}): "
                "mount the host's /sys/fs/cgroup and share its process namespace, or leave the choice open"
            )
        return support.freezer

    # ---- starting

    async def _launch(self, spec: ContainerSpec, address: str, asked_s: float) -> DockerContainer:
        """Create, attach, start. On failure everything is undone; what can't be is told by `leaked`."""
        name = container_name(spec.number, *spec.name_parts, prefix=self._settings.name_prefix)
        begun_s = time.perf_counter()
        try:
            container = await self._create(spec, name, address)
            try:
                await self._daemon.start(container.id)
            except PlatformFault as error:
                raise await self._failed(container, str(error)) from error
        finally:
            self._creates.release()
        run_s = time.perf_counter() - begun_s
        container.start_timings.update(queue=begun_s - asked_s, run=run_s)
        self._observe("run", run_s)
        return container

    async def _create(self, spec: ContainerSpec, name: str, address: str) -> DockerContainer:
        """Create and attach; the address goes back to the pool unless something stands that can't be removed."""
        container_id = ""
        log = ContainerLog()
        try:
            body = self._body(spec, address)
            try:
                container_id = await self._daemon.create(name, body)
            except DockerFault as error:
                if error.status != NAME_TAKEN:
                    raise
                name = f"{name}_{self._settings.instance}"  # each invoker on this daemon counts its containers from 1
                container_id = await self._daemon.create(name, body)
            stream = await attach(
                self._socket, self._daemon.api_version, container_id, log.feed, limit_s=self._settings.command_timeout_s
            )
        except ValueError as error:  # the body was refused before anybody was asked
            self._pool.release(address)
            raise StartFailed(f"container {name}: {error}") from error
        except DockerFault as error:
            leaked = not await self._nothing_stands(container_id, name, error)
            if not leaked:
                self._pool.release(address)
            remedy = (
                f"; have the image on the node beforehand: `docker pull {spec.image}`" if error.status == 404 else ""
            )
            raise StartFailed(f"container {name}: {error}{remedy}", leaked=leaked) from error
        client = RuntimeClient(
            tcp(address, PORT), host=f"{address}:{PORT}", response_limit_bytes=self._settings.response_limit_bytes
        )
        container = DockerContainer(
            container_id,
            name,
            address,
            daemon=self._daemon,
            client=client,
            stream=stream,
            log=log,
            observe=self._observe,
            gone=self._gone,
            spawn=self.spawn,
        )
        self._containers[container_id] = container
        return container

    def _body(self, spec: ContainerSpec, address: str) -> dict[str, Any]:
        return create_body(
            image=spec.image,
            memory_mb=spec.memory_mb,
            network=self._settings.network,
            address=address,
            oci_runtime=self._settings.oci_runtime,
            resolver_file=self._settings.resolver_file,
            dns_servers=self._settings.dns_servers,
            api_host=self._settings.api_host,
            labels=self._settings.labels,
        )

    async def _nothing_stands(self, container_id: str, name: str, error: DockerFault) -> bool:
        """After a failed create or attach: make sure that nothing of it is left; False where that can't be."""
        try:
            if container_id:
                await self._daemon.remove(container_id)
            elif not error.refused:  # the daemon may have made it and failed to say so
                for orphan in await self._daemon.labelled(self._settings.labels):
                    if orphan.name == name and orphan.id not in self._containers:
                        await self._daemon.remove(orphan.id)
        except DockerFault:
            return False
        return True

    async def _adopt_group(self, container: DockerContainer) -> None:
        """Find its control group, which also counts kills; where it can't be reached, Docker's word has to do."""
        state = await self._daemon.state(container.id)
        if state is None or state.pid == 0:  # it has ended already, which the wait for its answer will tell
            return
        try:
            group = group_of(container.id, state.pid)
        except PlatformFault:
            if self._settings.freeze == "cgroup":
                raise
        else:
            container.adopt_group(group, freezer=self._by_cgroup, pid=state.pid)

    async def _await_ready(self, container: DockerContainer) -> None:
        """Wait for its answer, and find its control group meanwhile. Raises ContainerFault where none comes."""
        begun_s = time.perf_counter()
        adopting = self.spawn(self._adopt_group(container))
        ready = await container.ready(self._settings.ready_timeout_s)
        await asyncio.shield(adopting)
        container.start_timings["poll"] = time.perf_counter() - begun_s
        self._observe("poll", container.start_timings["poll"])
        if container.ended:
            raise ContainerFault("its main process ended before it answered; run the image by hand to see why")
        if not ready or container.id not in self._containers:
            raise ContainerFault(f"port {PORT} did not answer within {self._settings.ready_timeout_s:g} s of the start")

    # ---- the books

    @property
    def _pool(self) -> AddressPool:
        if self._addresses is None:
            raise PlatformFault("the Docker engine is not open")
        return self._addresses

    def _gone(self, container: DockerContainer) -> None:
        """The daemon has said that it is no more: the one place where an address of a container becomes free."""
        if self._containers.pop(container.id, None) is not None:
            self._pool.release(container.address)

    async def _close(self) -> None:
        await self._settle()
        try:
            await self._remove_all()
            failures = await self._remove_all()  # once more what failed
            if self._addresses is not None:
                self._leftovers = await remove_orphans(self._daemon, self._settings)  # what a start could not undo
        finally:
            await self._daemon.close()
        if failures:
            raise PlatformFault("; ".join(failures))

    async def _remove_all(self) -> list[str]:
        turns = asyncio.Semaphore(REMOVALS_AT_A_TIME)
        failures: list[str] = []

        async def remove(container: DockerContainer) -> None:
            async with turns:
                try:
                    await container.remove()
                except ContainerFault as error:
                    failures.append(str(error))

        await asyncio.gather(*(remove(container) for container in list(self._containers.values())))
        return failures


if TYPE_CHECKING:
    _fits_the_port: ContainerEngine = DockerEngine(DockerSettings())

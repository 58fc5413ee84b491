"""◆ The cluster as the firewall has to know it, always up to date: nodes, API servers, the DNS service (section 17).

Four copies of the cluster's objects are kept by reflectors; from all of them together comes one value, `state()`. A
node's heartbeat changes its object every few minutes and that value hardly ever, so only another value is told.

A cluster that can't be reached stops the start, for a node without its rules would let containers reach what they must
not. Once it was reached, the last state holds: rules that are somewhat old keep more out than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

import msgspec

from invoker.errors import PlatformFault
from invoker.firewall.state import ClusterState
from invoker.io.kubernetes.api import KubernetesApi
from invoker.io.kubernetes.objects import (
    EndpointSlice,
    Item,
    Node,
    Resource,
    ServerVersion,
    Service,
    cluster_state,
    nodes,
    service,
    slices,
)
from invoker.io.kubernetes.reflector import Observer, Pace, Reflector, Unobserved
from invoker.io.kubernetes.settings import KubernetesSettings
from invoker.io.metrics import Metrics

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0

_UNOBSERVED = Unobserved()
_PACE = Pace()


class Counted:
    """An Observer that counts in the invoker's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def listed(self, resource: str) -> None:
        """One more complete list."""
        self._metrics.kubernetes_lists.labels(resource).inc()

    def watching(self, resource: str, up: bool) -> None:
        """Whether changes arrive now."""
        self._metrics.kubernetes_watching.labels(resource).set(up)

    def failed(self, resource: str) -> None:
        """One more round that ended in a fault."""
        self._metrics.kubernetes_faults.labels(resource).inc()


class ClusterWatch:
    """Watches from `open` to `close`.

    `changed` is called on the loop whenever `state()` has become another value since `open` returned, once for what
    happened within `settle_s`.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        changed: Callable[[], None],
        *,
        observer: Observer = _UNOBSERVED,
        pace: Pace = _PACE,
    ) -> None:
        self._settings = settings
        self._changed = changed
        self._pace = pace
        self._api = KubernetesApi(settings)
        self._observer = observer
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        dns = settings.dns_namespace, settings.dns_service
        self._nodes = self._reflector(nodes())
        self._api_slices = self._reflector(slices("api_endpoints", "default", "kubernetes"))
        self._dns_services = self._reflector(service("dns_service", *dns))
        self._dns_slices = self._reflector(slices("dns_endpoints", *dns))
        self._reflectors: tuple[Reflector[Node] | Reflector[EndpointSlice] | Reflector[Service], ...] = (
            self._nodes,
            self._api_slices,
            self._dns_services,
            self._dns_slices,
        )

    def state(self) -> ClusterState:
        """What is known now; complete from the end of `open` on."""
        return cluster_state(
            self._nodes.objects.values(),
            self._api_slices.objects.values(),
            self._dns_services.objects.values(),
            self._dns_slices.objects.values(),
        )

    async def open(self) -> None:
        """Watch, and wait for the first complete list of everything, at most `open_timeout_s`.

        Raises PlatformFault, which names what could not be listed and why; all is closed again then.
        """
        self._tasks = [asyncio.create_task(one.run(), name=f"watch {one.resource.name}") for one in self._reflectors]
        try:
            async with asyncio.timeout(self._settings.open_timeout_s):
                for one in self._reflectors:
                    await one.synced.wait()
        except TimeoutError as error:
            lacking = "; ".join(self._lacking())
            await self.close()
            raise PlatformFault(
                f"the cluster was not known within {self._settings.open_timeout_s:g} s: {lacking}. See that the "
                "API server answers and the service account may list and watch these (deploy/kubernetes/rbac.yaml), or "
                "set KUBERNETES=off where there is no cluster"
            ) from error
        except BaseException:
            await self.close()
            raise
        state = self.state()
        self._warn(state)
        self._tasks.append(asyncio.create_task(self._tell(state), name="tell of the cluster"))

    async def check(self) -> str:
        """Ask the server for its version and for each list's first object; `reachable, version ...`.

        Works before `open` too. Raises PlatformFault with every request that fails.
        """
        api = KubernetesApi(self._settings)
        version = ServerVersion()
        try:
            body = await api.get("/version", {}, "asking for the version")
            with contextlib.suppress(msgspec.MsgspecError):
                version = msgspec.json.decode(body, type=ServerVersion)
            probes = [await one.probe(api) for one in self._reflectors]
        finally:
            await api.close()
        problems = [problem for problem in probes if problem is not None]
        if problems:
            raise PlatformFault("; ".join(problems))
        return f"reachable, version {version.git_version}, {self._settings.url}"

    async def close(self) -> None:
        """Watch no more; `state()` stays what it was. Twice is once."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        await self._api.close()

    def _reflector(self, resource: Resource[Item]) -> Reflector[Item]:
        return Reflector(self._api, resource, self._settings, self._dirty.set, self._observer, self._pace)

    def _lacking(self) -> Iterator[str]:
        for one in self._reflectors:
            if not one.synced.is_set():
                yield f"{one.resource.name} ({one.fault or 'no whole answer yet'})"

    def _warn(self, state: ClusterState) -> None:
        settings = self._settings
        if state.dns_service is None:
            log.warning(
                "the cluster has no DNS service %s/%s with an address: containers are let through to none",
                settings.dns_namespace,
                settings.dns_service,
            )
        if not state.api_endpoints:
            log.warning("default/kubernetes has no endpoints: containers can't be kept from the API server by them")

    async def _tell(self, told: ClusterState) -> None:
        """Tell of another state, once for all that happened meanwhile."""
        while True:
            await self._dirty.wait()
            await self._pace.wait(self._settings.settle_s)
            self._dirty.clear()
            state = self.state()
            if state == told:
                continue
            told = state
            log.info(
                "the cluster changed: %d node addresses, %d API endpoints, %d DNS pods",
                len(state.node_addresses),
                len(state.api_endpoints),
                len(state.dns_pods),
            )
            try:
                self._changed()
            except Exception as error:  # a defect of the listener's: later changes are told all the same
                log.error("telling of the cluster failed", exc_info=error)

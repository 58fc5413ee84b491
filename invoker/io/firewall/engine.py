"""◆ An engine whose containers stand behind the firewall; wraps any `ContainerEngine` that gives them IPv4 addresses.

Three promises (contract, section 17). No container is started before the firewall stands, also not by an engine that
made its network just now (Docker then puts rules that let it out before everything else); nor after one has died by
itself, for a daemon that is restarted does both. A container that gets rules
of its own has them before it is handed out: whose it is, is known at its first dispatch, for a prewarmed one as for one
that was started for somebody else. And it loses them before it is removed; where it can't, it stays, frozen, and so
does its address, for the next tenant must not inherit them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.firewall.rules import of_container
from invoker.io.firewall.reconciler import FirewallReconciler
from invoker.policy.outcome import Condition, Reply
from invoker.ports import Container, ContainerEngine, ContainerSpec, TenantGuard, TenantRules
from invoker.protocol.logs import CollectedLog

log = logging.getLogger(__name__)


class FirewalledEngine:
    """Implements `ContainerEngine` and `TenantGuard`. `tenants` None: no container gets rules of its own.

    `firewall` is opened before this, and closed after it.
    """

    def __init__(
        self, inner: ContainerEngine, firewall: FirewallReconciler, tenants: TenantRules | None = None
    ) -> None:
        self._inner = inner
        self._firewall = firewall
        self._tenants = tenants
        self._deaths = self._reconciled_deaths = 0

    def __repr__(self) -> str:
        return f"<FirewalledEngine {self._inner!r} {self._firewall!r}>"

    async def open(self) -> None:
        """As the port says; the firewall is first again when this returns."""
        await self._inner.open()
        try:
            await self._firewall.reconciled()
        except BaseException:
            await self._inner.close()
            raise

    async def start(self, spec: ContainerSpec, died: Callable[[bool], None]) -> Container:
        """As the port says; the firewall is first again, if a container's death has put that in doubt."""
        if self._reconciled_deaths < (deaths := self._deaths):
            try:
                await self._firewall.reconciled()
            except PlatformFault as error:
                raise StartFailed(f"no container is started without the firewall: {error}") from error
            self._reconciled_deaths = max(self._reconciled_deaths, deaths)
        container = await self._inner.start(spec, partial(self._died, died))
        return container if self._tenants is None else FirewalledContainer(container, self._firewall)

    def _died(self, died: Callable[[bool], None], oom: bool) -> None:
        self._deaths += 1
        died(oom)

    async def admit(self, container: Container, namespace: str) -> None:
        """As `TenantGuard` says."""
        if self._tenants is None:
            return
        assert isinstance(container, FirewalledContainer)
        try:
            rules = self._tenants.rules_for(namespace)
            own = None if rules is None else of_container(container.address, rules)
        except Exception as error:
            raise ContainerFault(
                f"the firewall rules of namespace {namespace} can't be told, so its container is not used: {error!r}"
            ) from error
        if own:
            await container.guard(own)

    async def close(self) -> None:
        """As the port says. Rules that can't be removed now are removed by the next life, before it starts anything."""
        try:
            await self._firewall.dismiss(*self._firewall.own)
        except PlatformFault as error:
            log.error("containers are removed with their firewall rules left in place: %s", error)
        await self._inner.close()

    def describe(self) -> dict[str, str]:
        """As the port says, with the firewall."""
        return self._inner.describe() | {"firewall": self._firewall.describe()}


class FirewalledContainer:
    """A container that may have rules of its own; implements `Container`.

    `start_timings` also has, in seconds, `firewall_setup` where it got rules of its own, and `firewall_cleanup` once
    they are removed.
    """

    def __init__(self, inner: Container, firewall: FirewallReconciler) -> None:
        self._inner = inner
        self._firewall = firewall
        self._timings: dict[str, float] = {}
        self._frozen = False
        self._guarded = False
        self._leaving = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<FirewalledContainer {self._inner!r} guarded={self._guarded}>"

    @property
    def id(self) -> str:
        """The engine's own id."""
        return self._inner.id

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self._inner.address

    @property
    def start_timings(self) -> Mapping[str, float]:
        """The inner container's, and the firewall's."""
        return {**self._inner.start_timings, **self._timings} if self._timings else self._inner.start_timings

    async def guard(self, rules: tuple[str, ...]) -> None:
        """Returns once these rules hold. Raises ContainerFault."""
        began_s = time.perf_counter()
        self._guarded = True
        try:
            await self._firewall.admit(self.address, rules)
        except PlatformFault as error:
            raise ContainerFault(f"container {self.id[:12]} can't get its firewall rules: {error}") from error
        self._timings["firewall_setup"] = time.perf_counter() - began_s
        self._firewall.observe("setup", self._timings["firewall_setup"])

    async def init(self, body: bytes, timeout_s: float) -> Reply:
        """As the port says."""
        return await self._inner.init(body, timeout_s)

    async def run(self, body: bytes, timeout_s: float) -> Reply:
        """As the port says."""
        return await self._inner.run(body, timeout_s)

    def arm_logs(self, limit_bytes: int) -> None:
        """As the port says."""
        self._inner.arm_logs(limit_bytes)

    async def collect_logs(self, wait_s: float, error: str | None = None) -> CollectedLog:
        """As the port says."""
        return await self._inner.collect_logs(wait_s, error)

    async def pause(self) -> None:
        """As the port says."""
        await self._inner.pause()
        self._frozen = True

    async def unpause(self) -> None:
        """As the port says."""
        await self._inner.unpause()
        self._frozen = False

    async def remove(self) -> None:
        """As the port says; its own rules go first, and it is frozen while they do, for it must not run without them.
        Raises ContainerFault where they can't go: the container then stays."""
        async with self._leaving:
            if self._guarded:
                await self._unguard()
                self._guarded = False
        await self._inner.remove()

    async def _unguard(self) -> None:
        began_s = time.perf_counter()
        if not self._frozen:
            with contextlib.suppress(ContainerFault):  # one that is dead already runs nothing
                await self.pause()
        try:
            await self._firewall.dismiss(self.address)
        except PlatformFault as error:
            raise ContainerFault(
                f"container {self.id[:12]} stays, and so does its address {self.address}, because its firewall rules "
                f"could not be removed: {error}"
            ) from error
        self._timings["firewall_cleanup"] = time.perf_counter() - began_s
        self._firewall.observe("cleanup", self._timings["firewall_cleanup"])

    async def condition(self) -> Condition:
        """As the port says."""
        return await self._inner.condition()


if TYPE_CHECKING:
    _fits_the_ports: tuple[type[ContainerEngine], type[TenantGuard], type[Container]] = (
        FirewalledEngine,
        FirewalledEngine,
        FirewalledContainer,
    )

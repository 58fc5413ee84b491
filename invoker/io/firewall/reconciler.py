"""◆ Keeps the node's firewall as it shall be (contract, section 17): at the start, every minute, and at every change.

One task reads the table, asks `invoker.firewall.plan` for the difference and has it written; nobody else does. Who
changes something (the cluster's watch, a container that gets rules of its own) only notes it and wakes the task; who
has to know that it holds waits for a turn that began after. So changes that come together cost one turn.

The last state of the cluster is kept until another is told, and a turn that fails leaves the last firewall in place:
it is told once, counted each time, and tried again soon. At the end the rules stay, for they harm nobody, and a
container that could not be removed stays behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from invoker.errors import PlatformFault
from invoker.firewall.plan import Plan, plan
from invoker.firewall.state import ClusterState
from invoker.io.firewall.helper import HelperPrograms
from invoker.io.firewall.iptables import HostPrograms, Iptables
from invoker.io.firewall.settings import FirewallSettings, Observe, Operation, Outcome

log = logging.getLogger(__name__)

RETRY_FACTOR = 2


class Tables(Protocol):
    """The filter table, as `Iptables` offers it."""

    async def open(self) -> None: ...

    async def save(self) -> str: ...

    async def restore(self, text: str) -> None: ...

    async def close(self) -> None: ...

    def describe(self) -> str: ...


def tables_for(settings: FirewallSettings) -> Tables:
    """The iptables programs where the settings want them."""
    limit_s = settings.command_timeout_s
    return Iptables(HostPrograms(limit_s) if settings.place == "host" else HelperPrograms(settings), settings.backend)


def _uncounted(outcome: Outcome) -> None:
    """Nobody asked for counts."""


def _unobserved(operation: Operation, seconds: float) -> None:
    """Nobody asked for timings."""


class FirewallReconciler:
    """The firewall of one node. `count` is told the outcome of each turn, `observe` what took how long.

    `cluster`: what is known before anything was learnt.
    """

    def __init__(
        self,
        settings: FirewallSettings,
        cluster: ClusterState | None = None,
        *,
        count: Callable[[Outcome], None] = _uncounted,
        observe: Observe = _unobserved,
        tables: Callable[[FirewallSettings], Tables] = tables_for,
    ) -> None:
        self.observe = observe
        self._settings = settings
        self._cluster = cluster or ClusterState()
        self._count = count
        self._make_tables = tables
        self._tables = tables(settings)
        self._own: dict[str, tuple[str, ...]] = {}
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []  # as many as there are containers at most
        self._told: frozenset[str] = frozenset()
        self._failures = 0
        self._keeper: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<FirewallReconciler containers={len(self._own)} waiting={len(self._waiters)} failed={self._failures}>"

    @property
    def own(self) -> frozenset[str]:
        """The addresses that have, or may still have, rules of their own."""
        return frozenset(self._own)

    async def open(self) -> None:
        """The first turn, which also removes what a former life's containers had of their own; then keep on. Raises
        PlatformFault where the firewall can't be set up: no container may start without one."""
        await self._tables.open()
        try:
            await self._turn()
        except BaseException:
            with contextlib.suppress(PlatformFault):
                await self._tables.close()
            raise
        log.info("the firewall stands: %s", self.describe())
        self._keeper = asyncio.create_task(self._keep())

    def changed(self, cluster: ClusterState) -> None:
        """The cluster is this from now on; the firewall follows at once."""
        if cluster != self._cluster:
            self._cluster = cluster
            self._wake.set()

    async def reconciled(self) -> None:
        """Returns once a turn that began after this call has succeeded. Raises PlatformFault where it failed."""
        if self._keeper is None or self._closing is not None:
            raise PlatformFault("the firewall is not being kept: it is not open")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        await waiter

    async def admit(self, address: str, rules: tuple[str, ...]) -> None:
        """The container at `address` has these rules (from `rules.of_container`) once this returns. Raises
        PlatformFault, and then it may have them or not: before the address is another's, they have to be dismissed."""
        self._own[address] = rules
        await self.reconciled()

    async def dismiss(self, *addresses: str) -> None:
        """These have no rules of their own any more once this returns. Raises PlatformFault, and then they are kept as
        they were."""
        removed = {address: self._own.pop(address) for address in addresses if address in self._own}
        if not removed:
            return
        try:
            await self.reconciled()
        except BaseException:
            self._own.update(removed)
            self._wake.set()
            raise

    async def close(self) -> None:
        """Keep it no longer; the rules stay. Twice is once. Raises PlatformFault where the helper may still stand."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def check(self) -> str:
        """Whether the firewall can be read, and what it lacks, without changing it. Raises PlatformFault."""
        if self._keeper is not None:
            return self._verdict(await self._tables.save(), self._tables)
        tables = self._make_tables(msgspec.structs.replace(self._settings, role="check"))
        await tables.open()
        try:
            return self._verdict(await tables.save(), tables)
        finally:
            await tables.close()

    def describe(self) -> str:
        """How it is kept, for people."""
        return self._tables.describe()

    # ---- the one task that writes

    async def _keep(self) -> None:
        pause_s = self._settings.interval_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            self._wake.clear()
            pause_s = await self._attempt()

    async def _attempt(self) -> float:
        """One turn, for all who wait by now; how long to rest after it, in seconds."""
        waiters, self._waiters = self._waiters, []
        settings = self._settings
        try:
            await self._turn()
        except Exception as error:
            self._settle(waiters, error)
            self._failures += 1
            if not isinstance(error, PlatformFault):
                log.exception("the firewall met a defect of the invoker")
            elif self._failures == 1:
                log.error("the firewall can't be kept, what stood stays and it is tried again: %s", error)
            return min(settings.retry_first_s * RETRY_FACTOR ** min(self._failures - 1, 16), settings.interval_s)
        except BaseException:
            self._settle(waiters, PlatformFault("the firewall is closing"))
            raise
        if self._failures:
            log.info("the firewall is kept again, after %d failures", self._failures)
            self._failures = 0
        self._settle(waiters, None)
        return settings.interval_s

    def _settle(self, waiters: list[asyncio.Future[None]], error: Exception | None) -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(PlatformFault(f"the firewall could not be brought up to date: {error}"))

    async def _turn(self) -> None:
        """Read, compare, write what differs. Raises PlatformFault."""
        began_s = time.perf_counter()
        try:
            difference = self._plan(await self._tables.save())
            if difference.text:
                await self._tables.restore(difference.text)
        except PlatformFault:
            self._count("failed")
            raise
        self._count("changed" if difference.text else "unchanged")
        self.observe("reconcile", time.perf_counter() - began_s)
        if difference.text:
            log.info("the firewall was brought up to date: %s", "; ".join(difference.reasons))
        for skipped in set(difference.skipped) - self._told:
            log.warning("no firewall rule is made: %s", skipped)
        self._told = frozenset(difference.skipped)

    def _plan(self, present: str) -> Plan:
        own = [rule for rules in self._own.values() for rule in rules]
        return plan(present, self._cluster, self._settings.guarded, own)

    def _verdict(self, present: str, tables: Tables) -> str:
        reasons = self._plan(present).reasons
        return f"reachable, {tables.describe()}; {'to be set: ' + '; '.join(reasons) if reasons else 'rules in place'}"

    async def _close(self) -> None:
        if self._keeper is None:
            return
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        self._settle(self._waiters, PlatformFault("the firewall is closing"))
        await self._tables.close()

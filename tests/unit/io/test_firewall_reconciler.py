"""When the firewall is looked at, who is told what came of it, and what a failure leaves; the tables are a fake."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from invoker.errors import PlatformFault
from invoker.firewall.plan import plan
from invoker.firewall.rules import of_container
from invoker.firewall.state import ClusterState, ContainerRule, Guarded
from invoker.io.firewall.reconciler import FirewallReconciler
from invoker.io.firewall.settings import FirewallSettings, Outcome

LIMIT_S = 5
GUARDED = Guarded("br-functions", "172.18.0.0/16")
NODES = ClusterState(node_addresses=("203.0.113.7",))
OWN = of_container("172.18.0.9", [ContainerRule("accept", "10.20.0.0/16")])


class FakeTables:
    """Holds the texts that were restored; `save` shows the firewall that they add up to."""

    def __init__(self, settings: FirewallSettings) -> None:
        self.role = settings.role
        self.texts: list[str] = []
        self.shown = ""
        self.broken: PlatformFault | Exception | None = None
        self.gate: asyncio.Event | None = None
        self.saving = asyncio.Event()
        self.opened = 0
        self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def save(self) -> str:
        self.saving.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        return self.shown

    async def restore(self, text: str) -> None:
        self.texts.append(text)
        chains = {line.split()[0][1:]: line for line in text.splitlines() if line.startswith(":")}
        kept = [
            line
            for line in self.shown.splitlines()
            if line not in ("*filter", "COMMIT")
            and not any(line.startswith((f"-A {name} ", f":{name} ")) for name in chains)
        ]
        added = [line for line in text.splitlines() if line.startswith((":", "-A"))]
        jumps = [f"-A {line.split(' ', 3)[1]} {line.split(' ', 3)[3]}" for line in text.splitlines() if "-I" in line]
        self.shown = "\n".join(["*filter", *kept, *jumps, *added, "COMMIT"])

    async def close(self) -> None:
        self.closed += 1

    def describe(self) -> str:
        return "a fake"


class Bench:
    """A reconciler over fake tables, and what it told."""

    def __init__(self, interval_s: float = 3600, retry_first_s: float = 0.01) -> None:
        self.made: list[FakeTables] = []
        self.outcomes: list[Outcome] = []
        self.spans: list[str] = []
        self.counted = asyncio.Condition()
        settings = FirewallSettings(guarded=GUARDED, interval_s=interval_s, retry_first_s=retry_first_s)
        self.reconciler = FirewallReconciler(
            settings,
            NODES,
            count=self._count,
            observe=lambda operation, _: self.spans.append(operation),
            tables=self._tables,
        )
        self.tables = self.made[0]

    def _tables(self, settings: FirewallSettings) -> FakeTables:
        self.made.append(FakeTables(settings))
        return self.made[-1]

    def _count(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        asyncio.get_running_loop().call_soon(asyncio.ensure_future, self._tell())

    async def _tell(self) -> None:
        async with self.counted:
            self.counted.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a turn after which the condition holds."""
        async with asyncio.timeout(LIMIT_S), self.counted:
            await self.counted.wait_for(condition)

    def own(self) -> list[str]:
        """The rules of PER-CONTAINER-FIREWALL that stand."""
        return [line.partition(" ")[2] for line in self.tables.shown.splitlines() if line.startswith("-A PER-")]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.reconciler.open()
    yield made
    await made.reconciler.close()


@pytest.mark.contract("17")
async def test_the_first_turn_is_over_when_it_is_open(bench: Bench) -> None:
    assert bench.outcomes == ["changed"]
    assert bench.tables.texts == [plan("", NODES, GUARDED).text]
    assert bench.spans == ["reconcile"]


@pytest.mark.contract("17")
async def test_it_is_looked_at_every_interval() -> None:
    made = Bench(interval_s=0.01)
    await made.reconciler.open()
    await made.until(lambda: len(made.outcomes) >= 4)
    assert set(made.outcomes[1:]) == {"unchanged"}
    made.tables.shown = ""
    await made.until(lambda: made.outcomes.count("changed") == 2)
    await made.reconciler.close()


@pytest.mark.contract("17")
async def test_it_follows_the_cluster_at_once_and_keeps_the_last_state(bench: Bench) -> None:
    other = ClusterState(node_addresses=("203.0.113.8",))
    bench.reconciler.changed(other)
    await bench.until(lambda: len(bench.outcomes) == 2)
    assert "203.0.113.8" in bench.tables.texts[-1]
    bench.tables.saving.clear()
    bench.reconciler.changed(ClusterState(node_addresses=("203.0.113.8",)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not bench.tables.saving.is_set(), "the same state is no change"
    bench.tables.shown = ""
    await bench.reconciler.reconciled()
    assert bench.tables.texts[-1] == plan("", other, GUARDED).text


async def test_one_turn_at_a_time_and_who_comes_meanwhile_shares_the_next(bench: Bench) -> None:
    gate = bench.tables.gate = asyncio.Event()
    bench.tables.saving.clear()
    first = asyncio.create_task(bench.reconciler.reconciled())
    await asyncio.wait_for(bench.tables.saving.wait(), LIMIT_S)
    others = [asyncio.create_task(bench.reconciler.reconciled()) for _ in range(10)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(asyncio.gather(first, *others), LIMIT_S)
    assert len(bench.outcomes) == 3


@pytest.mark.contract("17")
async def test_a_failure_is_told_once_counted_each_time_and_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.tables.broken = PlatformFault("the daemon is away")
    before = bench.tables.shown
    with pytest.raises(PlatformFault, match="brought up to date: the daemon is away"):
        await bench.reconciler.reconciled()
    await bench.until(lambda: bench.outcomes.count("failed") >= 3)
    assert bench.tables.shown == before
    assert [record.levelname for record in caplog.records if "tried again" in record.message] == ["ERROR"]
    bench.tables.broken = None
    bench.tables.shown = ""
    await bench.until(lambda: bench.outcomes[-1] == "changed")
    await bench.reconciler.reconciled()
    assert sum("kept again" in record.message for record in caplog.records) == 1


async def test_a_defect_ends_nobodys_waiting(bench: Bench) -> None:
    bench.tables.broken = RuntimeError("a defect")
    with pytest.raises(PlatformFault, match="a defect"):
        await bench.reconciler.reconciled()
    bench.tables.broken = None
    await asyncio.wait_for(bench.reconciler.reconciled(), LIMIT_S)


@pytest.mark.contract("17")
async def test_a_start_without_a_firewall_fails() -> None:
    made = Bench()
    made.tables.broken = PlatformFault("no iptables")
    with pytest.raises(PlatformFault, match="no iptables"):
        await made.reconciler.open()
    assert (made.tables.opened, made.tables.closed, made.outcomes) == (1, 1, ["failed"])
    with pytest.raises(PlatformFault, match="not open"):
        await made.reconciler.reconciled()
    await made.reconciler.close()


async def test_closing_ends_who_waits_and_closes_once() -> None:
    made = Bench()
    await made.reconciler.open()
    made.tables.gate = asyncio.Event()
    made.tables.saving.clear()
    under_way = asyncio.create_task(made.reconciler.reconciled())
    await asyncio.wait_for(made.tables.saving.wait(), LIMIT_S)
    next_turn = asyncio.create_task(made.reconciler.reconciled())
    await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(made.reconciler.close(), made.reconciler.close()), LIMIT_S)
    for waiting in (under_way, next_turn):
        with pytest.raises(PlatformFault, match="closing"):
            await waiting
    assert made.tables.closed == 1


@pytest.mark.contract("17")
async def test_a_container_gets_its_rules_and_loses_them(bench: Bench) -> None:
    await bench.reconciler.admit("172.18.0.9", OWN)
    assert bench.own()[1:] == [f"PER-CONTAINER-FIREWALL {rule}" for rule in OWN]
    await bench.reconciler.dismiss("172.18.0.9", "172.18.0.200")
    assert bench.own() == []
    turns = len(bench.outcomes)
    await bench.reconciler.dismiss("172.18.0.9")
    assert len(bench.outcomes) == turns, "who has none costs no look"


@pytest.mark.contract("17")
async def test_rules_that_could_not_be_removed_are_kept_in_mind(bench: Bench) -> None:
    await bench.reconciler.admit("172.18.0.9", OWN)
    bench.tables.broken = PlatformFault("stuck")
    with pytest.raises(PlatformFault, match="stuck"):
        await bench.reconciler.dismiss("172.18.0.9")
    assert bench.reconciler.own == {"172.18.0.9"}
    bench.tables.broken = None
    bench.tables.shown = ""
    await bench.reconciler.reconciled()
    assert bench.own()[1:] == [f"PER-CONTAINER-FIREWALL {rule}" for rule in OWN]
    await bench.reconciler.dismiss("172.18.0.9")
    assert bench.reconciler.own == frozenset()


async def test_rules_that_may_have_been_set_up_have_to_be_dismissed(bench: Bench) -> None:
    bench.tables.broken = PlatformFault("stuck")
    with pytest.raises(PlatformFault, match="stuck"):
        await bench.reconciler.admit("172.18.0.9", OWN)
    assert bench.reconciler.own == {"172.18.0.9"}


async def test_a_check_changes_nothing_and_leaves_nothing_open() -> None:
    made = Bench()
    text = await made.reconciler.check()
    assert text.startswith("reachable, a fake; to be set: PER-CONTAINER-FIREWALL was missing; ")
    tables = made.made[-1]
    assert (tables.role, tables.opened, tables.closed, tables.texts) == ("check", 1, 1, [])
    assert made.tables.opened == 0


async def test_what_is_skipped_is_told_once(caplog: pytest.LogCaptureFixture, bench: Bench) -> None:
    odd = ClusterState(node_addresses=("2001:db8::7",))
    bench.reconciler.changed(odd)
    for _ in range(3):
        await bench.reconciler.reconciled()
    assert sum("2001:db8::7 is IPv6" in record.message for record in caplog.records) == 1


def test_a_helper_bears_no_mark_of_an_action_container() -> None:
    settings = FirewallSettings(guarded=GUARDED, owner="o", instance=3)
    assert settings.name == "wsk_firewall_3"
    assert settings.labels == {"functions-invoker.owner": "o", "functions-invoker.firewall": "3"}

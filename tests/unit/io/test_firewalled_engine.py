"""Containers behind the firewall: the rules of one hold before it is handed out, and are gone before it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.firewall.state import ContainerRule
from invoker.io.containers.fake import FakeContainer, FakeEngine, Moment
from invoker.io.firewall.engine import FirewalledContainer, FirewalledEngine
from invoker.policy.types import ContainerId
from invoker.ports import ContainerSpec
from tests.unit.io.test_firewall_reconciler import Bench

RULES = [ContainerRule("accept", "10.20.0.0/16")]
ADDRESS = "172.18.0.9"
SPEC = ContainerSpec(ContainerId(9), "python:3", "image", 256, ("prewarm", "python:3"))


class Tenants:
    """`guarded` gets rules of its own, `odd` ones that can't be; `lost` can't be told at all."""

    def rules_for(self, namespace: str) -> Sequence[ContainerRule] | None:
        if namespace == "lost":
            raise RuntimeError("who is that?")
        odd = [ContainerRule("accept", ports=(1, 2))]
        return {"guarded": RULES, "odd": odd, "empty": []}.get(namespace)


class Node(Bench):
    """An engine behind the firewall; `moments` are those of its containers, with the number of rules that held."""

    def __init__(self, tenants: Tenants | None) -> None:
        super().__init__()
        self.moments: list[tuple[Moment, int]] = []
        self.inner = FakeEngine(gate=self._note)
        self.engine = FirewalledEngine(self.inner, self.reconciler, tenants)

    async def _note(self, moment: Moment, _: ContainerSpec) -> None:
        self.moments.append((moment, len(self.own())))

    async def start(self) -> FirewalledContainer:
        container = await self.engine.start(SPEC, lambda _: None)
        assert isinstance(container, FirewalledContainer)
        return container


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setattr(FakeContainer, "address", property(lambda self: f"172.18.0.{self.spec.number}"))
    made = Node(Tenants())
    await made.reconciler.open()
    await made.engine.open()
    yield made
    made.tables.broken = None
    await made.engine.close()
    await made.reconciler.close()


@pytest.mark.contract("17")
async def test_rules_hold_before_init_and_go_before_the_container(node: Node) -> None:
    container = await node.start()
    assert "firewall_setup" not in container.start_timings
    await node.engine.admit(container, "guarded")
    assert container.start_timings["firewall_setup"] >= 0
    await container.init(b"{}", 1)
    await container.run(b'{"value": {}}', 1)
    await container.remove()
    assert container.start_timings["firewall_cleanup"] >= 0
    held = [(moment, rules) for moment, rules in node.moments if moment in ("init", "run", "pause", "remove")]
    assert held == [("init", 2), ("run", 2), ("pause", 2), ("remove", 0)], "frozen while it loses them"
    assert {"setup", "cleanup"} <= set(node.spans)
    assert node.inner.containers == {}


@pytest.mark.contract("17")
@pytest.mark.parametrize("namespace", ["somebody", "empty"])
async def test_who_gets_no_rules_costs_no_look(node: Node, namespace: str) -> None:
    turns = len(node.outcomes)
    container = await node.start()
    await node.engine.admit(container, namespace)
    await container.remove()
    assert len(node.outcomes) == turns
    assert "firewall_setup" not in container.start_timings


@pytest.mark.contract("17")
async def test_after_a_death_the_firewall_is_first_again_before_the_next_start(node: Node) -> None:
    died: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    await node.engine.start(SPEC, died.set_result)
    turns = len(node.outcomes)
    (container,) = node.inner.containers.values()
    container.end()
    async with asyncio.timeout(20):
        assert await died is False
    assert len(node.outcomes) == turns, "nobody is started"
    node.tables.broken = PlatformFault("the daemon is away")
    with pytest.raises(StartFailed, match=r"no container is started without the firewall.*the daemon is away"):
        await node.start()
    node.tables.broken = None
    await node.start()
    turns = len(node.outcomes)
    await node.start()
    assert len(node.outcomes) == turns, "once is enough"


@pytest.mark.contract("17")
async def test_a_container_stays_while_its_rules_do(node: Node) -> None:
    container = await node.start()
    await node.engine.admit(container, "guarded")
    node.tables.broken = PlatformFault("the helper is gone")
    for _ in range(2):
        with pytest.raises(ContainerFault, match=rf"stays, and so does its address {ADDRESS}.*the helper is gone"):
            await container.remove()
    assert len(node.inner.containers) == 1
    node.tables.broken = None
    await container.remove()
    assert node.inner.containers == {}
    assert [moment for moment, _ in node.moments].count("pause") == 1


async def test_removals_together_wait_for_the_rules_and_a_late_one_touches_no_other_tenant(node: Node) -> None:
    container = await node.start()
    await node.engine.admit(container, "guarded")
    gate = node.tables.gate = asyncio.Event()
    removals = [asyncio.create_task(container.remove()) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(node.inner.containers) == 1
    gate.set()
    await asyncio.gather(*removals)
    next_tenant = await node.start()
    await node.engine.admit(next_tenant, "guarded")
    await container.remove()
    assert len(node.own()) == 2


@pytest.mark.parametrize(("namespace", "what"), [("lost", "who is that"), ("odd", "can't be matched")])
async def test_rules_that_cannot_be_told_keep_the_container_back(node: Node, namespace: str, what: str) -> None:
    container = await node.start()
    with pytest.raises(ContainerFault, match=what):
        await node.engine.admit(container, namespace)
    await container.remove()
    assert node.own() == []


@pytest.mark.contract("17")
async def test_rules_that_cannot_be_set_up_keep_the_container_back(node: Node) -> None:
    container = await node.start()
    node.tables.broken = PlatformFault("stuck")
    with pytest.raises(ContainerFault, match="can't get its firewall rules"):
        await node.engine.admit(container, "guarded")
    with pytest.raises(ContainerFault, match="stays"):
        await container.remove()
    node.tables.broken = None
    await container.remove()


async def test_a_dead_or_frozen_container_loses_its_rules_too(node: Node) -> None:
    for deed in ("end", "pause"):
        container = await node.start()
        await node.engine.admit(container, "guarded")
        if deed == "pause":
            await container.pause()
        else:
            next(iter(node.inner.containers.values())).end()
        await container.remove()
        assert node.own() == []
    assert [moment for moment, _ in node.moments].count("pause") == 1


@pytest.mark.contract("17")
async def test_no_container_starts_before_the_firewall_is_first(node: Node) -> None:
    other = Node(Tenants())
    with pytest.raises(PlatformFault, match="not open"):
        await other.engine.open()
    await other.reconciler.open()
    other.tables.shown = ""  # as when the engine's network was made in between
    other.inner = FakeEngine()
    engine = FirewalledEngine(other.inner, other.reconciler, None)
    await engine.open()
    assert other.outcomes == ["changed", "changed"]
    await engine.close()
    await other.reconciler.close()


async def test_without_tenants_containers_are_the_engines_own(node: Node) -> None:
    engine = FirewalledEngine(node.inner, node.reconciler)
    container = await engine.start(SPEC, lambda _: None)
    assert isinstance(container, FakeContainer)
    await engine.admit(container, "guarded")
    assert node.own() == []
    assert engine.describe()["firewall"] == "a fake"
    await container.remove()


async def test_closing_takes_the_rules_and_the_containers(node: Node) -> None:
    await node.engine.admit(await node.start(), "guarded")
    await node.engine.close()
    assert node.own() == []
    assert node.inner.containers == {}


async def test_closing_with_rules_that_stay_removes_the_containers(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await node.engine.admit(await node.start(), "guarded")
    node.tables.broken = PlatformFault("stuck")
    await node.engine.close()
    assert node.inner.containers == {}
    assert "firewall rules left in place" in caplog.text


async def test_all_else_is_the_inner_containers(node: Node) -> None:
    container = await node.start()
    (inner,) = node.inner.containers.values()
    assert (container.id, container.address) == (inner.id, ADDRESS)
    container.arm_logs(1000)
    assert (await container.run(b'{"value": {"a": 1}}', 1)).body == b'{"a": 1}'
    assert (await container.collect_logs(1)).complete
    await container.pause()
    await container.unpause()
    assert await container.condition() == "running"
    await container.remove()

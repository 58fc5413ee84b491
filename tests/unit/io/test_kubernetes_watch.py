"""The cluster's state for the firewall: complete at the start, told when it changes, and only then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import PlatformFault
from invoker.firewall.state import ClusterState
from invoker.io.kubernetes.settings import KubernetesSettings
from invoker.io.kubernetes.watch import ClusterWatch, Counted
from invoker.io.metrics import Metrics
from tests.support.kubernetes_api import (
    API_SLICES,
    DNS_SERVICES,
    DNS_SLICES,
    NODES,
    PATHS,
    FakeApiServer,
    Refuse,
    endpoint_slice,
    node,
    service,
    service_account,
    serving,
)
from tests.support.kubernetes_following import News, Pacing
from tests.support.raw_http import until

EACH_LOOP = True

DNS = "serverless-coredns"
STATE = ClusterState(("203.0.113.1",), ("198.51.100.1",), "10.245.0.10", ("10.244.0.5",))


async def populate(server: FakeApiServer) -> None:
    await server.put(NODES, "node-1", node(("ExternalIP", "203.0.113.1"), ("InternalIP", "10.0.0.1")))
    await server.put(API_SLICES, "kubernetes", endpoint_slice("kubernetes", "198.51.100.1"))
    await server.put(API_SLICES, "another-x7k2p", endpoint_slice("another", "198.51.100.77"))
    await server.put(DNS_SERVICES, DNS, service("10.245.0.10"))
    await server.put(DNS_SERVICES, "metrics", service("10.245.0.77"))
    await server.put(DNS_SLICES, f"{DNS}-abcde", endpoint_slice(DNS, "10.244.0.5"))


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with serving(FakeApiServer()) as server:
        await populate(server)
        yield server


@asynccontextmanager
async def watching(
    server: FakeApiServer, directory: Path, **given: Any
) -> AsyncIterator[tuple[ClusterWatch, News, Pacing]]:
    news, pacing = News(), Pacing()
    settings = KubernetesSettings(url=server.url, credentials_dir=str(service_account(directory)), **given)
    watch = ClusterWatch(settings, news.changed, observer=news, pace=pacing.pace)
    try:
        yield watch, news, pacing
    finally:
        await watch.close()
        await watch.close()


@pytest.mark.contract("17")
async def test_after_open_all_is_known(server: FakeApiServer, tmp_path: Path) -> None:
    async with watching(server, tmp_path) as (watch, news, _pacing):
        await watch.open()
        assert watch.state() == STATE
        assert news.lists == 4
        assert news.changes == 0, "the first state is no change"
    assert watch.state() == STATE, "what was known stays known"


@pytest.mark.contract("17")
async def test_every_part_that_changes_is_told(server: FakeApiServer, tmp_path: Path) -> None:
    async with watching(server, tmp_path) as (watch, news, _pacing):
        await watch.open()
        changes: list[tuple[str, str, dict[str, Any], str, object]] = [
            (NODES, "node-2", node(("ExternalIP", "203.0.113.2")), "node_addresses", ("203.0.113.1", "203.0.113.2")),
            (
                API_SLICES,
                "kubernetes",
                endpoint_slice("kubernetes", "198.51.100.9"),
                "api_endpoints",
                ("198.51.100.9",),
            ),
            (DNS_SERVICES, DNS, service("10.245.0.11"), "dns_service", "10.245.0.11"),
            (DNS_SLICES, f"{DNS}-zzzzz", endpoint_slice(DNS, "10.244.9.5"), "dns_pods", ("10.244.0.5", "10.244.9.5")),
        ]
        for count, (path, name, body, part, value) in enumerate(changes, 1):
            await server.put(path, name, body)
            await news.until(lambda count=count: news.changes == count, f"{part} is told")
            assert getattr(watch.state(), part) == value
        await server.delete(DNS_SERVICES, DNS)
        await news.until(lambda: news.changes == 5, "a service that is gone is told")
        assert watch.state().dns_service is None


async def test_heartbeats_are_not_told(server: FakeApiServer, tmp_path: Path) -> None:
    async with watching(server, tmp_path) as (watch, news, pacing):
        await watch.open()
        await server.put(NODES, "node-1", node(("ExternalIP", "203.0.113.1"), ("InternalIP", "10.0.0.2")))
        async with asyncio.timeout(5):
            await pacing.waited.wait()
        await server.put(NODES, "node-2", node(("ExternalIP", "203.0.113.2")))
        await news.until(lambda: news.changes, "a change is told")
        assert news.changes == 1


async def test_what_happens_together_is_told_once(server: FakeApiServer, tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Gated(Pacing):
        async def wait(self, span_s: float) -> None:
            self.waits.append(span_s)
            await gate.wait()

    pacing, news = Gated(), News()
    account = str(service_account(tmp_path))
    settings = KubernetesSettings(url=server.url, credentials_dir=account, settle_s=0.125)
    watch = ClusterWatch(settings, news.changed, observer=news, pace=pacing.pace)
    await watch.open()
    try:
        for number in range(10, 20):
            await server.put(NODES, f"node-{number}", node(("ExternalIP", f"203.0.113.{number}")))
        await until(lambda: len(watch.state().node_addresses) == 11)
        assert (news.changes, pacing.waits) == (0, [0.125])
        gate.set()
        await news.until(lambda: news.changes, "a change is told")
        assert news.changes == 1
    finally:
        await watch.close()


async def test_a_listener_that_fails_is_told_again(
    server: FakeApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    news, calls = News(), list[int]()

    def changed() -> None:
        news.changed()
        calls.append(1)
        raise RuntimeError("a defect")

    settings = KubernetesSettings(url=server.url, credentials_dir=str(service_account(tmp_path)))
    watch = ClusterWatch(settings, changed, pace=Pacing().pace)
    await watch.open()
    try:
        for count in (1, 2):
            await server.put(NODES, f"new-{count}", node(("ExternalIP", f"192.0.2.{count}")))
            await news.until(lambda count=count: len(calls) == count, "told")
    finally:
        await watch.close()
    assert "telling of the cluster failed" in caplog.text


async def test_what_can_not_be_listed_stops_the_start(server: FakeApiServer, tmp_path: Path) -> None:
    server.script(NODES, "list", *[Refuse(403)] * 1000)
    async with watching(server, tmp_path, open_timeout_s=0.3) as (watch, _news, _pacing):
        with pytest.raises(PlatformFault) as caught:
            await watch.open()
        text = str(caught.value)
        assert "nodes (listing nodes: 403, scripted)" in text
        assert "dns_service" not in text.partition("See that")[0], "only what is lacking is named"
        assert "rbac.yaml" in text


async def test_a_start_that_is_called_off_leaves_nothing(server: FakeApiServer, tmp_path: Path) -> None:
    server.script(NODES, "list", *[Refuse(500)] * 1000)
    async with watching(server, tmp_path) as (watch, news, _pacing):
        opening = asyncio.create_task(watch.open())
        await news.until(lambda: news.faults, "it tries")
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert opening.cancelled()


async def test_a_cluster_without_the_service_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(FakeApiServer()) as server, watching(server, tmp_path) as (watch, _news, _pacing):
        await watch.open()
        assert watch.state() == ClusterState()
    assert f"no DNS service {DNS}/{DNS}" in caplog.text
    assert "default/kubernetes has no endpoints" in caplog.text


async def test_a_check_names_the_version(server: FakeApiServer, tmp_path: Path) -> None:
    async with watching(server, tmp_path) as (watch, _news, _pacing):
        assert await watch.check() == f"reachable, version v1.33.1, {server.url}"
        await watch.open()
        assert (await watch.check()).startswith("reachable")


async def test_a_check_names_every_grant_that_is_missing(server: FakeApiServer, tmp_path: Path) -> None:
    server.script(NODES, "list", Refuse(403))
    server.script(DNS_SLICES, "list", Refuse(403))
    async with watching(server, tmp_path) as (watch, _news, _pacing):
        with pytest.raises(PlatformFault) as caught:
            await watch.check()
        assert "grant the service account list and watch on nodes in all the cluster" in str(caught.value)
        assert "endpointslices.discovery.k8s.io in namespace serverless-coredns" in str(caught.value)
        assert "dns_service" not in str(caught.value)


async def test_a_check_of_nobody_fails(tmp_path: Path) -> None:
    async with serving(FakeApiServer()) as server:
        pass
    async with watching(server, tmp_path) as (watch, _news, _pacing):
        with pytest.raises(PlatformFault, match="asking for the version at http://127"):
            await watch.check()


async def test_it_is_counted(server: FakeApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    metrics, news = Metrics(), News()
    server.script(NODES, "list", Refuse(500), Refuse(500))
    settings = KubernetesSettings(url=server.url, credentials_dir=str(service_account(tmp_path)))
    watch = ClusterWatch(settings, news.changed, observer=Counted(metrics), pace=Pacing().pace)
    await watch.open()
    try:
        async with asyncio.timeout(5):
            for path in PATHS:
                await server.watched(path)
        await server.put(NODES, "node-2", node(("ExternalIP", "203.0.113.2")))
        await news.until(lambda: news.changes, "it is watched")
        text = metrics.render().decode()
    finally:
        await watch.close()
    assert 'invoker_kubernetes_lists_total{resource="nodes"} 1.0' in text
    assert 'invoker_kubernetes_faults_total{resource="nodes"} 2.0' in text
    assert 'invoker_kubernetes_watching{resource="nodes"} 1.0' in text
    assert 'invoker_kubernetes_watching{resource="nodes"} 0.0' in metrics.render().decode(), "after the end"

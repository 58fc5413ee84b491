"""◆ What `invoker dev` and `invoker serve` are both built from."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from invoker.config import DevSettings, EngineSettings, NetworkSettings, PolicySettings, ServeSettings
from invoker.io.action_cache import CachedActions
from invoker.io.decision_log import DecisionLog
from invoker.io.docker.settings import DockerSettings
from invoker.io.http.server import Exchange, Request
from invoker.io.metrics import Metrics
from invoker.policy import PolicySet, policyset
from invoker.policy import events as ev
from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.prewarm import FixedStock, ReactiveStock
from invoker.policy.queueing import EarliestDeadline, FairShare, FirstCome, ShortestJob
from invoker.policy.types import MILLISECOND_NS, PrewarmKey
from invoker.ports import ActionStore, ContainerEngine, RecordSink
from invoker.protocol.manifest import RuntimesManifest
from invoker.runner import RunnerSettings

log = logging.getLogger(__name__)

MIB = 1024 * 1024
ACTIONS_CACHED = 128
GC_THRESHOLD = 50_000
"""The records of activations die by reference counts; looking for cycles less often spares the loop its pauses."""


class Instead(msgspec.Struct, frozen=True):
    """What takes the place of what the settings say, for tests and benchmarks.

    `engine` is given where its timings are told to. `actions` and `sink` take the store's place towards the runner.
    """

    engine: Callable[[Callable[[str, float], None]], ContainerEngine] | None = None
    policies: PolicySet | None = None
    runner: RunnerSettings | None = None
    actions: ActionStore | None = None
    sink: RecordSink | None = None


def run(main: Coroutine[Any, Any, int]) -> int:
    """On uvloop where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def policies(settings: PolicySettings, capacity_mb: int) -> PolicySet:
    """The policy set that the settings name. POLICY=reference decides as the reference does, whatever
    else is set; only its limits can be."""
    if settings.policy == "reference":
        return msgspec.structs.replace(
            policyset.reference(capacity_mb),
            queue_limit=settings.queue_limit,
            intake_limit=settings.intake_limit,
            intake_low=settings.intake_low,
        )
    pausings = {
        "fixed": FixedGrace(settings.pause_grace_ns),
        "adaptive": AdaptiveGrace(),
        "never": NeverPause(),
    }
    queueings = {
        "fcfs": FirstCome(),
        "sjf": ShortestJob(),
        "edf": EarliestDeadline(),
        "fair": FairShare(settings.fair_by),
    }
    return msgspec.structs.replace(
        policyset.default(capacity_mb),
        keep_alive=settings.keep_alive_policy,
        pausing=pausings[settings.pausing],
        prewarm=FixedStock() if settings.prewarm == "fixed" else ReactiveStock(),
        queue_limit=settings.queue_limit,
        intake_limit=settings.intake_limit,
        intake_low=settings.intake_low,
        queueing=queueings[settings.queueing],
        wait_limit_ns=settings.wait_limit_ns,
        starts_max=settings.creates_at_a_time,
        brief_ns=settings.brief_wait_ns,
    )


def stock(manifest: RuntimesManifest) -> tuple[ev.StemCells, ...]:
    """The manifest's prewarmed containers, in the heart's words."""
    return tuple(
        ev.StemCells(
            PrewarmKey(cell.kind, cell.memory_mb),
            cell.count,
            None
            if cell.reactive is None
            else ev.Reactive(
                cell.reactive.min_count,
                cell.reactive.max_count,
                cell.reactive.ttl_ms * MILLISECOND_NS,
                cell.reactive.threshold,
                cell.reactive.increment,
            ),
        )
        for cell in manifest.stem_cells()
    )


def docker_settings(settings: DevSettings | ServeSettings, owner: str, instance: int) -> DockerSettings:
    """How containers are made in Docker, by these settings."""
    engine: EngineSettings = settings
    network: NetworkSettings = settings
    subnet, addresses = network.containers_subnet, network.addresses
    return DockerSettings(
        network=network.containers_network,
        subnet=str(subnet),
        bridge=network.containers_bridge_name,
        socket=str(engine.docker_socket),
        address_first=int(addresses.first) - int(subnet.network_address),
        address_last=int(addresses.last) - int(subnet.network_address),
        oci_runtime=engine.oci_runtime,
        resolver_file=text(engine.resolver_file),
        dns_servers=tuple(str(server) for server in network.containers_dns_servers),
        api_host=network.containers_api_host,
        owner=owner,
        instance=instance,
        creates_at_a_time=settings.creates_at_a_time,
    )


def observer(metrics: Metrics) -> Callable[[str, float], None]:
    """Where an engine tells its timings to: (command, seconds)."""

    def observe(command: str, seconds: float) -> None:
        if command == "poll":
            metrics.container_poll.observe(seconds)
        elif command in metrics.docker:
            metrics.docker[command].observe(seconds)

    return observe


def take_precedence(niceness: int) -> None:
    """Set the priority of this thread, the loop's, for the scheduler; the threads that write files keep theirs."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    except OSError as error:
        log.info("the scheduler gives the loop no precedence (NICENESS=%d: %s)", niceness, error.strerror)


def cached(actions: ActionStore, metrics: Metrics) -> CachedActions:
    """The cache before a store of actions, its hits and misses counted."""
    return CachedActions(actions, ACTIONS_CACHED, on_hit=metrics.cache_hit.inc, on_miss=metrics.cache_miss.inc)


def decision_log(settings: PolicySettings, directory: Path, policy: PolicySet, now_ns: int) -> DecisionLog:
    """The decision log in `directory`, with the limits that are set."""
    return DecisionLog(
        directory, policy, now_ns, file_bytes=settings.decision_log_bytes, files_max=settings.decision_log_files
    )


def settle(metrics: Metrics) -> None:
    """Everything stands: what is in memory now stays, so the collector need not look at it again."""
    metrics.lag.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def pong(_request: Request, exchange: Exchange) -> None:
    """GET /ping (contract, section 4)."""
    exchange.respond(200, b"pong")


def text(path: Path | None) -> str | None:
    """A path as text, where there is one."""
    return None if path is None else str(path)

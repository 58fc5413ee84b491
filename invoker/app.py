"""◆ The invoker put together: which parts there are, and how they are joined, for `invoker dev` and `invoker serve`.

Nothing happens here that isn't construction; `lifecycle` starts and ends what this module builds.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from invoker.config import DevSettings, PolicySettings, ServeSettings
from invoker.driver import Driver
from invoker.errors import SettingsError
from invoker.intake import Intake
from invoker.io import dev_file, tls
from invoker.io import logging as invoker_logging
from invoker.io.action_cache import CachedActions
from invoker.io.clock import SystemClock
from invoker.io.debug_api import DebugApi, snapshot
from invoker.io.decision_log import DecisionLog
from invoker.io.dev_api import DevApi, DevInfo
from invoker.io.http_server import Exchange, HttpServer, Limits, Request, Router
from invoker.io.isolation import default_runtimes
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.io.process_engine import ProcessEngine, ProcessSettings
from invoker.io.sqlite_store import SqliteStore
from invoker.lifecycle import Lifecycle, Listener, Parts
from invoker.policy import PolicySet, Pool, policyset
from invoker.policy import events as ev
from invoker.policy.keepalive import GreedyDual, LruTtl
from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.prewarm import FixedStock, ReactiveStock
from invoker.policy.types import MILLISECOND_NS, PrewarmKey
from invoker.ports import ActionStore, ContainerEngine, RecordSink
from invoker.protocol.manifest import RuntimesManifest, parse_manifest
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner, RunnerSettings

log = logging.getLogger(__name__)

MIB = 1024 * 1024
ACTIONS_CACHED = 128
DOCKER_IMAGES = {"python:3": "functions-invoker/python:3", "nodejs:20": "functions-invoker/nodejs:20"}
"""The images of our own runtimes, as invoker/runtimes/README.md builds them."""
GC_THRESHOLD = 50_000
"""The records of activations die by reference counts; looking for cycles less often spares the loop its pauses."""


def run_serve(settings: ServeSettings) -> int:
    """Serve as a node of a cluster. Returns the exit code."""
    raise SettingsError(
        f"the settings are right, but this version can't reach CouchDB ({settings.couch_url}) and Kafka yet, so it "
        "can't be a node of a cluster. `invoker dev --engine docker` serves the same containers with an embedded store"
    )


def run_dev(settings: DevSettings) -> int:
    """Serve everything from one process (no Kafka, no CouchDB). Returns the exit code."""
    claim = dev_file.claim(settings.data_dir)
    logs = invoker_logging.setup(settings.log_level, settings.log_format, sys.stdout)
    try:
        return run(Dev(settings, claim, logs).serve())
    finally:
        logs.close()
        claim.release()


def run(main: Coroutine[Any, Any, int]) -> int:
    """On uvloop where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def policies(settings: PolicySettings, capacity_mb: int) -> PolicySet:
    """The policy set that the settings name. POLICY=reference is the reference's own, whatever else is set."""
    if settings.policy == "reference":
        return msgspec.structs.replace(policyset.reference(capacity_mb), queue_limit=settings.queue_limit)
    lru = settings.keep_alive == "lru-ttl"
    pausings = {
        "fixed": FixedGrace(settings.pause_grace_ns),
        "adaptive": AdaptiveGrace(),
        "never": NeverPause(),
    }
    return msgspec.structs.replace(
        policyset.default(capacity_mb),
        keep_alive=LruTtl(settings.idle_time_ns) if lru else GreedyDual(settings.idle_time_ns),
        pausing=pausings[settings.pausing],
        prewarm=FixedStock() if settings.prewarm == "fixed" else ReactiveStock(),
        queue_limit=settings.queue_limit,
        intake_limit=settings.intake_limit,
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


class Instead(msgspec.Struct, frozen=True):
    """What takes the place of what the settings say, for tests and benchmarks.

    `engine` is given where its timings are told to. `actions` and `sink` take the store's place towards the runner.
    """

    engine: Callable[[Callable[[str, float], None]], ContainerEngine] | None = None
    policies: PolicySet | None = None
    runner: RunnerSettings | None = None
    actions: ActionStore | None = None
    sink: RecordSink | None = None


class Dev:
    """`invoker dev`: `build` joins the parts, which stand as attributes from then on; `serve` is its whole life."""

    pool: Pool
    engine: ContainerEngine
    driver: Driver
    store: SqliteStore
    decision_log: DecisionLog
    intake: Intake
    listeners: list[Listener]

    def __init__(
        self, settings: DevSettings, claim: dev_file.DevClaim, logs: Logs, instead: Instead | None = None
    ) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._claim = claim
        self._logs = logs
        self._instead = instead or Instead()

    async def serve(self) -> int:
        """Build, start, serve, drain."""
        return await self.build().run(self._serving)

    def build(self) -> Lifecycle:
        """Make the parts and join them; nothing is started yet but the decision log's thread."""
        settings, metrics, instead = self._settings, self.metrics, self._instead
        clock = SystemClock()
        policy = instead.policies or policies(settings, settings.user_memory_bytes // MIB)
        manifest = _manifest(settings)
        engine = self.engine = self._engine() if instead.engine is None else instead.engine(self._observe)
        self.decision_log = DecisionLog(
            settings.decision_log_dir or settings.data_dir / "decisions",
            policy,
            clock.time_ns(),
            file_bytes=settings.decision_log_bytes,
            files_max=settings.decision_log_files,
        )
        pool = self.pool = Pool(policy)
        driver = self.driver = Driver(pool, engine, clock, manifest.image, self.decision_log)
        store = self.store = SqliteStore(settings.data_dir / dev_file.STORE_NAME)
        actions = CachedActions(
            instead.actions or store, ACTIONS_CACHED, on_hit=metrics.cache_hit.inc, on_miss=metrics.cache_miss.inc
        )
        runner = Runner(
            instead.runner or RunnerSettings(0, settings.user_memory_bytes, store_blocking=True),
            driver,
            actions,
            instead.sink or store,
            manifest.resolve,
            clock,
            metrics,
            self._logs,
        )
        self.intake = Intake(runner, KeyRing())
        self.listeners = self._listeners(self.intake, pool, engine, store, manifest)
        metrics.show(lambda: snapshot(pool, self._logs.writer.dropped))
        return Lifecycle(
            Parts(
                engine=engine,
                driver=driver,
                intake=self.intake,
                listeners=self.listeners,
                stock=stock(manifest),
                opens=[store.open],
                closes=[actions.close, store.close],
                decision_log=self.decision_log,
                drain_delay_s=settings.drain_delay_ns / 1e9,
            )
        )

    def _engine(self) -> ContainerEngine:
        settings = self._settings
        owner = f"functions-invoker-dev-{settings.data_dir.resolve()}"
        if settings.engine == "docker":
            from invoker.io.docker_engine import DockerEngine  # its libraries are only wanted here
            from invoker.io.docker_settings import DockerSettings

            subnet, addresses = settings.containers_subnet, settings.addresses
            return DockerEngine(
                DockerSettings(
                    network=settings.containers_network,
                    subnet=str(subnet),
                    bridge=settings.containers_bridge_name,
                    socket=str(settings.docker_socket),
                    address_first=int(addresses.first) - int(subnet.network_address),
                    address_last=int(addresses.last) - int(subnet.network_address),
                    oci_runtime=settings.oci_runtime,
                    resolver_file=_text(settings.resolver_file),
                    dns_servers=tuple(str(server) for server in settings.containers_dns_servers),
                    api_host=settings.containers_api_host,
                    owner=owner,
                    creates_at_a_time=settings.creates_at_a_time,
                ),
                observe=self._observe,
            )
        directory = settings.data_dir / "containers"
        return ProcessEngine(
            ProcessSettings(directory=directory, api_host=settings.containers_api_host), observe=self._observe
        )

    def _observe(self, command: str, seconds: float) -> None:
        metrics = self.metrics
        if command == "poll":
            metrics.container_poll.observe(seconds)
        elif command in metrics.docker:
            metrics.docker[command].observe(seconds)

    def _listeners(
        self, intake: Intake, pool: Pool, engine: ContainerEngine, store: SqliteStore, manifest: RuntimesManifest
    ) -> list[Listener]:
        """One listener for all, or a second one for what looks inside."""
        settings = self._settings
        router = Router()
        router.add("POST", "/invoke", intake.handle)
        router.add("GET", "/ping", _pong)
        inside = Router() if settings.metrics_port is not None else router
        DebugApi(pool, self.metrics, lambda: intake.in_flight, engine.describe).register(inside)
        listeners = [self._listener(router, settings.http_port)]
        if settings.metrics_port is not None:
            listeners.append(self._listener(inside, settings.metrics_port))

        def info() -> DevInfo:
            return DevInfo(
                self._url(listeners[0]),
                settings.engine,
                engine.describe(),
                pool.policies.accounting,
                sorted({*manifest.images, *manifest.defaults}),
                pool.policies.capacity_mb,
            )

        DevApi(store, intake.invoke, info).register(router)
        return listeners

    def _listener(self, router: Router, port: int) -> Listener:
        settings, metrics = self._settings, self.metrics
        context = None
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            context = tls.server_context(settings.tls_cert_file, settings.tls_key_file)
        server = HttpServer(
            router,
            Limits(body_bytes=settings.body_limit_bytes),
            context,
            on_error=lambda what, error: log.error("%s failed", what, exc_info=error),
            on_refused=lambda status: metrics.http_refused.labels(str(status)).inc(),
        )
        return Listener(server, settings.http_host, port)

    def _url(self, listener: Listener) -> str:
        scheme = "http" if self._settings.tls_cert_file is None else "https"
        return f"{scheme}://{self._settings.http_host}:{listener.server.port}"

    def _serving(self) -> None:
        """Everything stands: tell the terminal and the other commands."""
        settings = self._settings
        url = self._url(self.listeners[0])
        decisions = str(self.decision_log.path.parent.resolve())
        self._claim.publish(
            dev_file.DevPage(url, os.getpid(), settings.engine, decisions, _text(settings.tls_cert_file))
        )
        described = self.engine.describe()
        log.info("serving %s with the %s engine: %s", url, settings.engine, described.get("isolation", ""))
        self.metrics.lag.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)


def _manifest(settings: DevSettings) -> RuntimesManifest:
    """What can be run: what RUNTIMES_MANIFEST says, else the runtimes that ship with the invoker."""
    if settings.runtimes_manifest is not None:
        return parse_manifest(settings.runtimes_manifest)
    if settings.engine == "docker":
        return RuntimesManifest(DOCKER_IMAGES, {"python:default": "python:3", "nodejs:default": "nodejs:20"}, ())
    return RuntimesManifest(dict.fromkeys(default_runtimes(), "none: a process"), {}, ())


def _pong(_request: Request, exchange: Exchange) -> None:
    exchange.respond(200, b"pong")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)

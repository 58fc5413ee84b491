"""◆ `invoker serve` put together: a node of a cluster, with all its neighbours."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from invoker.app.common import (
    MIB,
    Instead,
    cached,
    decision_log,
    observer,
    policies,
    pong,
    settle,
    stock,
    take_precedence,
)
from invoker.app.neighbours import Neighbours, delivery_settings, tenant_rules
from invoker.config import ServeSettings
from invoker.driver import Driver
from invoker.intake import Intake
from invoker.io.admin_api import AdminApi
from invoker.io.clock import SystemClock
from invoker.io.debug_api import DebugApi, snapshot
from invoker.io.decision_log import DecisionLog
from invoker.io.firewall.engine import FirewalledEngine
from invoker.io.http.access import Clients
from invoker.io.http.server import HttpServer, Limits, Router
from invoker.io.kafka.probe import ProbeActions
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.kafka_intake import KafkaIntake
from invoker.lifecycle import Lifecycle, Listener, Parts
from invoker.policy import Pool
from invoker.ports import Clock, ContainerEngine, TenantGuard
from invoker.protocol.manifest import parse_manifest
from invoker.runner import Runner, RunnerSettings

log = logging.getLogger(__name__)


class Serve:
    """`build` joins the parts, which stand as attributes from then on; `serve` is its whole life."""

    pool: Pool
    engine: ContainerEngine
    driver: Driver
    intake: Intake
    feed: KafkaIntake
    admin: AdminApi
    listeners: list[Listener]
    decision_log: DecisionLog | None

    def __init__(self, settings: ServeSettings, logs: Logs, instead: Instead | None = None) -> None:
        self.metrics = Metrics()
        self.neighbours = Neighbours(settings, self.metrics)
        self._settings = settings
        self._logs = logs
        self._instead = instead or Instead()

    async def serve(self) -> int:
        """Build, start, serve, drain."""
        return await self.build().run(self._serving)

    def build(self) -> Lifecycle:
        """Make the parts and join them; nothing is started yet but the decision log's thread."""
        settings, metrics, instead, near = self._settings, self.metrics, self._instead, self.neighbours
        clock = SystemClock()
        policy = instead.policies or policies(settings, settings.user_memory_bytes // MIB)
        manifest = parse_manifest(settings.runtimes_manifest)
        directory = settings.decision_log_dir
        self.decision_log = None if directory is None else decision_log(settings, directory, policy, clock.time_ns())
        tenants, self.engine = self._engine()
        pool = self.pool = Pool(policy)
        self.driver = Driver(pool, self.engine, clock, manifest.image, self.decision_log, self._hold)
        known = ProbeActions(instead.actions or near.couch.actions, manifest.resolve, self._memory_min_mb)
        actions = cached(known, metrics)
        runner = Runner(
            instead.runner
            or RunnerSettings(settings.instance, settings.user_memory_bytes, memory_min_mb=self._memory_min_mb),
            self.driver,
            actions,
            instead.sink or near.couch.records,
            manifest.resolve,
            clock,
            metrics,
            self._logs,
            tenants,
        )
        self.intake = Intake(runner, near.keys)
        self.feed = self._feed(runner, clock)
        self.admin = AdminApi(settings.instance, self._switched)
        self.listeners = self._listeners()
        metrics.show(lambda: snapshot(pool, self._logs.writer.dropped))
        return Lifecycle(
            Parts(
                engine=self.engine,
                driver=self.driver,
                intake=self.intake,
                listeners=self.listeners,
                stock=stock(manifest),
                opens=self._opens(),
                closes=self._closes(actions.close),
                decision_log=self.decision_log,
                drain_delay_s=settings.drain_delay_ns / 1e9,
                feed=self.feed,
                presence=near.pings if settings.kafka_pings else None,
            )
        )

    @property
    def _memory_min_mb(self) -> int:
        return max(1, self._settings.minimum_function_memory_bytes // MIB)

    def _feed(self, runner: Runner, clock: Clock) -> KafkaIntake:
        settings, near, pool = self._settings, self.neighbours, self.pool
        return KafkaIntake(
            delivery_settings(settings),
            near.kafka.topic,
            near.consumer,
            near.producer,
            runner,
            near.keys,
            clock,
            self.metrics,
            waiting=lambda: len(pool.waiting),
            running=lambda: len(pool.placed),
            blocked=lambda: near.couch.blocked,
        )

    def _engine(self) -> tuple[TenantGuard | None, ContainerEngine]:
        near, instead = self.neighbours, self._instead
        engine = near.engine if instead.engine is None else instead.engine(observer(self.metrics))
        if near.firewall is None:
            return None, engine
        guarded = FirewalledEngine(engine, near.firewall, tenant_rules(self._settings))
        return guarded, guarded

    def _opens(self) -> list[Callable[[], Awaitable[None]]]:
        """In the order of the contract's section 18; the engine, prewarm, the listeners and the feed come after."""
        near = self.neighbours
        opens: list[Callable[[], Awaitable[None]]] = [near.tls.open, near.guard.open]
        if near.key_file is not None:
            opens.append(near.key_file.open)
        opens += [near.couch.open, near.producer.open]
        if near.cluster is not None:
            opens += [near.cluster.open, self._tell_of_cluster]
        if near.firewall is not None:
            opens.append(near.firewall.open)
        return opens

    async def _tell_of_cluster(self) -> None:
        near = self.neighbours
        assert near.cluster is not None
        assert near.firewall is not None
        near.firewall.changed(near.cluster.state())

    def _closes(self, actions_close: Callable[[], Awaitable[None]]) -> list[Callable[[], Awaitable[None]]]:
        """Every container is gone by now: Kafka, then the records, then who only looked on."""
        near = self.neighbours
        closes: list[Callable[[], Awaitable[None]]] = [
            actions_close,
            self.feed.close,
            near.consumer.close,
            near.producer.close,
        ]
        closes.append(near.couch.close)
        if near.cluster is not None:
            closes.append(near.cluster.close)
        if near.firewall is not None:
            closes.append(near.firewall.close)
        if near.key_file is not None:
            closes.append(near.key_file.close)
        closes += [near.guard.close, near.tls.close]
        return closes

    def _hold(self, held: bool) -> None:
        self.feed.hold(held)

    async def _switched(self, enabled: bool) -> None:
        if self._settings.kafka_pings:
            await self.neighbours.pings.switch(enabled)

    def _listeners(self) -> list[Listener]:
        """One listener for all, or a second one for what looks inside."""
        settings, near, metrics = self._settings, self.neighbours, self.metrics
        router = Router()
        router.add("POST", "/invoke", self.intake.handle)
        router.add("GET", "/ping", pong)
        if settings.tls_client_ca_file is not None:
            refused = metrics.access_refused
            clients = Clients(
                frozenset(settings.tls_client_subjects), on_refused=lambda reason: refused.labels(reason).inc()
            )
            router.guard("/invoke", clients)
        inside = Router() if settings.metrics_port is not None else router
        debug = DebugApi(self.pool, metrics, lambda: self.intake.in_flight + self.feed.in_flight, self.engine.describe)
        debug.register(inside)
        self.admin.register(inside)
        for path in ("/debug", "/enable", "/disable", "/isEnabled"):
            inside.guard(path, near.guard)
        listeners = [self._listener(router, settings.http_host, settings.http_port, secure=True)]
        if settings.metrics_port is not None:
            host = settings.metrics_host or settings.http_host
            listeners.append(self._listener(inside, host, settings.metrics_port, secure=settings.metrics_tls))
        return listeners

    def _listener(self, router: Router, host: str, port: int, *, secure: bool) -> Listener:
        settings, metrics = self._settings, self.metrics
        server = HttpServer(
            router,
            Limits(body_bytes=settings.body_limit_bytes, connections=settings.http_connections),
            self.neighbours.tls.current if secure else None,
            on_error=lambda what, error: log.error("%s failed", what, exc_info=error),
            on_refused=lambda status: metrics.http_refused.labels(str(status)).inc(),
            on_handshake_failed=lambda reason: metrics.handshakes_failed.labels(reason).inc(),
        )
        return Listener(server, host, port)

    def _serving(self) -> None:
        settings = self._settings
        described = self.engine.describe()
        log.info(
            "invoker%d serves https://%s:%d: %s",
            settings.instance,
            settings.http_host,
            self.listeners[0].server.port,
            "; ".join(f"{name}: {value}" for name, value in described.items() if value),
        )
        take_precedence(settings.niceness)
        settle(self.metrics)

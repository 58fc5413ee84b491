"""◆ `invoker dev` put together: everything in one process, without Kafka and CouchDB."""

from __future__ import annotations

import logging
import os

from invoker.app.common import (
    MIB,
    Instead,
    cached,
    decision_log,
    docker_settings,
    observer,
    policies,
    pong,
    settle,
    stock,
    text,
)
from invoker.config import DevSettings
from invoker.driver import Driver
from invoker.intake import Intake
from invoker.io.clock import SystemClock
from invoker.io.debug_api import DebugApi, snapshot
from invoker.io.decision_log import DecisionLog
from invoker.io.dev import page as dev_file
from invoker.io.dev.api import DevApi, DevInfo
from invoker.io.http import tls
from invoker.io.http.server import HttpServer, Limits, Router
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.io.process.engine import ProcessEngine, ProcessSettings
from invoker.io.process.isolation import default_runtimes
from invoker.io.sqlite.store import SqliteStore
from invoker.lifecycle import Lifecycle, Listener, Parts
from invoker.policy import Pool
from invoker.ports import ContainerEngine
from invoker.protocol.manifest import RuntimesManifest, parse_manifest
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner, RunnerSettings

log = logging.getLogger(__name__)

DOCKER_IMAGES = {"python:3": "functions-invoker/python:3", "nodejs:20": "functions-invoker/nodejs:20"}
"""The images of our own runtimes, as invoker/runtimes/README.md builds them."""


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
        self._observe = observer(self.metrics)
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
        directory = settings.decision_log_dir or settings.data_dir / "decisions"
        self.decision_log = decision_log(settings, directory, policy, clock.time_ns())
        pool = self.pool = Pool(policy)
        driver = self.driver = Driver(pool, engine, clock, manifest.image, self.decision_log)
        store = self.store = SqliteStore(settings.data_dir / dev_file.STORE_NAME)
        actions = cached(instead.actions or store, metrics)
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
        if settings.engine == "docker":
            owner = f"functions-invoker-dev-{settings.data_dir.resolve()}"
            from invoker.io.docker.engine import DockerEngine  # its libraries are only wanted here

            return DockerEngine(docker_settings(settings, owner, 0), observe=self._observe)
        directory = settings.data_dir / "containers"
        return ProcessEngine(
            ProcessSettings(directory=directory, api_host=settings.containers_api_host), observe=self._observe
        )

    def _listeners(
        self, intake: Intake, pool: Pool, engine: ContainerEngine, store: SqliteStore, manifest: RuntimesManifest
    ) -> list[Listener]:
        """One listener for all, or a second one for what looks inside."""
        settings = self._settings
        router = Router()
        router.add("POST", "/invoke", intake.handle)
        router.add("GET", "/ping", pong)
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
            dev_file.DevPage(url, os.getpid(), settings.engine, decisions, text(settings.tls_cert_file))
        )
        described = self.engine.describe()
        log.info("serving %s with the %s engine: %s", url, settings.engine, described.get("isolation", ""))
        settle(self.metrics)


def _manifest(settings: DevSettings) -> RuntimesManifest:
    """What can be run: what RUNTIMES_MANIFEST says, else the runtimes that ship with the invoker."""
    if settings.runtimes_manifest is not None:
        return parse_manifest(settings.runtimes_manifest)
    if settings.engine == "docker":
        return RuntimesManifest(DOCKER_IMAGES, {"python:default": "python:3", "nodejs:default": "nodejs:20"}, ())
    return RuntimesManifest(dict.fromkeys(default_runtimes(), "none: a process"), {}, ())

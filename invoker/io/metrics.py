"""◆ What the invoker counts, in a registry of its own (contract, section 15).

Names, labels and buckets are the reference's to the letter, for dashboards know them; what is ours begins with
`invoker_`. What each activation counts is kept by `tally`, for a fraction of a microsecond. The text is made
in a thread: with many series it takes long, and the loop has calls to answer. `python -m invoker.io.metrics` prints the
page of all metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from invoker.io.tally import Tallies
from invoker.policy.actions import StartKind
from invoker.policy.outcome import Status

DockerCommand = Literal["run", "pause", "unpause", "rm"]

SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
RUN_S = (0.005, 0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240, 480, 960, 1920)
POLL_S = (0.005, 0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
SIZE_BYTES = (512, 1024, 2048, 4096, 16384, 65536, 524288, 1048576)
BATCH_RECORDS = (10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)
LAG_SAMPLE_S = 0.1

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state that gauges show, read on the loop when a scrape comes."""

    memory_mb: Mapping[str, int] = field(default_factory=dict[str, int])  # by container state
    containers: Mapping[str, int] = field(default_factory=dict[str, int])  # by container state
    waiting: int = 0
    quarantined: int = 0
    log_lines_dropped: int = 0


class Operation:
    """Start, error and time of one kind of database call."""

    __slots__ = ("error", "finish", "start")

    def __init__(self, registry: CollectorRegistry, name: str, what: str) -> None:
        self.start = Counter(f"counter_database_{name}_start", f"{what}: begun", registry=registry)
        self.error = Counter(f"counter_database_{name}_error", f"{what}: failed", registry=registry)
        self.finish = Histogram(
            f"histogram_database_{name}_finish_seconds", f"{what}: time taken", buckets=SHORT_S, registry=registry
        )


class Metrics:
    """All metrics; each attribute is a series ready for `inc` or `observe` (seconds, bytes). `activation_status` is
    indexed by Status."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # the reference has no `_created` series
        self.registry = registry = CollectorRegistry()
        self.lag = LoopLag()
        self._state = _StateCollector(self.lag)

        tallies = Tallies()
        self._activations(tallies)
        registry.register(tallies)
        self._containers(registry)
        self._databases(registry)
        self._messages(registry)
        self._firewall(registry)
        self._cluster(registry)
        self._access(registry)
        registry.register(self._state)
        ProcessCollector(registry=registry)

    def _activations(self, tallies: Tallies) -> None:
        self.activation_start = tallies.counter("counter_invoker_activation_start", "Invocations taken")
        self.activation_init = tallies.histogram(
            "histogram_invoker_activationInit_finish_seconds", "Time of /init", RUN_S
        )
        self.activation_run = tallies.histogram("histogram_invoker_activationRun_finish_seconds", "Time of /run", RUN_S)
        self.collect_logs = tallies.histogram(
            "histogram_invoker_collectLogs_finish_seconds", "Time from the end of /run to the whole log", SHORT_S
        )
        self.result_size = tallies.histogram(
            "histogram_activations_resultSize_counter_bytes",
            "Size of results; 0 for an error of the invoker's",
            SIZE_BYTES,
        )
        self.logs_size = tallies.histogram(
            "histogram_activations_logsSize_counter_bytes", "Size of the log lines kept", SIZE_BYTES
        )
        statuses = tallies.counters(
            "counter_activations_status_counter",
            "Invocations ended, by status",
            "status",
            [status.label for status in Status],
        )
        self.activation_status = [statuses[status.label] for status in Status]
        kinds: tuple[StartKind, ...] = ("cold", "prewarm", "warm")
        self.container_start = tallies.counters(
            "counter_invoker_containerStart_counter", "Containers handed out to invocations", "containerState", kinds
        )
        self.cache_hit = tallies.counter("counter_database_cacheHit_counter", "Actions found in the cache")
        self.cache_miss = tallies.counter("counter_database_cacheMiss_counter", "Actions not in the cache")

    def _containers(self, registry: CollectorRegistry) -> None:
        docker = Histogram(
            "histogram_invoker_docker_finish_seconds",
            "Time of the container engine's commands",
            ["cmd"],
            buckets=SHORT_S,
            registry=registry,
        )
        commands: tuple[DockerCommand, ...] = ("run", "pause", "unpause", "rm")
        self.docker = {command: docker.labels(command) for command in commands}
        self.container_poll = Histogram(
            "histogram_invoker_containerPoll_finish_seconds",
            "Time from a container's start to its first answer",
            buckets=POLL_S,
            registry=registry,
        )

    def _messages(self, registry: CollectorRegistry) -> None:
        self.kafka_delay = Histogram(
            "histogram_kafka_topic_start_seconds",
            "Time from a message's time stamp to its receipt",
            ["topic"],
            buckets=SHORT_S,
            registry=registry,
        )
        self.kafka_lag = Gauge(
            "gauge_kafka_topic_counter", "Messages of the topic not read yet", ["topic"], registry=registry
        )

    def _access(self, registry: CollectorRegistry) -> None:
        self.kafka_trouble = Counter(
            "invoker_kafka_trouble", "Failed attempts to read the topic or to acknowledge", ["what"], registry=registry
        )
        self.kafka_skipped = Counter(
            "invoker_kafka_skipped", "Messages of the topic that were not run", ["reason"], registry=registry
        )
        self.http_refused = Counter(
            "invoker_http_refused", "Requests refused before a handler saw them", ["status"], registry=registry
        )
        self.handshakes_failed = Counter(
            "invoker_tls_handshakes_failed", "TLS handshakes that came to nothing", ["reason"], registry=registry
        )
        self.access_refused = Counter(
            "invoker_access_refused",
            "Calls refused for want of a certificate or token",
            ["reason"],
            registry=registry,
        )
        self.reloads = Counter(
            "invoker_reloads",
            "Changes of watched files (tls, token, keys), by whether they could be taken into use",
            ["what", "result"],
            registry=registry,
        )
        self.certificate_not_after = Gauge(
            "invoker_tls_certificate_not_after_seconds",
            "End of life of the certificate in use, in Unix time; 0 without TLS",
            registry=registry,
        )

    def reloaded(self, what: str, taken: bool) -> None:
        """A watched file changed: count it."""
        self.reloads.labels(what, "taken" if taken else "refused").inc()

    def _databases(self, registry: CollectorRegistry) -> None:
        self.get_document = Operation(registry, "getDocument", "Reading an action's document")
        self.get_attachment = Operation(registry, "getDocumentAttachment", "Reading an action's code attachment")
        self.save_bulk = Operation(registry, "saveDocumentBulk", "Writing a batch of activation records")
        self.batch_size = Histogram(
            "histogram_database_batchSize_counter", "Records in a batch", buckets=BATCH_RECORDS, registry=registry
        )
        self.couch_retries = Counter(
            "invoker_couchdb_retries",
            "Tries at CouchDB that came to nothing and were followed by another",
            registry=registry,
        )
        self.blocked_namespaces = Gauge(
            "invoker_blocked_namespaces", "Namespaces that CouchDB says are blocked", registry=registry
        )
        self.spool_bytes = Gauge(
            "invoker_spool_bytes", "Records on disk that CouchDB has not confirmed", registry=registry
        )
        self.spool_dropped = Counter(
            "invoker_spool_records_dropped",
            "Records dropped, the oldest first, because the spool was full",
            registry=registry,
        )
        self.spool_damaged = Counter(
            "invoker_spool_damaged_bytes",
            "Bytes of the spool that could not be read: a torn end, a bad disk",
            registry=registry,
        )
        self.records_rejected = Counter(
            "invoker_records_rejected", "Records that CouchDB refused, set aside in the spool", registry=registry
        )

    def _cluster(self, registry: CollectorRegistry) -> None:
        self.kubernetes_lists = Counter(
            "invoker_kubernetes_lists", "Complete lists taken of the cluster's objects", ["resource"], registry=registry
        )
        self.kubernetes_faults = Counter(
            "invoker_kubernetes_faults", "Lists and watches that ended in a fault", ["resource"], registry=registry
        )
        self.kubernetes_watching = Gauge(
            "invoker_kubernetes_watching",
            "1 while changes in the cluster arrive, else 0",
            ["resource"],
            registry=registry,
        )

    def _firewall(self, registry: CollectorRegistry) -> None:
        turns = Counter(
            "invoker_firewall_turns",
            "Looks at the node's firewall, by what came of them",
            ["outcome"],
            registry=registry,
        )
        self.firewall_turns = {outcome: turns.labels(outcome) for outcome in ("unchanged", "changed", "failed")}
        seconds = Histogram(
            "invoker_firewall_finish_seconds",
            "Time of a look at the firewall, of setting up a container's own rules, and of their removal",
            ["operation"],
            buckets=SHORT_S,
            registry=registry,
        )
        self.firewall_seconds = {each: seconds.labels(each) for each in ("reconcile", "setup", "cleanup")}

    def show(self, read: Callable[[], Snapshot]) -> None:
        """Take the state's gauges from `read`, which is called on the loop, once a scrape."""
        self._state.read = read

    def render(self) -> bytes:
        """The exposition text, version 0.0.4. May take tens of ms: call it in a thread (`scrape` does)."""
        return generate_latest(self.registry)

    async def scrape(self) -> bytes:
        """Read the state here, on the loop, and make the text in a thread."""
        self._state.snapshot = self._state.read()
        return await asyncio.to_thread(self.render)


class LoopLag:
    """How late the event loop runs its callbacks: the worst sample since the last scrape, in seconds."""

    __slots__ = ("_due_s", "_timer", "_worst_s")

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Sample on the running loop until `stop`."""
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + LAG_SAMPLE_S
        self._timer = loop.call_at(self._due_s, self._sample, loop)

    def stop(self) -> None:
        """Sample no more. Twice is once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take(self) -> float:
        """The worst lag since the last call."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        self._worst_s = max(self._worst_s, loop.time() - self._due_s)
        self.start()


class _StateCollector(Collector):
    """Gauges whose values live in the pool and are only copied when asked for."""

    def __init__(self, lag: LoopLag) -> None:
        self.read: Callable[[], Snapshot] = Snapshot
        self.snapshot = Snapshot()
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        shot = self.snapshot
        memory = GaugeMetricFamily(
            "invoker_memory_mebibytes", "Memory charged for containers, by container state", labels=["state"]
        )
        for state, value in shot.memory_mb.items():
            memory.add_metric([state], value)
        containers = GaugeMetricFamily("invoker_containers", "Containers, by state", labels=["state"])
        for state, value in shot.containers.items():
            containers.add_metric([state], value)
        yield memory
        yield containers
        yield GaugeMetricFamily("invoker_waiting", "Invocations that wait for a container", shot.waiting)
        yield GaugeMetricFamily(
            "invoker_quarantined",
            "Containers whose removal failed; their memory and address stay taken",
            shot.quarantined,
        )
        yield GaugeMetricFamily(
            "invoker_event_loop_lag_seconds", "Worst lateness of the event loop since the last scrape", self._lag.take()
        )
        yield CounterMetricFamily(
            "invoker_log_lines_dropped", "Log lines dropped because stdout was slow", shot.log_lines_dropped
        )


LABELS = {
    "counter_invoker_containerStart_counter": ("containerState",),
    "counter_activations_status_counter": ("status",),
    "histogram_invoker_docker_finish_seconds": ("cmd",),
    "histogram_kafka_topic_start_seconds": ("topic",),
    "gauge_kafka_topic_counter": ("topic",),
    "invoker_kafka_trouble": ("what",),
    "invoker_kafka_skipped": ("reason",),
    "invoker_http_refused": ("status",),
    "invoker_tls_handshakes_failed": ("reason",),
    "invoker_access_refused": ("reason",),
    "invoker_reloads": ("what", "result"),
    "invoker_kubernetes_lists": ("resource",),
    "invoker_kubernetes_faults": ("resource",),
    "invoker_kubernetes_watching": ("resource",),
    "invoker_firewall_turns": ("outcome",),
    "invoker_firewall_finish_seconds": ("operation",),
    "invoker_memory_mebibytes": ("state",),
    "invoker_containers": ("state",),
}
UNITS = (("_seconds", "seconds"), ("_bytes", "bytes"), ("_mebibytes", "MiB"), ("batchSize_counter", "records"))

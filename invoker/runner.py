"""◆ The story of one activation, top to bottom.

Fetch the action, get a container, initialise it where it is new, run, collect the log; then the record, the
acknowledgement, the container given back, and one log line. Whatever goes wrong on the way has a row in the contract's
section 14, and every invocation that got this far produces a record.

Each span is measured once, here, and used by log line, metrics and annotations alike.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import msgspec

from invoker.driver import Driver, Lease, Refused, Request
from invoker.errors import ActionNotFound, PlatformFault
from invoker.io.kafka_settings import AnswerTooLarge
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.policy import outcome as judge
from invoker.policy.outcome import Condition, Outcome, Status
from invoker.policy.types import ActivationId, PrewarmKey, WarmKey
from invoker.ports import ActionStore, Clock, RecordSink, Via
from invoker.protocol.acknowledgement import acknowledge, short_response
from invoker.protocol.document import ActionDocument
from invoker.protocol.logs import CollectedLog
from invoker.protocol.message import ActivationMessage
from invoker.protocol.record import Ending, activation_record, document_id, gbs
from invoker.protocol.runtime_api import init_body, run_body

log = logging.getLogger(__name__)

MS = 1_000_000
NO_LOG = CollectedLog(lines=[], size_bytes=0, complete=True, truncated=False)


Answer: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""Gets the completion message. What has to be waited for until it is delivered may raise PlatformFault."""
Skipped = Literal["namespaceBlocked", "skippedOldInvocation"]


class RunnerSettings(msgspec.Struct, frozen=True):
    """`store_blocking`: also store what a blocking caller gets in its answer (there is no controller to do it).
    `log_wait_s`: how long the sentinels are awaited after a run; `init_limit_min_ms`: /init gets at least so long."""

    instance: int
    user_memory_bytes: int
    store_blocking: bool = False
    log_wait_s: float = 0.5
    init_limit_min_ms: int = 10_000


class Story(msgspec.Struct, eq=False):
    """What is known of one activation so far. Spans in ns, 0 where there was none; instants in Unix ns."""

    message: ActivationMessage
    via: Via
    headers: dict[str, str]
    admitted: Callable[[], object]
    document: ActionDocument | None = None
    lease: Lease | None = None
    log: CollectedLog = NO_LOG
    wait_ns: int = -1
    init_ns: int = -1
    run_ns: int = -1
    logs_ns: int = -1
    record_ns: int = -1
    run_start_ns: int = 0
    end_ns: int = 0
    condition: Condition = "running"


class Runner:
    """Runs activations, any number at once. `resolve` gives what a kind stands for, None for an unknown one."""

    def __init__(
        self,
        settings: RunnerSettings,
        driver: Driver,
        actions: ActionStore,
        sink: RecordSink,
        resolve: Callable[[str], str | None],
        clock: Clock,
        metrics: Metrics,
        logs: Logs,
    ) -> None:
        self._settings = settings
        self._driver = driver
        self._actions = actions
        self._sink = sink
        self._resolve = resolve
        self._clock = clock
        self._metrics = metrics
        self._logs = logs

    async def run(
        self,
        message: ActivationMessage,
        via: Via,
        answer: Answer,
        headers: dict[str, str],
        admitted: Callable[[], object] = lambda: None,
    ) -> None:
        """See an accepted activation through; `answer` gets the completion message (contract, section 6).

        `headers` are those of section 4 that only serve logging. `admitted` is called when the activation comes before
        the pool, if it gets that far. Not to be cancelled. Never raises for what the action, a container or a
        neighbour does.
        """
        story = Story(message, via, headers, admitted)
        self._metrics.activation_start.inc()
        try:
            outcome = await self._live(story)
        except Exception:
            log.exception("activation %s met a defect of the invoker", message.activation_id)
            outcome = judge.not_provisioned()
        if story.end_ns == 0:
            story.run_start_ns = story.end_ns = self._clock.time_ns()
        record = _record(story, outcome)
        facts = _facts(story, outcome)
        if message.store_activations and not message.blocking:
            self._release(story, outcome)  # first: nobody's container waits for a store
            await self._store(story, record, facts)
            delivery = answer(self._completion(message, outcome, record))
        else:
            delivery = answer(self._completion(message, outcome, record))
            self._release(story, outcome)
        if delivery is not None and not await self._delivered(story, delivery, facts):
            await self._shorten(story, answer, outcome, record, facts)
        if message.blocking and self._settings.store_blocking:
            await self._store(story, record, facts)
        self._count(story, outcome)
        self._logs.invocation_completed(facts)

    async def skip(self, message: ActivationMessage, via: Via, answer: Answer, why: Skipped) -> None:
        """Acknowledge a message that is not to run (contract, sections 5 and 19): the short form, no system error, no
        record, and nothing counted. Never raises."""
        story = Story(message, via, {}, lambda: None)
        facts = _identity(story)
        facts[why] = True
        delivery = answer(self._short(message, is_system_error=False))
        if delivery is not None:
            await self._delivered(story, delivery, facts)
        self._logs.invocation_completed(facts)

    async def acknowledge_again(self, message: ActivationMessage, answer: Answer) -> None:
        """Acknowledge a second copy of an activation that ended: the short form, nothing else. Never raises."""
        delivery = answer(self._short(message, is_system_error=False))
        if delivery is not None:
            await self._delivered(Story(message, "kafka", {}, lambda: None), delivery, {})

    async def _live(self, story: Story) -> Outcome:
        """From the message to the log; the outcome is that of the first thing that failed."""
        message = story.message
        try:
            document = await self._actions.get(message.path, message.name, message.revision)
        except ActionNotFound:
            return judge.not_found()
        except PlatformFault as error:
            log.warning("action %s/%s could not be fetched: %s", message.path, message.name, error)
            return judge.not_fetched()
        story.document = document
        kind = self._resolve(document.kind)
        if kind is None:
            log.warning("action %s/%s is of the unknown kind %r", message.path, message.name, document.kind)
            return judge.not_provisioned()
        story.admitted()
        try:
            lease = story.lease = await self._driver.acquire(_request(message, document, kind))
        except Refused as refusal:
            return judge.not_provisioned(refusal.fault)
        self._metrics.container_start[lease.kind].inc()
        story.wait_ns = max(0, self._clock.time_ns() - message.transaction_start_ms * MS)
        lease.container.arm_logs(document.logs_bytes)
        ended = await self._initialize(story, lease, document) if lease.kind != "warm" else None
        if ended is None:
            ended = await self._run(story, lease, document)
        await self._collect(story, lease, ended)
        return ended

    async def _initialize(self, story: Story, lease: Lease, document: ActionDocument) -> Outcome | None:
        """Give the container the action's code; None where it took it."""
        limit_ms = max(self._settings.init_limit_min_ms, document.timeout_ms)
        began_ns, init_start_ns = self._clock.monotonic_ns(), self._clock.time_ns()
        body = init_body(story.message, document, init_start_ns // MS + limit_ms)
        reply = await lease.container.init(body, limit_ms / 1000)
        story.condition = reply.condition
        story.init_ns = self._clock.monotonic_ns() - began_ns
        story.run_start_ns = story.end_ns = init_start_ns + story.init_ns
        ended = judge.of_init(reply, limit_ms)
        if ended is None:
            self._driver.initialized(lease, story.init_ns)
        return ended

    async def _run(self, story: Story, lease: Lease, document: ActionDocument) -> Outcome:
        """Run it."""
        began_ns, story.run_start_ns = self._clock.monotonic_ns(), self._clock.time_ns()
        body = run_body(story.message, document, story.run_start_ns // MS + document.timeout_ms)
        reply = await lease.container.run(body, document.timeout_ms / 1000)
        story.condition = reply.condition
        story.run_ns = self._clock.monotonic_ns() - began_ns
        story.end_ns = story.run_start_ns + story.run_ns
        return judge.of_run(reply, document.timeout_ms)

    async def _collect(self, story: Story, lease: Lease, outcome: Outcome) -> None:
        began_ns = self._clock.monotonic_ns()
        story.log = await lease.container.collect_logs(self._settings.log_wait_s, outcome.error)
        story.logs_ns = self._clock.monotonic_ns() - began_ns

    def _release(self, story: Story, outcome: Outcome) -> None:
        if story.lease is not None:
            self._driver.release(story.lease, outcome.reusable and story.log.complete)

    # --- what becomes of it -------------------------------------------------------------------------------------

    def _completion(self, message: ActivationMessage, outcome: Outcome, record: bytes) -> bytes:
        return acknowledge(
            message,
            record if message.blocking else short_response(message),
            is_system_error=outcome.status is Status.SYSTEM_ERROR,
            invoker_id=self._settings.instance,
            user_memory=self._settings.user_memory_bytes,
        )

    def _short(self, message: ActivationMessage, *, is_system_error: bool) -> bytes:
        settings = self._settings
        return acknowledge(
            message, short_response(message), is_system_error, settings.instance, settings.user_memory_bytes
        )

    async def _delivered(self, story: Story, delivery: Awaitable[None], facts: dict[str, Any]) -> bool:
        """Wait until the acknowledgement is delivered; False where it is too large to ever be."""
        began_ns = self._clock.monotonic_ns()
        try:
            await delivery
        except AnswerTooLarge as error:
            log.warning("activation %s is acknowledged by its id alone: %s", story.message.activation_id, error)
            return False
        except PlatformFault as error:
            log.error("activation %s could not be acknowledged: %s", story.message.activation_id, error)
        facts["kafkaWriteTime"] = (self._clock.monotonic_ns() - began_ns) / MS
        return True

    async def _shorten(
        self, story: Story, answer: Answer, outcome: Outcome, record: bytes, facts: dict[str, Any]
    ) -> None:
        """Acknowledge by the id alone, as upstream's invoker does; the controller then looks for the record, so there
        has to be one."""
        message = story.message
        if message.blocking and message.store_activations and not self._settings.store_blocking:
            await self._store(story, record, facts)
        delivery = answer(self._short(message, is_system_error=outcome.status is Status.SYSTEM_ERROR))
        if delivery is not None:
            await self._delivered(story, delivery, facts)

    async def _store(self, story: Story, record: bytes, facts: dict[str, object]) -> None:
        began_ns = self._clock.monotonic_ns()
        try:
            await self._sink.put(document_id(story.message), record, facts)
        except PlatformFault as error:
            log.error("the record of activation %s could not be stored: %s", story.message.activation_id, error)
        story.record_ns = self._clock.monotonic_ns() - began_ns
        facts["activationWriteTime"] = story.record_ns / MS

    def _count(self, story: Story, outcome: Outcome) -> None:
        metrics = self._metrics
        metrics.activation_status[outcome.status].inc()
        metrics.result_size.observe(0 if outcome.error is not None else outcome.size)
        metrics.logs_size.observe(story.log.size_bytes)
        if story.init_ns >= 0:
            metrics.activation_init.observe(story.init_ns / 1e9)
        if story.run_ns >= 0:
            metrics.activation_run.observe(story.run_ns / 1e9)
        if story.logs_ns >= 0:
            metrics.collect_logs.observe(story.logs_ns / 1e9)


def _record(story: Story, outcome: Outcome) -> bytes:
    """The activation record (contract, section 7)."""
    ending = Ending(
        status=outcome.status,
        result=outcome.result,
        size_bytes=outcome.size,
        timed_out=outcome.limit_hit,
        run_start_ns=story.run_start_ns,
        end_ns=story.end_ns,
        wait_ns=story.wait_ns if story.wait_ns >= 0 else None,
        init_ns=story.init_ns if story.init_ns >= 0 else None,
    )
    return activation_record(story.message, story.document, ending, story.log.lines)


def _facts(story: Story, outcome: Outcome) -> dict[str, Any]:
    """The fields of the log line (contract, section 16), times in ms; a user's own result is never among them."""
    message, document = story.message, story.document
    facts = _identity(story)
    if story.lease is not None:
        facts.update(_of_lease(story.lease))
        facts["hasPerContainerFirewall"] = False
    for name, span_ns in (
        ("waitTime", story.wait_ns),
        ("initTime", story.init_ns),
        ("runTime", story.run_ns),
        ("logTime", story.logs_ns),
    ):
        if span_ns >= 0:
            facts[name] = span_ns / MS
    if not story.log.complete:
        facts["logTimeout"] = True
    if story.condition != "running":
        facts["cstate"] = story.condition
    if document is not None:
        facts["kind"] = document.kind
        duration_ms = story.end_ns // MS - (story.run_start_ns - max(0, story.init_ns)) // MS
        facts["gbs"] = gbs(message.path, document.memory_mb, duration_ms)
    facts["activationStatus"] = outcome.status.words
    if outcome.status >= Status.DEVELOPER_ERROR:
        facts["activationResponse"] = outcome.error
    return facts


def _identity(story: Story) -> dict[str, Any]:
    """The fields that tell which activation it is; a header goes before the message."""
    message, headers = story.message, story.headers
    return {
        "tid": headers.get("functions-transaction-id") or message.transaction_id,
        "aid": headers.get("functions-activation-id") or message.activation_id,
        "account": headers.get("functions-account") or message.subject,
        "namespace": headers.get("functions-namespace") or message.namespace,
        "function": headers.get("functions-function") or message.name,
        "invokedVia": story.via,
    }


def _request(message: ActivationMessage, document: ActionDocument, kind: str) -> Request:
    """What the heart has to know of an activation."""
    key = WarmKey(
        message.namespace, message.path, message.name, message.version, message.revision or "", message.binding
    )
    stem = PrewarmKey(kind, document.memory_mb)
    names = (message.namespace, message.name)
    return Request(ActivationId(message.activation_id), key, stem, document.concurrency, names)


def _of_lease(lease: Lease) -> dict[str, Any]:
    """The fields that tell of the container and how it was come by."""
    facts: dict[str, Any] = {"containerType": lease.kind, "cid": lease.container.id, "cip": lease.container.address}
    if lease.start_ns:
        timings = lease.container.start_timings
        facts["dockerRunTime"] = timings.get("run", 0.0) * 1000
        facts["pollTime"] = timings.get("poll", 0.0) * 1000
    if lease.resumed:
        facts["unpauseTime"] = lease.unpause_ns / MS
    if lease.evictions:
        facts["deleteNum"] = lease.evictions
        facts["deleteTime"] = lease.evict_ns / MS
    return facts

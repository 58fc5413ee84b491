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
from invoker.errors import ActionNotFound, ContainerFault, PlatformFault
from invoker.io.kafka.settings import AnswerTooLarge
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.policy import outcome as judge
from invoker.policy.outcome import Outcome, Status
from invoker.policy.types import ActivationId, PrewarmKey, WarmKey
from invoker.ports import ActionStore, Clock, RecordSink, TenantGuard, Via
from invoker.protocol.acknowledgement import acknowledge, short_response
from invoker.protocol.document import ActionDocument
from invoker.protocol.message import ActivationMessage
from invoker.protocol.record import document_id
from invoker.protocol.runtime_api import init_body, run_body
from invoker.story import MS, Story, facts_of, identity, written

log = logging.getLogger(__name__)


Answer: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""Gets the completion message. What has to be waited for until it is delivered may raise PlatformFault."""
Skipped = Literal["namespaceBlocked", "skippedOldInvocation"]


class RunnerSettings(msgspec.Struct, frozen=True):
    """`store_blocking`: also store what a blocking caller gets in its answer (there is no controller to do it).
    `memory_min_mb`: no container is smaller, so that so many run at once as fit into the node's memory, and no more.
    `log_wait_s`: how long the sentinels are awaited after a run; `init_limit_min_ms`: /init gets at least so long."""

    instance: int
    user_memory_bytes: int
    store_blocking: bool = False
    memory_min_mb: int = 0
    log_wait_s: float = 0.5
    init_limit_min_ms: int = 10_000


class Runner:
    """Runs activations, any number at once. `resolve` gives what a kind stands for, None for an unknown one; `tenants`
    is told whose a new container is before their code is in it."""

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
        tenants: TenantGuard | None = None,
    ) -> None:
        self._settings = settings
        self._driver = driver
        self._actions = actions
        self._sink = sink
        self._resolve = resolve
        self._clock = clock
        self._metrics = metrics
        self._logs = logs
        self._tenants = tenants

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
        try:
            await self._settle(story, outcome, answer)
        except Exception:
            log.exception("activation %s met a defect of the invoker after its run", message.activation_id)
            await self._give_up(story, answer)

    async def _settle(self, story: Story, outcome: Outcome, answer: Answer) -> None:
        """From the outcome to the record, the acknowledgement, the container given back, and the log line."""
        message = story.message
        record = written(story, outcome)
        facts = facts_of(story, outcome)
        if message.store_activations and not message.blocking:
            self._release(story, outcome)  # first: nobody's container waits for a store
            await self._store(story, record, facts)
            delivery = self._answered(story, answer, outcome, record)
        else:
            delivery = self._answered(story, answer, outcome, record)
            self._release(story, outcome)
        if delivery is not None and not await self._delivered(story, delivery, facts):
            await self._shorten(story, answer, outcome, record, facts)
        if message.blocking and self._settings.store_blocking:
            await self._store(story, record, facts)
        self._count(story, outcome)
        self._logs.invocation_completed(facts)

    def _answered(self, story: Story, answer: Answer, outcome: Outcome, record: bytes) -> Awaitable[None] | None:
        completion = self._completion(story.message, outcome, record)
        story.answered = True
        return answer(completion)

    async def _give_up(self, story: Story, answer: Answer) -> None:
        """After a defect: nobody is kept waiting, and no container stays busy."""
        if story.lease is not None and not story.released:
            self._driver.release(story.lease, reusable=False)
        if not story.answered:
            await self._answer_short(story, answer, {}, is_system_error=True)

    async def skip(self, message: ActivationMessage, via: Via, answer: Answer, why: Skipped) -> None:
        """Acknowledge a message that is not to run (contract, sections 5 and 19): the short form, no system error, no
        record, and nothing counted. Never raises."""
        story = Story(message, via, {}, lambda: None)
        facts = identity(story)
        facts[why] = True
        await self._answer_short(story, answer, facts)
        self._logs.invocation_completed(facts)

    async def acknowledge_again(self, message: ActivationMessage, answer: Answer) -> None:
        """Acknowledge a second copy of an activation that ended: the short form, nothing else. Never raises."""
        await self._answer_short(Story(message, "kafka", {}, lambda: None), answer, {})

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
            lease = story.lease = await self._driver.acquire(
                _request(message, document, kind, self._settings.memory_min_mb)
            )
        except Refused as refusal:
            story.lost = refusal.lost
            return judge.not_provisioned(refusal.fault)
        self._metrics.container_start[lease.kind].inc()
        story.wait_ns = max(0, self._clock.time_ns() - message.transaction_start_ms * MS)
        if self._tenants is not None and lease.kind != "warm":
            try:
                await self._tenants.admit(lease.container, message.namespace)
            except ContainerFault as error:
                log.warning("activation %s: %s", message.activation_id, error)
                return judge.not_provisioned(error.fault)
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
            story.released = True
            self._driver.release(story.lease, outcome.reusable and story.log.complete)

    # --- what becomes of it -------------------------------------------------------------------------------------

    def _completion(self, message: ActivationMessage, outcome: Outcome, record: bytes) -> bytes:
        response = record if message.blocking else short_response(message)
        return self._acknowledgement(message, response, is_system_error=outcome.status is Status.SYSTEM_ERROR)

    def _acknowledgement(self, message: ActivationMessage, response: bytes, *, is_system_error: bool) -> bytes:
        settings = self._settings
        return acknowledge(message, response, is_system_error, settings.instance, settings.user_memory_bytes)

    async def _answer_short(
        self, story: Story, answer: Answer, facts: dict[str, Any], *, is_system_error: bool = False
    ) -> None:
        """Acknowledge by the id alone, and see it delivered."""
        message = story.message
        short = self._acknowledgement(message, short_response(message), is_system_error=is_system_error)
        delivery = answer(short)
        if delivery is not None:
            await self._delivered(story, delivery, facts)

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
        await self._answer_short(story, answer, facts, is_system_error=outcome.status is Status.SYSTEM_ERROR)

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


def _request(message: ActivationMessage, document: ActionDocument, kind: str, memory_min_mb: int) -> Request:
    """What the heart has to know of an activation."""
    key = WarmKey(
        message.namespace, message.path, message.name, message.version, message.revision or "", message.binding
    )
    stem = PrewarmKey(kind, max(document.memory_mb, memory_min_mb))
    names = (message.namespace, message.name)
    activation = ActivationId(message.activation_id)
    return Request(activation, key, stem, document.concurrency, names, document.timeout_ms * MS)

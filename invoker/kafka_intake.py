"""◆ The story of a message that comes over Kafka: read, committed, judged, run, acknowledged (contract, section 5).

No more is read than the pool can hold: between the topic and a container there are never more than `intake_limit`
messages of this door, whatever the brokers offer. What is not read stays in the topic, where a crash can't reach it.

At most once (the contract's): a batch is committed, then it runs. A crash loses what was committed and has not ended:
at most `intake_limit`, and what runs. At least once: a message is committed when all up to it are through, that is
acknowledged, with their records handed over. A crash loses nothing, and runs at most `uncommitted_limit` again.

A second copy of an activation (a controller's producer that wasn't sure, a topic read again) is recognised by its id;
at least once only, for the reference runs it twice. While the first copy runs the second is dropped, for the
acknowledgement is still to come. After that it is acknowledged again in the short form: each message is owed an answer,
the controller ignores one that it has no slot for, and the record was handed over by the first. It counts in
`invoker_kafka_skipped`, in no metric of activations. The ids are remembered in memory: after a crash what was not
committed runs again, that is what the mode's name says; the record's id is the same, so it is still kept once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from invoker.errors import CallerFault, PlatformFault
from invoker.io.kafka.consumer import KafkaRecord
from invoker.io.kafka.settings import DeliverySettings
from invoker.io.metrics import Metrics
from invoker.ports import AckSink, Clock
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner, Skipped

log = logging.getLogger(__name__)

READ_WAIT_S = 1.0
HELD_LOOK_S = 5.0
OPEN_WAIT_S = 5.0
CLOSE_WAIT_S = 5.0
DEFECT_WAIT_S = 1.0
MS = 1_000_000


class Source(Protocol):
    """What the intake asks of the topic; KafkaConsumer is one."""

    @property
    def lag(self) -> int: ...
    async def connect(self) -> None: ...
    async def read(self, max_records: int, wait_s: float) -> list[KafkaRecord]: ...
    async def commit(self, offset: int, life: int) -> None: ...
    async def probe(self) -> None: ...


class InOrder:
    """Messages of one life of the topic that were begun and not committed; `point` is what may be committed."""

    def __init__(self, life: int) -> None:
        self.life = life
        self.point: int | None = None
        self._ended: OrderedDict[int, bool] = OrderedDict()

    def __len__(self) -> int:
        """From the oldest that is unfinished to the newest."""
        return len(self._ended)

    def begin(self, offset: int) -> None:
        """It was read; offsets come in order."""
        self._ended[offset] = False

    def end(self, offset: int) -> bool:
        """It is through. True where `point` has moved."""
        self._ended[offset] = True
        moved = False
        while self._ended and next(iter(self._ended.values())):
            self.point = self._ended.popitem(last=False)[0] + 1
            moved = True
        return moved


class KafkaIntake:
    """Takes messages from `source` for a runner, from `open` until `stop`.

    `acks` takes the acknowledgements; `blocked` gives the namespaces whose messages are skipped; `waiting` and
    `running` how many activations of all doors wait in the pool and have a container, or one that starts; `hold` has to
    be told of the pool's HoldIntake and ResumeIntake.
    """

    def __init__(
        self,
        settings: DeliverySettings,
        topic: str,
        source: Source,
        acks: AckSink,
        runner: Runner,
        keys: KeyRing,
        clock: Clock,
        metrics: Metrics,
        *,
        waiting: Callable[[], int],
        running: Callable[[], int],
        blocked: Callable[[], Container[str]] = tuple,
    ) -> None:
        self._settings = settings
        self._source = source
        self._acks = acks
        self._runner = runner
        self._keys = keys
        self._clock = clock
        self._waiting = waiting
        self._running = running
        self._blocked = blocked
        self._at_least_once = settings.delivery == "at-least-once"
        self._delay = metrics.kafka_delay.labels(topic)
        self._lag = metrics.kafka_lag.labels(topic)
        self._skipped = metrics.kafka_skipped
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = False
        self._between = 0
        self._answering = 0
        self._patience: set[asyncio.Timeout] = set()
        self._answers_until_s: float | None = None
        self._room = asyncio.Event()
        self._due = asyncio.Event()
        self._ready = asyncio.Event()
        self._offsets = InOrder(0)
        self._committed: int | None = None
        self._window: OrderedDict[str, bool] = OrderedDict()
        self._stopping = False
        self._interruptible = True
        self._feed: asyncio.Task[None] | None = None
        self._committer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<KafkaIntake in_flight={len(self._tasks)} between={self._between} held={self._held}>"

    @property
    def in_flight(self) -> int:
        """Read and not finished."""
        return len(self._tasks)

    @property
    def free(self) -> int:
        """How many more messages may be read now."""
        settings = self._settings
        if self._held:
            return 0
        free = min(
            settings.intake_limit - self._waiting() - self._between,
            settings.intake_limit + self._running() - len(self._tasks),  # those that ran and are not acknowledged, too
            settings.answers_limit - self._answering,
        )
        return min(free, settings.uncommitted_limit - len(self._offsets)) if self._at_least_once else free

    def hold(self, held: bool) -> None:
        """The pool's word: enough wait, or there is room again."""
        self._held = held
        self._room.set()

    async def open(self) -> None:
        """Begin to read; returns once the topic stands, or after a while where the brokers are away."""
        if self._feed is not None:
            return
        loop = asyncio.get_running_loop()
        self._feed = loop.create_task(self._read_on(), name="kafka feed")
        if self._at_least_once:
            self._committer = loop.create_task(self._commit_on(), name="kafka committer")
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_WAIT_S):
                await self._ready.wait()

    def stop(self) -> None:
        """Read nothing more; what was read runs to its end."""
        self._stopping = True
        self._room.set()
        if self._feed is not None and self._interruptible:
            self._feed.cancel()

    async def finished(self) -> None:
        """Wait until all that was read is acknowledged, recorded and logged; acknowledgements that don't get through
        are given up after CLOSE_WAIT_S without any that does."""
        self.stop()
        if self._feed is not None:
            _, late = await asyncio.wait({self._feed}, timeout=CLOSE_WAIT_S)
            for task in late:  # it waits for brokers that are away, with messages that are not committed
                task.cancel()
        while self._tasks:
            answering = frozenset(self._tasks) if self._answering >= len(self._tasks) else None
            await asyncio.wait(self._tasks, timeout=CLOSE_WAIT_S)
            if answering is not None and answering <= self._tasks:
                self._give_up()

    def _give_up(self) -> None:
        """All that is left are acknowledgements, and none got through for a while: the brokers are away, and the end
        can't wait for them."""
        self._answers_until_s = asyncio.get_running_loop().time()
        for patience in self._patience:
            patience.reschedule(self._answers_until_s)

    def abandon(self) -> None:
        """Cut off what is under way."""
        self.stop()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Commit what is through and end. Twice is once."""
        self.stop()
        tasks = {task for task in (self._feed, self._committer) if task is not None}
        self._feed = self._committer = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks and self._at_least_once:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await self._commit()

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read_on(self) -> None:
        while not self._stopping:
            try:
                if not self._ready.is_set():
                    await self._source.connect()
                    self._ready.set()
                await self._read_once()
            except Exception:
                log.exception("reading from Kafka met a defect of the invoker")
                self._interruptible = True
                await asyncio.sleep(DEFECT_WAIT_S)

    async def _read_once(self) -> None:
        free = self.free
        if free <= 0:
            await self._wait_for_room()
            return
        records = await self._source.read(free, READ_WAIT_S)
        self._interruptible = False  # from here on to the last message begun there is something to lose
        self._lag.set(self._source.lag)
        if records:
            if not self._at_least_once:
                await self._source.commit(records[-1].offset + 1, records[-1].life)
            for record in records:
                self._take(record)
        self._interruptible = True

    async def _wait_for_room(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(HELD_LOOK_S):
                await self._room.wait()
        except TimeoutError:
            await self._source.probe()
            self._lag.set(self._source.lag)

    # --- one message --------------------------------------------------------------------------------------------

    def _take(self, record: KafkaRecord) -> None:
        """Judge it, and begin what is to be done with it."""
        now_ms = self._clock.time_ns() // MS
        self._delay.observe(max(0, now_ms - record.timestamp_ms) / 1000)
        end = self._begin(record)
        try:
            message = decode_message(record.value, self._keys)
        except CallerFault as fault:
            log.warning("the message at offset %d can't be used and is skipped: %s", record.offset, fault)
            self._skipped.labels("malformed").inc()
            end()
            return
        ended = self._window.get(message.activation_id)
        if ended is not None:
            self._skipped.labels("duplicate").inc()
            if ended:
                self._spawn(self._runner.acknowledge_again(message, self._answer(message)), end)
            else:
                end()
            return
        reason = self._reason(message, now_ms)
        if reason is None:
            self._spawn(self._run(message), end)
        else:
            self._skipped.labels("blocked" if reason == "namespaceBlocked" else "old").inc()
            self._spawn(self._runner.skip(message, "kafka", self._answer(message), reason), end)

    def _begin(self, record: KafkaRecord) -> Callable[[], None]:
        """Returns what is to be called when the message is through."""
        if not self._at_least_once:
            return lambda: None
        if record.life != self._offsets.life:
            self._offsets = InOrder(record.life)
            self._committed = None
        offsets = self._offsets
        offsets.begin(record.offset)

        def end() -> None:
            if offsets.end(record.offset) and offsets is self._offsets:
                self._due.set()
                self._room.set()

        return end

    def _reason(self, message: ActivationMessage, now_ms: int) -> Skipped | None:
        """Why it is not to run."""
        if message.namespace in self._blocked():
            return "namespaceBlocked"
        if message.blocking and now_ms - message.transaction_start_ms > self._settings.old_ms:
            return "skippedOldInvocation"
        return None

    def _spawn(self, work: Coroutine[Any, Any, None], end: Callable[[], None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._room.set()
            if task.cancelled() or self._answers_until_s is not None:  # it was cut off: not through
                return
            if (error := task.exception()) is not None:
                log.error("a message of Kafka met a defect of the invoker", exc_info=error)
            end()

        task.add_done_callback(done)

    def _run(self, message: ActivationMessage) -> Coroutine[Any, Any, None]:
        """Counted from now on, not from when its task comes to run."""
        self._between += 1
        if self._at_least_once:
            self._remember(message.activation_id, ended=False)
        between = True

        def admitted() -> None:
            nonlocal between
            if between:
                between = False
                self._between -= 1
                self._room.set()

        async def run() -> None:
            try:
                await self._runner.run(message, "kafka", self._answer(message), {}, admitted)
            finally:
                admitted()
            if self._at_least_once:
                self._remember(message.activation_id, ended=True)

        return run()

    def _remember(self, activation: str, *, ended: bool) -> None:
        window = self._window
        window[activation] = ended
        while len(window) > self._settings.duplicates_window:
            window.popitem(last=False)

    def _answer(self, message: ActivationMessage) -> Callable[[bytes], Awaitable[None]]:
        async def answer(completion: bytes) -> None:
            self._answering += 1
            patience = asyncio.timeout_at(self._answers_until_s)
            self._patience.add(patience)
            try:
                async with patience:
                    await self._acks.send(message.controller, completion)
            except TimeoutError as error:
                raise PlatformFault("it was given up, for the invoker is stopping and the brokers are away") from error
            finally:
                self._patience.discard(patience)
                self._answering -= 1
                self._room.set()

        return answer

    # --- committing, at least once -------------------------------------------------------------------------------

    async def _commit_on(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._commit()
            except Exception:
                log.exception("committing to Kafka met a defect of the invoker")
                await asyncio.sleep(DEFECT_WAIT_S)

    async def _commit(self) -> None:
        point, offsets = self._offsets.point, self._offsets
        if point is not None and point != self._committed:
            await self._source.commit(point, offsets.life)
            self._committed = point

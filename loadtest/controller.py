"""◆ The reference controller: places each activation, sends it, waits for its end, and tells what became of it.

What holds, and is worth the trouble:

- An activation that somebody accepted is never sent again, whatever becomes of its answer: it runs at most once. One
  that nobody accepted is placed anew, a few times.
- Its slot is taken from the placement until its end is told or its forced timeout is over; never both, never neither.
- Who asks learns one of the fates of `loadtest.activation`, with a reason where it is no function's own end.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from invoker.errors import CallerFault, PlatformFault
from invoker.io.couchdb.client import CouchClient
from invoker.policy.balancing import Request
from invoker.policy.types import ActivationId
from loadtest.activation import Activation, Fate
from loadtest.catalogue import Catalogue
from loadtest.fleet import Fleet
from loadtest.links import BodyCut, Links, NotAccepted, Rejected, Unanswered
from loadtest.messages import (
    GUEST,
    Acknowledgement,
    Action,
    Identity,
    Malformed,
    activation_message,
    decode_acknowledgement,
)
from loadtest.records import RecordWriter
from loadtest.settings import ControllerSettings
from loadtest.topics import NotSent, TooLarge, Topics, Undecided
from loadtest.watch import Watch

log = logging.getLogger(__name__)

RECORD_POLLS_S = (1.0, 3.0, 5.0, 7.0)
"""Waits before looking for the record of a blocking activation, where its acknowledgement was too large to bring it."""
REMEMBERED_MAX, REMEMBERED_BYTES_MAX = 10_000, 64 << 20


class TooMany(CallerFault):
    """As many activations are under way as this controller lets be."""


class Controller:
    """`open` before use, or `async with`; then `invoke`. One event loop, any number of tasks."""

    def __init__(self, settings: ControllerSettings) -> None:
        self.settings = settings
        self._couch = CouchClient(settings.couch)
        self.catalogue = Catalogue(self._couch, settings.couch, settings.action_ttl_s)
        self.records = RecordWriter(self._couch, settings.couch.records_database)
        self.fleet = Fleet(
            {each.instance: each.memory_mb for each in settings.invokers},
            settings.balancer,
            controllers=settings.controllers,
            scale=settings.forced_timeout_scale,
        )
        self._addresses = {each.instance: each for each in settings.invokers}
        self._links = Links(settings)
        self._topics = Topics(settings.kafka, settings.name, self._completed, self._health)
        self._watch = Watch(settings, self.fleet, self._links, self._topics, self._give_up)
        self._under_way: dict[str, Activation] = {}
        self._remembered: OrderedDict[str, Activation] = OrderedDict()
        self._remembered_bytes = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._chance = random.SystemRandom()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and begin to watch. Raises PlatformFault or SettingsError, with nothing left open."""
        try:
            await self._links.open()
            await self._couch.open()
            await self._topics.open()
        except BaseException:
            await self.close()
            raise
        self.records.open()
        self._watch.open()

    async def close(self) -> None:
        """Hang up. What is under way runs on at the invokers, and is not heard of any more. Twice is once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for activation in tuple(self._under_way.values()):
            self._end(activation, Fate.UNKNOWN, "the controller was closed before the activation's end", 500)
        await self._watch.close()
        await self._topics.close()
        await self._links.close()
        await self.records.close()
        await self._couch.close()

    # --- what is asked of it ------------------------------------------------------------------------------------

    async def invoke(
        self,
        action: str,
        parameters: Mapping[str, object] | bytes | None = None,
        *,
        blocking: bool = True,
        caller: Identity = GUEST,
        wait_s: float | None = None,
    ) -> Activation:
        """Run `namespace/[package/]name`. Blocking: returns at its end, or after `wait_s` (default: the setting's)
        where that takes longer. Else it returns once an invoker or its topic has the activation, or nobody would take
        it. `parameters`: an object, or its JSON.

        Raises ActionNotFound, CallerFault for parameters that are no object, TooMany, and PlatformFault where the
        action can't be read. What befalls an activation that came to be is told by its `fate`, not raised.
        """
        path, _, name = action.rpartition("/")
        found = await self.catalogue.action(path, name)
        if len(self._under_way) >= self.settings.under_way_max:
            raise TooMany(f"{len(self._under_way)} activations are under way; wait for some to end")
        body = parameters if isinstance(parameters, bytes) else msgspec.json.encode(parameters or {})
        transaction = uuid.uuid4().hex
        activation = Activation(uuid.uuid4().hex, found.full_name, caller.namespace, transaction, blocking=blocking)
        message = activation_message(
            found,
            caller,
            body,
            activation=activation.id,
            transaction=(transaction, time.time_ns() // 1_000_000),
            controller=self.settings.name,
            blocking=blocking,
        )
        activation.begun_ns = time.monotonic_ns()
        self._under_way[activation.id] = activation
        self._begin(self._see_through(activation, found, message))
        if not blocking:
            await activation.received.wait()
            return activation
        try:
            async with asyncio.timeout(self.settings.blocking_wait_s if wait_s is None else wait_s):
                await activation.ended.wait()
        except TimeoutError:
            pass  # its fate tells
        return activation

    def activation(self, activation_id: str) -> Activation | None:
        """One that is under way, or ended not long ago."""
        return self._under_way.get(activation_id) or self._remembered.get(activation_id)

    async def record(self, namespace: str, activation_id: str) -> bytes | None:
        """An activation's record, None where there is none (yet). Raises PlatformFault."""
        pending = self.records.pending(namespace, activation_id)
        return pending or await self.catalogue.record(namespace, activation_id)

    async def until_healthy(self, *instances: int, timeout_s: float = 60.0) -> None:
        """Wait until these invokers, all where none is named, may be sent to. Raises TimeoutError."""
        await self._watch.until_healthy(instances or tuple(self._addresses), timeout_s)

    # --- the way of one activation ------------------------------------------------------------------------------

    async def _see_through(self, activation: Activation, action: Action, message: bytes) -> None:
        """From its placing until somebody has it, or nobody will; over HTTP until its end."""
        request = Request(
            activation=ActivationId(activation.id),
            namespace=activation.namespace,
            action=activation.action,
            version=action.version,
            memory_mb=action.memory_mb,
            concurrency=action.concurrency,
            limit_ms=action.limit_ms,
            chance=self._chance.getrandbits(64),
        )
        trouble = "no invoker is fit to be sent to"
        try:
            while activation.attempts < self.settings.attempts_max:
                instance, by_topic = self.fleet.place(time.monotonic_ns(), request)
                if instance is None:
                    break
                activation.sent(instance, "kafka" if by_topic else "http")
                send = self._by_topic if by_topic else self._by_http
                refusal = await send(activation, instance, message)
                if refusal is None:
                    return
                trouble = str(refusal)
                self.fleet.returned(time.monotonic_ns(), request.activation)
            self._end(activation, Fate.REFUSED, trouble, 503)
        except (Rejected, TooLarge) as fault:
            self.fleet.returned(time.monotonic_ns(), request.activation)
            self._end(activation, Fate.REFUSED, str(fault), 413 if isinstance(fault, TooLarge) else 400)
        except (Unanswered, Undecided) as fault:  # its slot stays taken: an invoker may be at it
            log.warning("activation %s: %s; it is not sent again", activation.id, fault)
            self._end(activation, Fate.UNKNOWN, str(fault), 500)

    async def _by_http(self, activation: Activation, instance: int, message: bytes) -> NotAccepted | None:
        """Send it and wait for its end. Returns why it was not accepted, None where it was."""
        headers = {
            "Functions-Transaction-Id": activation.transaction,
            "Functions-Activation-Id": activation.id,
            "Functions-Namespace": activation.namespace.encode("ascii", "replace").decode(),
            "Functions-Function": activation.action.rpartition("/")[2].encode("ascii", "replace").decode(),
        }

        def accepted() -> None:
            activation.accept(time.monotonic_ns())

        try:
            answer = await self._links.send(self._addresses[instance], message, headers, accepted)
            self._acknowledged(decode_acknowledgement(answer))
        except NotAccepted as refusal:
            log.info("activation %s: %s", activation.id, refusal)
            if refusal.unfit:
                self.fleet.absent(time.monotonic_ns(), instance)
            return refusal
        except (BodyCut, Malformed) as cut:
            log.warning("activation %s: %s; it is not sent again", activation.id, cut)
            self.fleet.lost(time.monotonic_ns(), ActivationId(activation.id), instance)
            self._end(activation, Fate.CUT, str(cut), 500)
            self._watch.test()
        return None

    async def _by_topic(self, activation: Activation, instance: int, message: bytes) -> NotSent | None:
        """Put it into the invoker's topic; its acknowledgement comes by ours, perhaps before the broker's word."""
        try:
            await self._topics.send(instance, message)
        except NotSent as refusal:
            return refusal
        activation.accept(time.monotonic_ns())
        return None

    # --- what is heard ------------------------------------------------------------------------------------------

    def _completed(self, body: bytes) -> None:
        """A message of our topic. Raises Malformed."""
        self._acknowledged(decode_acknowledgement(body))

    def _health(self, body: bytes) -> None:
        """A ping. Raises Malformed."""
        self._watch.health(body)

    def _acknowledged(self, told: Acknowledgement) -> None:
        """An invoker says that something has ended: the slot first, then whoever waits."""
        if self._watch.probed(told) or told.activation is None:
            return
        now_ns = time.monotonic_ns()
        if told.instance is not None:
            self.fleet.acknowledged(now_ns, ActivationId(told.activation), told.instance, told.system_error)
            self._watch.test()
        activation = self.activation(told.activation)
        if activation is None:
            return
        if not activation.blocking:
            if told.instance is not None:
                self._settle(activation, told)
        elif told.record is not None:
            self.records.keep(activation.namespace, activation.id, told.record)
            self._settle(activation, told)
        elif not activation.ended.is_set():
            self._begin(self._fetch(activation, told))

    async def _fetch(self, activation: Activation, told: Acknowledgement) -> None:
        """The acknowledgement of a blocking one had no room for its record, which then is in CouchDB, or will be."""
        record: bytes | None = None
        for wait_s in RECORD_POLLS_S:
            await asyncio.sleep(wait_s)
            if activation.ended.is_set():  # the record came by itself
                return
            try:
                record = await self.catalogue.record(activation.namespace, activation.id)
            except PlatformFault as fault:
                log.warning("the record of activation %s can't be read yet: %s", activation.id, fault)
            if record is not None:
                break
        self._settle(activation, msgspec.structs.replace(told, record=record))

    def _settle(self, activation: Activation, told: Acknowledgement) -> None:
        """Its end was told."""
        activation.acknowledge(time.monotonic_ns(), told.record, told.system_error)
        self._remember(activation)

    def _give_up(self, activation_id: ActivationId) -> None:
        """Its forced timeout is over."""
        activation = self._under_way.get(activation_id)
        if activation is not None:
            reason = f"invoker{activation.instance} has not told the activation's end within its forced timeout"
            log.warning("activation %s: %s", activation.id, reason)
            self._end(activation, Fate.TIMED_OUT, reason, 500)

    def _end(self, activation: Activation, fate: Fate, reason: str, status: int) -> None:
        """It ends otherwise than by the invoker's word."""
        activation.end(time.monotonic_ns(), fate, reason, status)
        self._remember(activation)

    def _remember(self, activation: Activation) -> None:
        """For a while, for those who ask, and for a late word."""
        if self._under_way.pop(activation.id, None) is None:
            return
        self._remembered[activation.id] = activation
        self._remembered_bytes += len(activation.record or b"")
        while len(self._remembered) > REMEMBERED_MAX or self._remembered_bytes > REMEMBERED_BYTES_MAX:
            self._remembered_bytes -= len(self._remembered.popitem(last=False)[1].record or b"")

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

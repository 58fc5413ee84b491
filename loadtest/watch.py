"""◆ Keeps watch over the invokers: pings, tests, silence, and activations whose time is over.

Presence comes from two sides, the topic `health` and GET /ping, so that neither Kafka's absence nor an invoker that
sends no pings makes a healthy node unfit; a closed port makes one unfit at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from invoker.errors import PlatformFault
from invoker.policy.types import ActivationId
from loadtest.fleet import Fleet
from loadtest.links import Links, NotAccepted
from loadtest.messages import Acknowledgement, decode_acknowledgement, decode_ping, is_test, probe_message
from loadtest.settings import ControllerSettings, InvokerAddress
from loadtest.topics import Topics

log = logging.getLogger(__name__)

TICK_S = 0.1


class Watch:
    """From `open` to `close`. `given_up` is called with each activation whose forced timeout is over."""

    def __init__(
        self,
        settings: ControllerSettings,
        fleet: Fleet,
        links: Links,
        topics: Topics,
        given_up: Callable[[ActivationId], object],
    ) -> None:
        self._settings = settings
        self._addresses = {each.instance: each for each in settings.invokers}
        self._fleet = fleet
        self._links = links
        self._topics = topics
        self._given_up = given_up
        self._start_ms = time.time_ns() // 1_000_000
        self._strangers: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        """Begin."""
        self._begin(self._tick())
        for address in self._settings.invokers:
            self._begin(self._ping(address))

    async def close(self) -> None:
        """End. Twice is once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def health(self, body: bytes) -> None:
        """A message of the topic `health`. Raises Malformed."""
        ping = decode_ping(body)
        known = self._fleet.pinged(time.monotonic_ns(), ping.instance, ping.memory_mb, ping.enabled)
        if not known and ping.instance not in self._strangers:
            self._strangers.add(ping.instance)
            log.warning("invoker%d says that it is there, and this controller has no address of it", ping.instance)
        self.test()

    def probed(self, told: Acknowledgement) -> bool:
        """Whether it is of a test action of ours, which is taken note of."""
        if not is_test(told, self._start_ms):
            return False
        if told.instance is not None:
            result = "system error" if told.system_error else "success"
            self._fleet.tested(time.monotonic_ns(), told.instance, result)
            self.test()
        return True

    def test(self) -> None:
        """Send the tests that are due; to be called whenever the fleet has been told something."""
        for instance in self._fleet.take_tests():
            self._begin(self._send_test(instance))

    async def until_healthy(self, instances: tuple[int, ...], timeout_s: float) -> None:
        """Wait until all of these may be sent to. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                healths = self._fleet.healths()
                if all(healths[instance].value == "up" for instance in instances):
                    return
                await asyncio.sleep(TICK_S / 2)

    async def _send_test(self, instance: int) -> None:
        """Upstream's way is the topic, beside all slots; where Kafka is away, HTTP is as good. One that can't be sent
        comes again in a minute."""
        message = probe_message(self._settings.name, uuid.uuid4().hex, self._start_ms)
        try:
            await self._topics.send(instance, message)
        except PlatformFault as fault:
            log.info("invoker%d can't be tested by its topic, so it is by HTTP: %s", instance, fault)
            try:
                self.probed(decode_acknowledgement(await self._links.send(self._addresses[instance], message, {})))
            except PlatformFault as second:
                log.info("invoker%d can't be tested: %s", instance, second)

    async def _ping(self, address: InvokerAddress) -> None:
        """Ask an invoker every second whether it is there."""
        while True:
            try:
                if await self._links.ping(address):
                    self._fleet.answered(time.monotonic_ns(), address.instance)
            except NotAccepted as absence:
                if self._fleet.absent(time.monotonic_ns(), address.instance):
                    log.warning("%s; nothing is sent there until it answers", absence)
            self.test()
            await asyncio.sleep(self._settings.ping_every_s)

    async def _tick(self) -> None:
        """Silence, tests that are due, forced timeouts."""
        while True:
            await asyncio.sleep(TICK_S)
            for activation in self._fleet.elapse(time.monotonic_ns()):
                self._given_up(activation)
            self.test()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

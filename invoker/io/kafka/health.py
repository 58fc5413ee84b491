"""◆ Pings to the topic `health`, by which upstream's controllers know which invokers there are.

One each second, counted from the start of the one before; a controller takes ten silent seconds for an absence. A ping
that can't be sent is not repeated: the next one says the same. Off by default, for the reference sends none.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from invoker.errors import PlatformFault
from invoker.io.kafka.link import said
from invoker.io.kafka.producer import KafkaProducer

log = logging.getLogger(__name__)

TOPIC = "health"
EVERY_S = 1.0


def ping(instance: int, user_memory_bytes: int, enabled: bool) -> bytes:
    """The message, in upstream's form; `name` is the same object as `instance` in an acknowledgement."""
    name: dict[str, object] = {
        "instance": instance,
        "userMemory": f"{user_memory_bytes} B",
        "instanceType": "invoker",
        "tags": [],
        "dedicatedNamespaces": [],
    }
    return msgspec.json.encode({"name": name, "isEnabled": enabled})


class HealthPings:
    """Sends them from `open` to `close`, as long as the invoker is enabled."""

    def __init__(
        self, producer: KafkaProducer, instance: int, user_memory_bytes: int, *, every_s: float = EVERY_S
    ) -> None:
        self._producer = producer
        self._on = ping(instance, user_memory_bytes, enabled=True)
        self._off = ping(instance, user_memory_bytes, enabled=False)
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    async def open(self) -> None:
        """Begin."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send_all(), name="health pings")

    async def switch(self, enabled: bool) -> None:
        """Enabled: begin again. Disabled: one ping that says so, then none. Never raises."""
        if enabled:
            await self.open()
        else:
            await self.close()
            await self._send(self._off)

    async def leave(self) -> None:
        """The invoker is about to stop: one ping that says so, if any were sent, then none. Never raises."""
        if self._task is not None:
            await self.switch(False)

    async def close(self) -> None:
        """Send no more. Twice is once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _send_all(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began_s = clock()
            await self._send(self._on)
            await asyncio.sleep(max(0.0, began_s + self._every_s - clock()))

    async def _send(self, text: bytes) -> None:
        """Told once when it begins to fail."""
        try:
            await self._producer.publish(TOPIC, text)
        except PlatformFault as error:
            if not self._failing:
                log.warning("health pings don't get through: %s", said(error))
            self._failing = True
        else:
            self._failing = False

"""◆ Invokers that do as they are told, and a Kafka that is a list: what a controller's decisions are tested with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.kafka.settings import KafkaSettings
from invoker.protocol.acknowledgement import acknowledge, short_response
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.secrets import KeyRing
from loadtest.controller import Controller
from loadtest.settings import ControllerSettings, InvokerAddress
from tests.support.couch_fake import PASSWORD, USER, FakeCouch, fake_couch

LIMIT_S = 10.0
MEMORY_MB = 512

Behaviour: TypeAlias = Literal["run", "hold", "refuse", "reject", "hang up", "silent", "cut", "babble"]

ACTION = {
    "_id": "guest/act",
    "namespace": "guest",
    "name": "act",
    "version": "0.0.1",
    "exec": {"kind": "python:3", "code": "", "binary": False},
    "limits": {"memory": MEMORY_MB, "timeout": 1000, "logs": 10},
    "parameters": [],
}


def completion(message: ActivationMessage, instance: int, *, system_error: bool = False, short: bool = False) -> bytes:
    """The acknowledgement of an invoker; the result is what it was given."""
    record = {
        "activationId": message.activation_id,
        "response": {"result": json.loads(message.run_value), "statusCode": 3 if system_error else 0, "size": 2},
    }
    whole = message.blocking and not short
    response = json.dumps(record).encode() if whole else short_response(message)
    return acknowledge(message, response, system_error, instance, MEMORY_MB << 20)


class ScriptedInvoker:
    """Answers each /invoke with the next of its `behaviours`, with "run" where there is none. `received` are the
    messages; what is held goes on with `release`. Stopped, it refuses connections, and those that stand are cut."""

    def __init__(self, instance: int) -> None:
        self.instance = instance
        self.behaviours: deque[Behaviour] = deque()
        self.received: list[ActivationMessage] = []
        self.release = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._serving: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def address(self) -> InvokerAddress:
        return InvokerAddress(self.instance, f"http://127.0.0.1:{self._port}", MEMORY_MB)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._serving.values():
            writer.transport.abort()
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.transport.abort()
            del self._serving[task]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False ends the connection."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        if first.startswith("get /ping"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong")
            return True
        message = decode_message(body, KeyRing())
        self.received.append(message)
        behaviour = self.behaviours.popleft() if self.behaviours else "run"
        match behaviour:
            case "refuse":
                writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}")
                return True
            case "reject":
                writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}")
                return True
            case "hang up":
                return False
            case "silent":
                await self.release.wait()
                return False
            case _:
                pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        await writer.drain()
        if behaviour == "hold":
            await self.release.wait()
        if behaviour == "cut":
            writer.write(b"64\r\n{")
            await writer.drain()
            return False
        told = b"[]" if behaviour == "babble" else completion(message, self.instance)
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(told), told))
        return True


class FakeTopics:
    """In Kafka's place: `sent` are (instance, message); test actions succeed at once, and `tested` has the instances
    that they were sent to; `fault` is raised instead."""

    made: FakeTopics

    def __init__(
        self,
        settings: KafkaSettings,
        name: str,
        completed: Callable[[bytes], object],
        health: Callable[[bytes], object],
    ) -> None:
        FakeTopics.made = self
        self.completed, self.health = completed, health
        self.sent: list[tuple[int, ActivationMessage]] = []
        self.tested: list[int] = []
        self.fault: Exception | None = None

    async def open(self) -> None:
        """As Topics."""

    async def close(self) -> None:
        """As Topics."""

    async def send(self, instance: int, message: bytes) -> None:
        """As Topics."""
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        told = decode_message(message, KeyRing())
        if told.path == "whisk.system":
            self.tested.append(instance)
            self.completed(completion(told, instance))
        else:
            self.sent.append((instance, told))

    def acknowledge(self, position: int = -1, **how: bool) -> None:
        """The invoker tells the end of one that was sent."""
        instance, message = self.sent[position]
        self.completed(completion(message, instance, **how))


class Scene:
    """A controller with two invokers; the action `guest/act` fills a whole one."""

    def __init__(self, controller: Controller, couch: FakeCouch, invokers: list[ScriptedInvoker]) -> None:
        self.controller = controller
        self.couch = couch
        self.topics = FakeTopics.made
        self.invokers = invokers

    @property
    def free_mb(self) -> list[int | None]:
        return [self.controller.fleet.free_mb(each.instance) for each in self.invokers]


@asynccontextmanager
async def scene(**changes: Any) -> AsyncGenerator[Scene]:
    """All of it, healthy. `loadtest.controller.Topics` has to be FakeTopics."""
    invokers = [ScriptedInvoker(instance) for instance in (0, 1)]
    for each in invokers:
        await each.start()
    try:
        async with fake_couch() as couch:
            couch.put("whisks", ACTION)
            given: dict[str, Any] = {
                "kafka": KafkaSettings(hosts=("127.0.0.1:1",), tls=False),
                "couch": CouchDbSettings(url=couch.url, username=USER, password=PASSWORD),
                "invokers": tuple(each.address for each in invokers),
                "ping_every_s": 0.02,
            }
            async with Controller(ControllerSettings(**(given | changes))) as controller:
                await controller.until_healthy(timeout_s=LIMIT_S)
                yield Scene(controller, couch, invokers)
    finally:
        for each in invokers:
            await each.stop()

"""◆ A reference client: what a controller does. It sends over HTTPS or Kafka and reads what comes back.

Messages come from `tests.support.node.message`. Every wait is bounded.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import ssl
import urllib.error
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # pyright: ignore[reportMissingTypeStubs]
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.io.kafka.link import stop_client
from tests.support.couch_upload import prepare, upload
from tests.support.node import LIMIT_S, NAMESPACE, Response, eventually, message
from tests.support.serving import KEY, Served

NONCE_BYTES = 128
POLL_S = 0.03
CLOSE_TIMEOUT_S = 2.0
MESSAGE_BYTES_MAX = 4 << 20
HEALTH = "health"


class Ended(NamedTuple):
    """What came of an activation: the acknowledgement, and the record where there is one to be had."""

    acknowledgement: dict[str, Any]
    record: dict[str, Any] | None

    @property
    def response(self) -> dict[str, Any]:
        """The record's: result, size and status."""
        assert self.record is not None
        return self.record["response"]

    @property
    def status(self) -> int:
        return self.response["statusCode"]

    @property
    def result(self) -> dict[str, Any]:
        return self.response["result"]


class Client:
    """Speaks to one invoker as a controller with a topic of its own does."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.place = served.place
        self.name = f"{served.instance}-{uuid.uuid4().hex[:8]}"
        self.answers: list[dict[str, Any]] = []
        self.pings: list[dict[str, Any]] = []
        self._tls: ssl.SSLContext = self.place.authority.client()

    # --- HTTPS --------------------------------------------------------------------------------------------------

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """A request on a connection of its own; returns once the head of the answer has come."""
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.served.port, ssl=self._tls, server_hostname="localhost"
            )
            fields = {"Host": "localhost", "Content-Length": str(len(body)), **(headers or {})}
            head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            try:
                return Response(reader, writer, await reader.readuntil(b"\r\n\r\n"))
            except BaseException:
                writer.transport.abort()
                raise

    async def get(self, path: str) -> bytes:
        """What a page says."""
        response = await self.request("GET", path)
        body = await response.body()
        assert response.status == 200, body
        return body

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name with labels."""
        found: dict[str, float] = {}
        for line in (await self.get("/metrics")).decode().splitlines():
            if match := re.fullmatch(r"([a-zA-Z_:]+(?:\{.*\})?) (\S+)", line):
                found[match[1]] = float(match[2])
        return found

    async def states(self) -> dict[str, str]:
        """Container id -> state, of those that run an action."""
        page = json.loads(await self.get("/debug/pool"))
        return {f"{each['action']} {each['container']}": each["state"] for each in page["containers"]}

    async def until_state(self, action: str, state: str | None) -> None:
        """Wait until a container of an action is in this state; None: until there is none."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = [each for name, each in (await self.states()).items() if name.startswith(f"{action} ")]
                if (not found) if state is None else (state in found):
                    return
                await asyncio.sleep(POLL_S)

    # --- activations --------------------------------------------------------------------------------------------

    def message(self, name: str, content: Any = None, **how: Any) -> bytes:
        """An activation message that is to be acknowledged to this controller."""
        how.setdefault("rootControllerIndex", {"asString": self.name})
        return message(name, content, **how)

    async def send(self, via: str, body: bytes) -> Response | None:
        """Over HTTP the answer whose head has come; over Kafka once the broker has it."""
        if via == "http":
            response = await self.request("POST", "/invoke", body)
            assert response.status == 200, await response.body()
            assert response.fields["content-type"] == "application/json"
            return response
        await self.producer.send_and_wait(self.served.topic, body)
        return None

    async def call(self, via: str, name: str, content: Any = None, **how: Any) -> Ended:
        """An activation, from its message to its acknowledgement, and to its record where one is to be had."""
        activation = how.setdefault("activation", uuid.uuid4().hex)
        response = await self.send(via, self.message(name, content, **how))
        if response is not None:
            acknowledgement = json.loads(await response.body())
        else:
            acknowledgement = await self.acknowledged(activation)
        whole: Any = acknowledgement["response"]
        namespace = how.get("user", {}).get("namespace", {}).get("name", NAMESPACE)
        record: Any = await self.record(activation, namespace) if isinstance(whole, str) else whole
        return Ended(acknowledgement, record)

    async def acknowledged(self, activation: str) -> dict[str, Any]:
        """The acknowledgement on this controller's topic."""
        await eventually(lambda: self.answers_to(activation), f"{activation} is acknowledged")
        return self.answers_to(activation)[0]

    def answers_to(self, activation: str) -> list[dict[str, Any]]:
        """All acknowledgements of an activation that came over Kafka."""
        return [
            answer
            for answer in self.answers
            if activation == (whole if isinstance(whole := answer["response"], str) else whole["activationId"])
        ]

    async def put(self, name: str, code: str | bytes, form: str = "string", **given: Any) -> str:
        """Keep an action, unless there is one of that name; its revision. `given` as of `prepare`; `_rev` replaces."""
        path = given.pop("path", NAMESPACE)
        prepared = prepare(path, name, form, code.encode() if isinstance(code, str) else code, **given)
        try:
            return await asyncio.to_thread(upload, self.place.couch, self.place.actions, prepared)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 409 or "_rev" in given:
                raise
        place = f"{self.place.actions}/{quote(f'{path}/{name}', safe='')}"
        return (await asyncio.to_thread(self.place.couch.call, "GET", place))["_rev"]

    async def record(self, activation: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        """The record in CouchDB, once it is there; written once, if it is of the first revision."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = await self.stored(activation, namespace)
                if found is not None:
                    assert found["_rev"].startswith("1-")
                    return found
                await asyncio.sleep(POLL_S)

    async def stored(self, activation: str, namespace: str = NAMESPACE) -> dict[str, Any] | None:
        """The record in CouchDB, None where there is none now."""
        path = f"{self.place.records}/{quote(f'{namespace}/{activation}', safe='')}"
        try:
            return await asyncio.to_thread(self.place.couch.call, "GET", path)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            raise

    # --- Kafka --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the topic of acknowledgements and listen to it."""
        bootstrap = self.place.kafka.bootstrap
        self.producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=MESSAGE_BYTES_MAX)
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, max_partition_fetch_bytes=MESSAGE_BYTES_MAX, fetch_max_wait_ms=50
        )
        self._listening: asyncio.Task[None] | None = None
        topic = f"completed{self.name}"
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, 1, 1), NewTopic(HEALTH, 1, 1)])  # one that is there stays
        finally:
            await admin.close()
        await self.producer.start()
        await self._consumer.start()
        places = [TopicPartition(topic, 0), TopicPartition(HEALTH, 0)]
        self._consumer.assign(places)
        await self._consumer.seek_to_end(*places)
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        for each in (self._consumer, self.producer):  # the brokers may be away
            await stop_client(each, CLOSE_TIMEOUT_S)

    async def _listen(self) -> None:
        async for record in self._consumer:
            told = json.loads(record.value)
            if record.topic != HEALTH:
                self.answers.append(told)
            elif told["name"]["instance"] == self.served.instance:
                self.pings.append(told)


@asynccontextmanager
async def client(served: Served) -> AsyncGenerator[Client]:
    """A controller that sends over HTTP and Kafka."""
    made = Client(served)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def sealed(value: Any) -> str:
    """A parameter as it comes encrypted (contract, section 9)."""
    nonce = os.urandom(NONCE_BYTES)
    text = AESGCM(KEY).encrypt(nonce, json.dumps(value).encode(), None)
    return base64.b64encode(NONCE_BYTES.to_bytes(4, "big") + nonce + text).decode()

"""How a node ends: asked to under load, or killed; and several nodes on one daemon and one Kafka."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition  # pyright: ignore[reportMissingTypeStubs]

from tests.support.node import eventually
from tests.support.serving import Place, Served, serving
from tests.support.serving_client import Client, client

pytestmark = [pytest.mark.docker, pytest.mark.contract("18")]

CODE = """
import time
def main(args):
    print("number", args["number"])
    time.sleep(0.02)
    return {"number": args["number"]}
"""
ACTIONS = 4
LIMITS = {"timeout": 60_000, "memory": 128, "logs": 256}
TIGHT = "384 MB"
"""Room for three of the four actions: there is queueing and evicting."""
HTTP_AT_A_TIME = 6
OVER_KAFKA = 60


class Load:
    """Activations over HTTP until none is taken any more; `accepted` are those whose head was seen."""

    def __init__(self, peer: Client) -> None:
        self._peer = peer
        self._numbers = itertools.count()
        self.accepted: dict[str, bool] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.broken = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(HTTP_AT_A_TIME):
                group.create_task(self._send_on())

    async def _send_on(self) -> None:
        for number in self._numbers:
            activation, blocking = uuid.uuid4().hex, number % 2 == 0
            content = {"number": number}
            body = self._peer.message(
                f"load{number // 10 % ACTIONS}", content, activation=activation, blocking=blocking
            )
            try:
                response = await self._peer.request("POST", "/invoke", body)
            except (OSError, asyncio.IncompleteReadError):
                return
            if response.status != 200:
                assert response.status == 503
                await response.leave()
                return
            self.accepted[activation] = blocking
            try:
                self.answers[activation] = json.loads(await response.body())
            except (OSError, asyncio.IncompleteReadError):
                self.broken += 1
                return


async def put_actions(peer: Client) -> None:
    for number in range(ACTIONS):
        await peer.put(f"load{number}", CODE, limits=LIMITS)


async def send_over_kafka(peer: Client) -> list[str]:
    """Many at once; their ids in order."""
    ids = [uuid.uuid4().hex for _ in range(OVER_KAFKA)]
    for number, activation in enumerate(ids):
        body = peer.message(f"load{number % ACTIONS}", {"number": number}, activation=activation, blocking=False)
        await peer.producer.send(peer.served.topic, body)
    await peer.producer.flush()
    return ids


async def committed(served: Served) -> int:
    """How many messages of its topic an invoker has taken."""
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=served.place.kafka.bootstrap, group_id=served.topic, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(served.topic, 0)])
        return await consumer.committed(TopicPartition(served.topic, 0)) or 0
    finally:
        await consumer.stop()


@pytest.mark.contract("4", "5", "8")
async def test_sigterm_under_load_loses_nothing(place: Place, tmp_path: Path) -> None:
    """What was accepted is answered and recorded; what was not taken from the topic is there still."""
    with serving(place, tmp_path, USER_MEMORY=TIGHT) as served:
        async with client(served) as peer:
            await put_actions(peer)
            over_kafka = await send_over_kafka(peer)
            load = Load(peer)
            running = asyncio.create_task(load.run())
            await eventually(lambda: len(load.answers) >= 20 and len(peer.answers) >= 5, "some are answered")
            served.stop()
            assert await served.ended() == 0, served.told()
            await running
            assert load.broken == 0
            assert load.answers.keys() == load.accepted.keys()
            taken = over_kafka[: await committed(served)]
            await eventually(lambda: all(peer.answers_to(each) for each in taken), "what was taken is acknowledged")
            assert len(peer.answers) == len(taken)
            assert served.containers() == []
            for activation, blocking in load.accepted.items():
                record: Any = load.answers[activation]["response"] if blocking else await peer.stored(activation)
                assert record["response"]["statusCode"] == 0
            for activation in taken:
                assert await peer.stored(activation) is not None


@pytest.mark.contract("8", "12")
async def test_a_kill_and_another_life(place: Place, tmp_path: Path, served: Served, peer: Client) -> None:
    """Orphans go, others' containers stay, and records that were only in the spool arrive, once."""
    await peer.put("neighbour", CODE)
    await peer.call("http", "neighbour", {"number": 0})
    others = served.containers()
    with serving(place, tmp_path, USER_MEMORY=TIGHT, RECORDS_FLUSH_EVERY="60s") as first:
        async with client(first) as sender:
            await put_actions(sender)
            load = Load(sender)
            running = asyncio.create_task(load.run())
            await eventually(lambda: len(load.answers) >= 20, "some are answered")
            first.stop(signal.SIGKILL)
            await running
            assert await first.ended() == -signal.SIGKILL
        promised = [each for each, blocking in load.accepted.items() if not blocking and each in load.answers]
        assert len(promised) >= 5
        assert await sender.stored(promised[0]) is None
        assert first.containers() != []
        with serving(place, tmp_path, **first.environment | {"RECORDS_FLUSH_EVERY": "200ms"}) as again:
            assert again.instance == first.instance
            assert again.containers() == []
            assert set(others) <= set(served.containers())
            for activation in promised:
                record = await sender.record(activation)
                assert record["response"]["statusCode"] == 0
            async with client(again) as anew:
                assert (await anew.call("kafka", "load0", {"number": 7})).result == {"number": 7}


@pytest.mark.contract("1", "5", "12")
async def test_two_on_one_daemon_and_one_kafka(place: Place, tmp_path: Path) -> None:
    """Each takes what is its own, and one's start and end are nothing to the other's containers, though both count
    them from 1 and so want the same names."""
    with serving(place, tmp_path / "one") as one, serving(place, tmp_path / "other") as other:
        async with client(one) as mine, client(other) as theirs:
            await mine.put("shared", CODE)
            calls = [each.call("kafka", "shared", {"number": each.served.instance}) for each in (mine, theirs)]
            for served, ended in zip((one, other), await asyncio.gather(*calls), strict=True):
                assert ended.result == {"number": served.instance}
                assert ended.acknowledgement["invoker"]["instance"] == served.instance
                assert ended.record is not None
                assert (await served.completed(ended.record["activationId"]))["cid"] in served.containers()
            assert not set(other.containers()) & set(one.containers())
            before = one.containers()
            assert before
            other.stop()
            assert await other.ended() == 0, other.told()
            assert (other.containers(), one.containers()) == ([], before)
            assert (await mine.call("http", "shared", {"number": 4})).result == {"number": 4}

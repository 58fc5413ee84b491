"""Neighbours that go away and come back under load (docs/neighbours.md): what stops, what goes on, what is lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve.conftest import databases
from tests.support.couch_server import OwnCouch
from tests.support.couch_upload import prepare, upload
from tests.support.docker_daemon import OwnDaemon, own_daemon
from tests.support.kafka_server import Broker
from tests.support.node import eventually
from tests.support.serving import Place, Served, serving
from tests.support.serving_client import Client, client

pytestmark = pytest.mark.docker

PASS = "def main(args):\n    return args\n"
NAP = "import time\ndef main(args):\n    time.sleep(args['s'])\n    return {'n': args['n']}\n"
LIMITS = {"timeout": 60_000, "memory": 128, "logs": 256}
MANY = 30


async def in_thread(work: Callable[[], Any]) -> Any:
    """Beside the loop."""
    return await asyncio.to_thread(work)


async def over_http(served: Served, name: str, content: Any) -> Any:
    """A blocking call's record, without Kafka."""
    peer = Client(served)
    response = await peer.send("http", peer.message(name, content))
    assert response is not None
    return json.loads(await response.body())["response"]


@pytest.mark.contract("4", "5", "18")
async def test_kafka_away_at_the_start_and_restarted_under_load(
    place: Place, own_kafka: Broker, tmp_path: Path
) -> None:
    """HTTP is unaffected; what lies in the topic is read when the broker is back, and acknowledged. A stop while it is
    away gives up acknowledgements, and nothing else."""
    here = place._replace(kafka=own_kafka)
    await in_thread(own_kafka.stop)
    with serving(here, tmp_path) as served:
        assert served.said("trying again until it works")
        await Client(served).put("kept", NAP, limits=LIMITS)
        assert (await over_http(served, "kept", {"s": 0, "n": 1}))["response"]["result"] == {"n": 1}
        await in_thread(own_kafka.start)
        await served.until_said("is back after")
        async with client(served) as peer:
            assert (await peer.call("kafka", "kept", {"s": 0, "n": 2})).result == {"n": 2}
            ids = [uuid.uuid4().hex for _ in range(MANY)]
            for number, activation in enumerate(ids):
                content = {"s": 0.1, "n": number}
                await peer.send("kafka", peer.message("kept", content, activation=activation, blocking=False))
            await eventually(lambda: len(peer.answers) >= 3, "some are acknowledged")
            troubles = served.told().count("trying again until it works")
            await in_thread(own_kafka.stop)
            await eventually(
                lambda: served.told().count("trying again until it works") > troubles, "the trouble is told"
            )
            assert (await over_http(served, "kept", {"s": 0, "n": 3}))["response"]["result"] == {"n": 3}
            await in_thread(own_kafka.start)
            await eventually(lambda: all(peer.answers_to(each) for each in ids), "all are acknowledged")
            for activation in ids:
                await peer.record(activation)
            metrics = await peer.metrics()
            assert metrics['invoker_kafka_trouble_total{what="topic"}'] > 0, metrics
            last = uuid.uuid4().hex
            await peer.send("kafka", peer.message("kept", {"s": 2, "n": 4}, activation=last, blocking=False))
            await peer.until_state("guest/kept", "busy")
            await in_thread(own_kafka.stop)
            served.stop()
            assert await served.ended() == 0, served.told()
            assert served.containers() == []
            assert (await peer.record(last))["response"]["result"] == {"n": 4}


@pytest.mark.contract("8", "14", "18")
async def test_couchdb_away_at_the_start_and_restarted_under_load(
    place: Place, own_couchdb: OwnCouch, tmp_path: Path
) -> None:
    """What is in the cache runs on; records wait, and arrive once."""
    here = place._replace(couch=own_couchdb.server)
    with ExitStack() as stack:
        await in_thread(lambda: stack.enter_context(databases(here)))
        cached = prepare("guest", "cached", "string", PASS.encode(), limits=LIMITS)
        revision = await in_thread(lambda: upload(here.couch, here.actions, cached))
        async with client_of(here, tmp_path, own_couchdb) as peer:
            early = uuid.uuid4().hex
            response = await peer.send("http", peer.message("cached", {}, activation=early, blocking=False))
            assert response is not None
            assert json.loads(await response.body())["isSystemError"] is True
            await in_thread(own_couchdb.start)
            assert (await peer.record(early))["response"]["result"] == {"error": "Function could not be fetched."}
            assert (await peer.call("kafka", "cached", {"x": 1}, revision=revision)).result == {"x": 1}
            await peer.served.until_said("blocked namespaces: blocked")
            await in_thread(own_couchdb.kill)
            ids = [uuid.uuid4().hex for _ in range(MANY)]
            for number, activation in enumerate(ids):
                via = "http" if number % 2 else "kafka"
                body = peer.message("cached", {"n": number}, activation=activation, blocking=False, revision=revision)
                answer = await peer.send(via, body)
                told = json.loads(await answer.body()) if answer else await peer.acknowledged(activation)
                assert told["isSystemError"] is False
            await peer.served.until_said("records wait in the spool and are sent later")
            blocked = peer.message("cached", {}, user={"subject": "b", "namespace": {"name": "blocked"}})
            await peer.send("kafka", blocked)  # the last set stays in force
            await eventually(lambda: peer.served.lines("invocation completed", namespaceBlocked=True), "it is skipped")
            await in_thread(own_couchdb.start)
            for number, activation in enumerate(ids):
                assert (await peer.record(activation))["response"]["result"] == {"n": number}
            await peer.served.until_said("CouchDB takes records again")


@asynccontextmanager
async def client_of(place: Place, directory: Path, couch: OwnCouch) -> AsyncGenerator[Client]:
    """A controller of an invoker that starts when CouchDB, which holds its action, is away."""
    await in_thread(couch.stop)
    with serving(place, directory, COUCH_RETRY_LIMIT="300ms") as served:
        async with client(served) as peer:
            yield peer


@pytest.mark.timeout(180)
@pytest.mark.contract("12", "14", "18")
async def test_a_docker_daemon_that_is_restarted_under_load(place: Place, tmp_path: Path) -> None:
    """Everybody is answered, and the same invoker starts containers again; none is left of before."""
    with own_daemon() as daemon:
        await in_thread(lambda: daemon.load([place.images["python:3"]]))
        here = place._replace(network=daemon.network, images={"python:3": place.images["python:3"]})
        addresses = here.network.subnet.rpartition(".")[0]
        with serving(
            here,
            tmp_path,
            DOCKER_SOCKET=str(daemon.socket),
            CONTAINERS_ADDRESSES=f"{addresses}.140-{addresses}.200",
        ) as served:
            async with client(served) as peer:
                await peer.put("restarted", NAP, limits=LIMITS)
                assert (await peer.call("http", "restarted", {"s": 0, "n": 1})).status == 0
                await restart(daemon, served, peer)
            served.stop()
            assert await served.ended() == 0, served.told()
            assert daemon.containers() == []


async def restart(daemon: OwnDaemon, served: Served, peer: Client) -> None:
    """With six activations under way and more that come meanwhile."""
    body = [peer.message("restarted", {"s": 30, "n": n}) for n in range(6)]
    under_way = [await peer.send("http", each) for each in body]
    await eventually(lambda: len(daemon.containers()) >= 6, "each has its container")
    await in_thread(daemon.stop)
    for response in under_way:
        assert response is not None
        record = json.loads(await response.body())["response"]
        assert record["response"]["statusCode"] in (2, 3)
    meanwhile = await over_http(served, "restarted", {"s": 0, "n": 7})
    assert meanwhile["response"]["statusCode"] in (2, 3)
    await in_thread(daemon.start)
    give_up = asyncio.get_running_loop().time() + 60
    while (await over_http(served, "restarted", {"s": 0, "n": 8}))["response"]["statusCode"] != 0:
        assert asyncio.get_running_loop().time() < give_up, "it recovers"
    assert (await peer.call("kafka", "restarted", {"s": 0, "n": 9})).result == {"n": 9}

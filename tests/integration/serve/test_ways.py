"""The ways an activation can take: HTTP and Kafka, blocking or not; what is acknowledged, recorded, logged, counted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from tests.support.serving import Served
from tests.support.serving_client import Client, Ended

pytestmark = pytest.mark.docker

GREET = """
import sys
def main(args):
    print("to", args["name"])
    print("aside", file=sys.stderr)
    return {"greeting": "hello " + args["name"]}
"""
START = "counter_invoker_activation_start_total"


@pytest.mark.contract("3", "4", "5", "6", "7", "8", "10", "15", "16", "19")
@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
@pytest.mark.parametrize("via", ["http", "kafka"])
async def test_a_way(
    peer: Client, served: Served, same: Callable[[str, Ended], None], via: str, blocking: bool
) -> None:
    await peer.put("greet", GREET)
    before = await peer.metrics()
    activation = uuid.uuid4().hex
    annotations = [{"key": "team", "value": "blue"}, {"key": "kind", "value": "never this"}]
    user = {"subject": "someone", "namespace": {"name": "guest", "annotations": annotations}}
    ended = await peer.call(
        via, "greet", {"name": "you"}, activation=activation, blocking=blocking, user=user, revision=None
    )
    assert (ended.status, ended.result) == (0, {"greeting": "hello you"})
    same(f"way-{via}-{'blocking' if blocking else 'non-blocking'}", settled(ended))
    line = await served.completed(activation)
    assert line["invokedVia"] == via
    assert (line["account"], line["namespace"], line["function"]) == ("someone", "guest", "greet")
    assert line["activationStatus"] == "success"
    assert "activationResponse" not in line
    assert ("kafkaWriteTime" in line) is (via == "kafka")
    assert ("activationWriteTime" in line) is (not blocking)
    after = await peer.metrics()
    assert after[START] == before[START] + 1
    success = 'counter_activations_status_counter_total{status="success"}'
    assert after[success] == before.get(success, 0) + 1
    if blocking:  # records go in order: when a later one is there, this one is not to come
        await peer.call(via, "greet", {"name": "fence"}, blocking=False)
        assert await peer.stored(activation) is None
        assert ended.acknowledgement["response"]["activationId"] == activation


def settled(ended: Ended) -> Ended:
    """Whether the container was new depends on the tests before, and the two streams have no order between them."""
    assert ended.record is not None
    ended.record["logs"].sort(key=text)
    annotations = ended.record["annotations"]
    annotations[:] = [each for each in annotations if each["key"] != "initTime"]
    return ended


def text(line: str) -> str:
    """A line of a log without its time."""
    return line[31:]


@pytest.mark.contract("3", "7")
@pytest.mark.parametrize("via", ["http", "kafka"])
async def test_who_wants_no_records_gets_none(peer: Client, via: str) -> None:
    await peer.put("greet", GREET)
    activation = uuid.uuid4().hex
    user = {"subject": "guest", "namespace": {"name": "guest"}, "limits": {"storeActivations": False}}
    body = peer.message("greet", {"name": "you"}, activation=activation, blocking=False, user=user)
    response = await peer.send(via, body)
    told = json.loads(await response.body()) if response else await peer.acknowledged(activation)
    assert told["response"] == activation
    await peer.call(via, "greet", {"name": "fence"}, blocking=False)
    assert await peer.stored(activation) is None


@pytest.mark.contract("3")
async def test_parameters_go_through_as_they_were_written(peer: Client) -> None:
    """Seen in the answer, for Python's json writes the numbers that it reads anew."""
    await peer.put(
        "echo", "function main(args) { return {text: args.text, keys: Object.keys(args)}; }", kind="nodejs:default"
    )
    content = b'{"z": 1.0, "text": "\\u00e9\\n\\ud83d\\ude00", "a": {"y": 1, "x": 2}}'
    ended = await peer.call("http", "echo", content)
    assert ended.result == {"text": "é\n😀", "keys": ["z", "text", "a"]}


@pytest.mark.contract("4")
async def test_the_head_is_the_receipt_and_a_caller_may_leave_after_it(peer: Client, served: Served) -> None:
    await peer.put("left-behind", "import time\ndef main(args):\n    time.sleep(0.3)\n    return {}\n")
    activation = uuid.uuid4().hex
    response = await peer.send("http", peer.message("left-behind", {}, activation=activation, blocking=False))
    assert response is not None
    await response.leave()
    assert (await peer.record(activation))["response"]["statusCode"] == 0


@pytest.mark.contract("4", "19")
async def test_what_cannot_be_used_is_refused_and_runs_nothing(peer: Client) -> None:
    before = await peer.metrics()
    for body in (b"{", b"[]", b"{}", peer.message("greet", {}, transid=["one"])):
        response = await peer.request("POST", "/invoke", body)
        assert response.status == 400, body
        assert "error" in json.loads(await response.body())
    response = await peer.request("GET", "/invoke")
    assert response.status == 405
    await response.leave()
    assert (await peer.metrics())[START] == before[START]
    assert await peer.get("/ping") == b"pong"

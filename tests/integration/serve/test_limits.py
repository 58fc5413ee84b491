"""Limits: sizes in and out, the log, memory, time; each golden, through real containers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable

import pytest

from tests.support.serving import Served
from tests.support.serving_client import Client, Ended

pytestmark = pytest.mark.docker

Same = Callable[[str, Ended], None]
MIB = 1024 * 1024
FILL = "def main(args):\n    return {'fill': 'x' * (args['bytes'] - 11)}\n"  # a result has 11 bytes besides
MEASURE = "def main(args):\n    return {'length': len(args['text'])}\n"
TOO_LONG = "The function produced a response that exceeded the allowed length: "


@pytest.mark.contract("7", "12", "14", "19")
async def test_an_answer_at_the_limit_and_one_byte_beyond(peer: Client, same: Same) -> None:
    await peer.put("fill", FILL)
    longest = await peer.call("http", "fill", {"bytes": MIB})
    assert longest.status == 0
    assert longest.record is not None
    assert longest.record["response"]["size"] == MIB
    same("answer-longest", longest)
    beyond = await peer.call("http", "fill", {"bytes": MIB + 1}, blocking=False)
    assert beyond.status == 1
    assert beyond.result["error"].startswith(f"{TOO_LONG}{MIB + 1} > {MIB} bytes.")
    same("answer-too-long", beyond)
    again = await peer.call("http", "fill", {"bytes": 100})
    assert "initTime" not in {each["key"] for each in (again.record or {})["annotations"]}  # it was kept


@pytest.mark.contract("5", "6")
async def test_an_acknowledgement_too_large_for_kafka_is_sent_short(peer: Client, served: Served, same: Same) -> None:
    """And as the controller will look for the record, it is there, though the call was blocking."""
    await peer.put("fill", FILL)
    activation = uuid.uuid4().hex
    ended = await peer.call("kafka", "fill", {"bytes": MIB}, activation=activation)
    assert ended.acknowledgement["response"] == activation
    assert ended.status == 0
    await served.completed(activation)
    assert served.said(f"activation {activation} is acknowledged by its id alone")
    assert ended.record is not None
    ended.record["annotations"] = [each for each in ended.record["annotations"] if each["key"] != "initTime"]
    same("acknowledgement-too-large", ended)


@pytest.mark.contract("3", "4", "5")
async def test_large_parameters(peer: Client) -> None:
    await peer.put("measure", MEASURE)
    for via, length in (("http", MIB), ("kafka", MIB), ("http", 4 * MIB), ("kafka", 2 * MIB - 4096)):
        ended = await peer.call(via, "measure", {"text": "x" * length})
        assert ended.result == {"length": length}
    response = await peer.request("POST", "/invoke", peer.message("measure", {"text": "x" * (5 * MIB)}))
    assert response.status == 413
    await response.leave()


@pytest.mark.contract("7", "10", "19")
async def test_logs_at_their_limit(peer: Client, same: Same) -> None:
    code = "def main(args):\n    for n in range(args['lines']):\n        print('n' * 100)\n    return {}\n"
    limits = {"timeout": 60_000, "memory": 256, "logs": 1}
    await peer.put("talk", code, limits=limits)
    ended = await peer.call("http", "talk", {"lines": 20}, blocking=False)
    assert ended.record is not None
    logs = ended.record["logs"]
    assert logs[-1].endswith(
        "stderr: Logs were truncated because the total bytes size exceeds the limit of 1024 bytes."
    )
    assert sum(len(line.encode()) for line in logs[:-1]) <= 1024
    same("logs-truncated", ended)
    await peer.put("silent", code, limits=limits | {"logs": 0})
    same("logs-none-allowed", await peer.call("http", "silent", {"lines": 1}, blocking=False))
    await peer.put("mute", "import os\ndef main(args):\n    os.close(1)\n    os.close(2)\n    return {}\n")
    mute = await peer.call("http", "mute", blocking=False)
    assert mute.record is not None
    assert mute.record["logs"][-1].endswith("Logs might be missing.")
    same("logs-missing", mute)


@pytest.mark.contract("12", "14")
async def test_memory_and_time(peer: Client, same: Same) -> None:
    """Side by side, for an initialisation may take 10 s at least."""
    brief = {"timeout": 300, "memory": 128, "logs": 256}
    await peer.put(
        "hungry",
        "def main(args):\n    return {'n': len(bytearray(b'1') * (1 << 30))}\n",
        limits=brief | {"timeout": 30_000},
    )
    await peer.put("slow", "import time\ndef main(args):\n    print('begun')\n    time.sleep(60)\n", limits=brief)
    await peer.put(
        "slow-init",
        "import time\nprint('begun', flush=True)\ntime.sleep(60)\ndef main(args):\n    return {}\n",
        limits=brief,
    )
    names = {"hungry": "memory", "slow": "time limits of 300 ", "slow-init": "time limits of 10000 "}
    calls = [peer.call("kafka", name, blocking=False) for name in names]
    for (name, words), ended in zip(names.items(), await asyncio.gather(*calls), strict=True):
        assert ended.status == 2
        assert words in json.dumps(ended.result)
        same(f"limit-{name}", ended)
        await peer.until_state(f"guest/{name}", None)

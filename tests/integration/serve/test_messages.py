"""What a message may say: encrypted parameters, a sequence's cause, packages; and messages that are not to run."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.serve.conftest import BLOCKED
from tests.support.node import eventually
from tests.support.serving import KEY_NAME, Served
from tests.support.serving_client import Client, Ended, sealed

pytestmark = pytest.mark.docker

Same = Callable[[str, Ended], None]
START = "counter_invoker_activation_start_total"
SECRETS = """
import os
def main(args):
    return {"length": len(os.environ["TOKEN"]), "fits": os.environ["TOKEN"] == args["again"], "pin": args["pin"] + 1}
"""
SEQUENCE = "c" * 32
OLD_MS = 10 * 60 * 1000 + 5_000


@pytest.mark.contract("3", "9", "12")
@pytest.mark.parametrize("via", ["http", "kafka"])
async def test_encrypted_parameters_of_init_and_run(peer: Client, served: Served, same: Same, via: str) -> None:
    await peer.put(f"secrets-{via}", SECRETS)
    secret = f"plain-{uuid.uuid4().hex}"
    content = {"TOKEN": sealed(secret), "again": sealed(secret), "pin": sealed(4711)}
    locked = dict.fromkeys(content, KEY_NAME)
    ended = await peer.call(via, f"secrets-{via}", content, init_args=("TOKEN",), lockedArgs=locked)
    assert ended.result == {"length": len(secret), "fits": True, "pin": 4712}
    same(f"encrypted-{via}", ended)
    decisions = b"".join(path.read_bytes() for path in decision_logs(served))
    assert decisions
    assert secret not in served.told()
    assert secret.encode() not in decisions


def decision_logs(served: Served) -> list[Path]:
    return list(Path(served.environment["DECISION_LOG_DIR"]).glob("*.jsonl"))


@pytest.mark.contract("5", "9")
async def test_what_cannot_be_decrypted_runs_nowhere(peer: Client) -> None:
    await peer.put("secrets-http", SECRETS)
    before = await peer.metrics()
    locked = {"pin": "k9"}
    whole = sealed(1)
    for value, name in ((whole, "k9"), (whole[:-4] + "AAA=", KEY_NAME), ("AAAA", KEY_NAME), ("?", KEY_NAME)):
        body = peer.message("secrets-http", {"pin": value}, lockedArgs={"pin": name})
        response = await peer.request("POST", "/invoke", body)
        text = await response.body()
        assert response.status == 400, text
        assert value.encode() not in text
    activation = uuid.uuid4().hex
    await peer.send("kafka", peer.message("secrets-http", {"pin": whole}, activation=activation, lockedArgs=locked))
    await peer.put("pass", "def main(args):\n    return args\n")
    await peer.call("kafka", "pass", {})  # comes after it
    assert peer.answers_to(activation) == []
    after = await peer.metrics()
    assert after[START] == before[START] + 1
    skipped = 'invoker_kafka_skipped_total{reason="malformed"}'
    assert after[skipped] == before.get(skipped, 0) + 1


@pytest.mark.contract("3", "7")
@pytest.mark.parametrize("via", ["http", "kafka"])
async def test_a_part_of_a_sequence(peer: Client, same: Same, via: str) -> None:
    await peer.put(f"part-{via}", "def main(args):\n    return args\n")
    ended = await peer.call(via, f"part-{via}", {"x": 1}, blocking=False, cause=SEQUENCE)
    assert ended.record is not None
    assert ended.record["cause"] == SEQUENCE
    annotations = {each["key"]: each["value"] for each in ended.record["annotations"]}
    assert annotations["causedBy"] == "sequence"
    assert "waitTime" not in annotations
    same(f"sequence-{via}", ended)


@pytest.mark.contract("3", "7", "12")
async def test_a_bound_package_and_what_the_function_is_told(peer: Client, same: Same) -> None:
    code = """
import os
def main(args):
    known = {key: text for key, text in os.environ.items() if key.startswith("__OW_")}
    return {"names": sorted(known), "action": known["__OW_ACTION_NAME"], "space": known["__OW_NAMESPACE"],
            "version": known["__OW_ACTION_VERSION"], "host": known["__OW_API_HOST"], "key": known["__OW_API_KEY"],
            "unit": os.environ["UNIT"], "list": os.environ["LIST"], "home": os.environ["HOME"], "args": args}
"""
    await peer.put("told", code, path="team/tools", version="0.0.7")
    ended = await peer.call(
        "http",
        "told",
        {"UNIT": "kelvin", "LIST": [1, 2], "x": {"y": None}},
        init_args=("UNIT", "LIST"),
        action={"path": "team/tools", "name": "told", "version": "0.0.7", "binding": "guest/bound"},
        user={"subject": "guest", "namespace": {"name": "guest"}, "authkey": {"api_key": "uuid:key"}},
    )
    assert (ended.result["unit"], ended.result["list"], ended.result["key"]) == ("kelvin", "[1, 2]", "uuid:key")
    same("package", ended)


@pytest.mark.contract("14", "19")
@pytest.mark.parametrize("via", ["http", "kafka"])
async def test_an_action_that_is_not_there(peer: Client, same: Same, via: str) -> None:
    ended = await peer.call(via, "nowhere", blocking=False)
    assert ended.status == 1
    same(f"not-found-{via}", ended)


@pytest.mark.contract("14")
async def test_results_that_are_none(peer: Client, same: Same) -> None:
    codes = {
        "refuses": "def main(args):\n    return {'error': 'no such luck'}\n",
        "raises": "def main(args):\n    raise ValueError('no such luck')\n",
        "nothing": "def main(args):\n    return None\n",
        "broken": "def main(args\n",
    }
    for (name, code), status in zip(codes.items(), (1, 2, 2, 2), strict=True):
        await peer.put(name, code)
        ended = await peer.call("http", name, blocking=False)
        assert ended.status == status, ended.record
        same(f"result-{name}", ended)


@pytest.mark.contract("5", "8", "19")
async def test_a_blocked_namespace_and_an_old_message_are_acknowledged_and_do_not_run(
    peer: Client, served: Served, same: Same
) -> None:
    await peer.put("pass", "def main(args):\n    return args\n")
    before = await peer.metrics()
    old = ["old", time.time_ns() // 1_000_000 - OLD_MS]
    blocked = {"subject": BLOCKED, "namespace": {"name": BLOCKED}}
    for word, how in (("namespaceBlocked", {"user": blocked}), ("skippedOldInvocation", {"transid": old})):
        activation = uuid.uuid4().hex
        body = peer.message("pass", {}, activation=activation, blocking=word == "skippedOldInvocation", **how)
        await peer.send("kafka", body)
        told = await peer.acknowledged(activation)
        assert (told["response"], told["isSystemError"]) == (activation, False)
        same(f"skipped-{word}", Ended(told, None))
        assert (await served.completed(activation))[word] is True
        namespace = BLOCKED if "user" in how else "guest"
        await peer.call("kafka", "pass", blocking=False)
        assert await peer.stored(activation, namespace) is None
    late = await peer.call("kafka", "pass", {"still": "runs"}, blocking=False, transid=old)
    assert late.result == {"still": "runs"}
    after = await peer.metrics()
    assert after[START] == before[START] + 3  # the two fences and the last


@pytest.mark.contract("3", "5")
async def test_a_controllers_health_probe(peer: Client, same: Same) -> None:
    activation = uuid.uuid4().hex
    body = peer.message(
        "",
        activation=activation,
        blocking=False,
        transid=["sid_invokerHealth", time.time_ns() // 1_000_000],
        action={"path": "whisk.system", "name": f"invokerHealthTestAction{peer.name}", "version": "0.0.1"},
        user={"subject": "whisk.system", "namespace": {"name": "whisk.system"}, "limits": {"storeActivations": False}},
    )
    await peer.send("kafka", body)
    told = await peer.acknowledged(activation)
    assert told["transid"] == json.loads(body)["transid"]
    same("health-probe", Ended(told, None))


@pytest.mark.contract("5")
async def test_pings_until_it_is_disabled_and_again_when_it_is_enabled(peer: Client, served: Served) -> None:
    await eventually(lambda: peer.pings and peer.pings[-1]["isEnabled"], "pings come")
    response = await peer.request("POST", "/disable")
    assert await response.body() == f"{served.topic} is now disabled.".encode()
    await eventually(lambda: not peer.pings[-1]["isEnabled"], "the last ping says so")
    await peer.put("pass", "def main(args):\n    return args\n")
    assert (await peer.call("http", "pass", {})).status == 0  # who still sends is served
    count = len(peer.pings)
    assert not peer.pings[-1]["isEnabled"]
    response = await peer.request("POST", "/enable")
    assert await response.body() == f"{served.topic} is now enabled.".encode()
    await eventually(lambda: peer.pings[-1]["isEnabled"], "pings come again")
    assert all(ping["isEnabled"] for ping in peer.pings[count:])

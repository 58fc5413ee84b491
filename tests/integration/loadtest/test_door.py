"""`loadtest controller` as a process: calls as OpenWhisk's command line makes them, and errors as it reads them."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.loadtest.actions import NAP
from tests.integration.loadtest.conftest import NAME, address
from tests.support.node import LIMIT_S
from tests.support.serving import ROOT, Place, Served, surroundings

pytestmark = pytest.mark.docker

ACTIONS, ACTIVATIONS = "namespaces/_/actions", "namespaces/_/activations"


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Any


class Curl:
    """Asks as a script would."""

    def __init__(self, port: int, credentials: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def __call__(self, method: str, path: str, body: Any = None, authorization: str | None = None) -> Answer:
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", method=method)
        request.add_header("Authorization", self._authorization if authorization is None else authorization)
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                return Answer(answer.status, json.loads(answer.read()), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read()), error.headers)

    def health(self) -> dict[str, str]:
        with urllib.request.urlopen(f"{self.url}/invokers", timeout=LIMIT_S) as answer:
            return json.loads(answer.read())

    def until(self, path: str) -> Answer:
        """Ask until it is there."""
        give_up_s = time.monotonic() + LIMIT_S
        while (answer := self("GET", path)).status == 404:
            assert time.monotonic() < give_up_s, answer
            time.sleep(0.05)
        return answer


@pytest.fixture(scope="module")
def curl(
    place: Place, pair: tuple[Served, Served], credentials: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Curl]:
    """The door of a controller in a process of its own, which ends in order."""
    log = tmp_path_factory.mktemp("door") / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command(place, pair), env=environment(place), stdout=stream, stderr=stream)
    try:
        mark = "serves http://127.0.0.1:"
        wait(lambda: mark in log.read_text() or process.poll() is not None, log)
        assert process.poll() is None, log.read_text()
        made = Curl(int(log.read_text().partition(mark)[2].partition("/")[0]), credentials)
        wait(lambda: set(made.health().values()) == {"up"}, log)
        yield made
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def command(place: Place, pair: tuple[Served, Served]) -> list[str]:
    """The command line."""
    invokers = [f"--invoker={each.instance}={address(each).url}" for each in pair]
    tls = [f"--invoker-ca={place.authority.file}", "--invoker-name=localhost"]
    return [sys.executable, "-m", "loadtest.cli", "controller", "--port=0", f"--name={NAME}", *invokers, *tls]


def environment(place: Place) -> dict[str, str]:
    """Kafka and CouchDB, as for an invoker."""
    return surroundings() | {
        "KAFKA_HOSTS": place.kafka.bootstrap,
        "KAFKA_SECURITY": "plaintext",
        "COUCH_URL": place.couch.url,
        "COUCH_USERNAME": place.couch.user,
        "COUCH_PASSWORD": place.couch.password,
        "COUCH_DATABASE_PREFIX": place.prefix,
    }


def wait(true: Any, log: Path) -> None:
    """With a bound."""
    give_up_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < give_up_s, log.read_text()
        time.sleep(0.05)


def put(curl: Curl, name: str, code: str, **more: Any) -> Answer:
    body = {"exec": {"kind": "python:3", "code": code}, "limits": {"memory": 128}} | more
    return curl("PUT", f"{ACTIONS}/{name}?overwrite=true", body)


def test_an_action_is_put_invoked_read_and_deleted(curl: Curl) -> None:
    made = put(curl, "greet", "def main(args):\n    print('hi')\n    return {'hello': args['name']}\n")
    assert (made.status, made.body["namespace"], made.body["version"]) == (200, "guest", "0.0.1")
    assert "code" not in made.body["exec"]
    alone = curl("POST", f"{ACTIONS}/greet?blocking=true&result=true", {"name": "you"})
    assert (alone.status, alone.body) == (200, {"hello": "you"})
    whole = curl("POST", f"{ACTIONS}/greet?blocking=true", {"name": "me"})
    assert whole.body["response"] == {"result": {"hello": "me"}, "statusCode": 0, "size": 14}
    activation = whole.headers["X-OpenWhisk-Activation-Id"]
    assert whole.body["activationId"] == activation
    assert curl("GET", f"{ACTIVATIONS}/{activation}").body["response"] == whole.body["response"]
    assert [line[-2:] for line in curl("GET", f"{ACTIVATIONS}/{activation}/logs").body["logs"]] == ["hi"]
    assert curl("GET", f"{ACTIVATIONS}/{activation}/result").body["result"] == {"hello": "me"}
    assert "greet" in [each["name"] for each in curl("GET", ACTIONS).body]
    assert curl("GET", f"{ACTIONS}/greet").body["exec"]["code"].startswith("def main")
    assert put(curl, "greet", NAP).body["version"] == "0.0.2"
    assert curl("DELETE", f"{ACTIONS}/greet").status == 200
    assert curl("POST", f"{ACTIONS}/greet?blocking=true").status == 404


def test_bound_parameters_reach_the_function_and_given_ones_win(curl: Curl) -> None:
    bound = [{"key": "a", "value": 1}, {"key": "b", "value": 2}]
    put(curl, "bound", "def main(args):\n    return args\n", parameters=bound)
    assert curl("POST", f"{ACTIONS}/bound?blocking=true&result=true", {"b": 3}).body == {"a": 1, "b": 3}


def test_who_does_not_wait_gets_the_id_and_finds_the_record(curl: Curl) -> None:
    put(curl, "later", NAP)
    begun = curl("POST", f"{ACTIONS}/later", {"s": 0.1})
    assert begun.status == 202
    record = curl.until(f"{ACTIVATIONS}/{begun.body['activationId']}").body
    assert record["response"]["result"] == {"napped": 0.1}
    tired = curl("POST", f"{ACTIONS}/later?blocking=true&timeout=100", {"s": 1})
    assert tired.status == 202
    assert curl.until(f"{ACTIVATIONS}/{tired.body['activationId']}").body["response"]["result"] == {"napped": 1}


def test_faults_have_their_status_and_say_why(curl: Curl) -> None:
    put(curl, "fails", "def main(args):\n    return {'error': 'no'}\n")
    failed = curl("POST", f"{ACTIONS}/fails?blocking=true")
    assert (failed.status, failed.body["response"]["statusCode"]) == (502, 1)
    for status, answer in (
        (401, curl("GET", ACTIONS, authorization="")),
        (401, curl("GET", ACTIONS, authorization="Basic " + base64.b64encode(b"a:b").decode())),
        (403, curl("GET", "namespaces/whisk.system/actions")),
        (404, curl("GET", f"{ACTIVATIONS}/{'0' * 32}")),
        (404, curl("GET", "nothing")),
        (405, curl("PATCH", f"{ACTIONS}/fails")),
        (400, curl("POST", f"{ACTIONS}/fails?blocking=maybe")),
        (400, curl("POST", f"{ACTIONS}/fails?blocking=true", [1])),
        (400, curl("PUT", f"{ACTIONS}/broken", {"exec": {}})),
        (409, curl("PUT", f"{ACTIONS}/fails", {"exec": {"kind": "python:3", "code": NAP}})),
        (413, curl("POST", f"{ACTIONS}/fails?blocking=true", b'{"x":"' + b"y" * (1 << 20) + b'"}')),
    ):
        assert answer.status == status, answer
        assert set(answer.body) == {"error", "code"}
        assert answer.body["error"]


def load(*options: str, log: Path) -> dict[str, Any]:
    """A few seconds of locust; its table by `type name`. Every answer's record was checked by it."""
    file = ["-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless", "--json-file", str(log)]
    command = [sys.executable, "-m", "locust", *file, "--run-time=3s", "--stop-timeout=20", "--peak=2", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=surroundings(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {f"{row['method']} {row['name']}": row for row in json.loads(log.with_suffix(".json").read_text())}
    assert sum(row["num_failures"] for row in rows.values()) == 0
    return {name: row["num_requests"] for name, row in rows.items()}


def test_locusts_users_load_both_doors(
    place: Place, pair: tuple[Served, Served], curl: Curl, credentials: str, tmp_path: Path
) -> None:
    prepare = [sys.executable, "-m", "loadtest.cli", "prepare", "--json"]
    told = subprocess.run(prepare, env=environment(place), capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert json.loads(told.stdout)["credentials"] == credentials
    direct = load(
        "DirectUser",
        f"--host={address(pair[0]).url}",
        *("--blocking-share=0.5", "--cold-share=0.05", "--payload-bytes=0,2000", "--log-lines=2"),
        log=tmp_path / "direct",
    )
    assert direct["POST invoke"] == direct["POST receipt"] > 0
    assert 0 < direct["run warm"] + direct["run cold"] < direct["POST invoke"]
    assert direct["init cold"] == direct["run cold"] > 0
    door = load("DoorUser", f"--host={curl.url}", f"--auth={credentials}", "--shape=ramp", log=tmp_path / "door")
    assert door["POST waited for"] == door["way http"] + door.get("way kafka", 0) > 0

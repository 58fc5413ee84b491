"""A neighbour that is away: what `invoker serve --check` says of it, and what the start does (docs/neighbours.md)."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import LIMIT_S
from tests.support.serving import Place, Served, command, manifest, serving, started
from tests.support.serving_client import Client

pytestmark = [pytest.mark.docker, pytest.mark.contract("2", "18")]

NOWHERE = "functions-invoker-test/nowhere:1"
UNAVAILABLE, SETTINGS = 69, 78
CHECKED = ["certificate", "debug and admin", "couchdb", "spool", "decision log", "kafka", "docker"]

AWAY = {
    "couchdb": ("couchdb", "see COUCH_URL", None),
    "couchdb's databases": ("couchdb", "make it with `invoker couchdb init`", UNAVAILABLE),
    "couchdb's user": ("couchdb", "see COUCH_USERNAME and COUCH_PASSWORD", UNAVAILABLE),
    "kafka": ("kafka", "see that the brokers run and KAFKA_HOSTS names them", None),
    "docker": ("docker", "name its socket in DOCKER_SOCKET", UNAVAILABLE),
    "docker's runtime": ("docker", "choose one of those with OCI_RUNTIME", UNAVAILABLE),
    "an image": ("docker", f"images are not on the node: {NOWHERE}", None),
    "the firewall's image": ("firewall", "FIREWALL_IMAGE names another", UNAVAILABLE),
    "the certificate": ("certificate", "mend the file or TLS_CERT_FILE", SETTINGS),
    "the spool": ("spool", "SPOOL_DIR", UNAVAILABLE),
    "the decision log": ("decision log", "DECISION_LOG_DIR", UNAVAILABLE),
}
"""What is away -> (row of --check, what it says to do, exit code of the start; None: it serves all the same)."""


def without(what: str, place: Place, directory: Path) -> dict[str, str]:
    """The settings with which it is away."""
    file = directory / "a-file"
    file.touch()
    return {
        "couchdb": {"COUCH_URL": "http://127.0.0.1:1", "COUCH_RETRY_LIMIT": "200ms"},
        "couchdb's databases": {"COUCH_DATABASE_PREFIX": "none_"},
        "couchdb's user": {"COUCH_PASSWORD": "not this one"},
        "kafka": {"KAFKA_HOSTS": "127.0.0.1:1"},
        "docker": {"DOCKER_SOCKET": str(directory / "none.sock")},
        "docker's runtime": {"OCI_RUNTIME": "none-such"},
        "an image": {"RUNTIMES_MANIFEST": manifest(place.images | {"ruby:3": NOWHERE})},
        "the firewall's image": {"FIREWALL": "helper", "FIREWALL_IMAGE": NOWHERE},
        "the certificate": {"TLS_CERT_FILE": str(directory / "none.crt")},
        "the spool": {"SPOOL_DIR": str(file / "spool")},
        "the decision log": {"DECISION_LOG_DIR": str(file / "decisions")},
    }[what]


async def test_all_well(place: Place, tmp_path: Path) -> None:
    done = await asyncio.to_thread(command, place, tmp_path, "serve", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["neighbour", "what", "was", "found"]
    wells = [row.partition("  well  ") for row in rows if row]
    assert [(row[0].strip(), row[1]) for row in wells] == [(name, "  well  ") for name in CHECKED]
    assert os.listdir(tmp_path) == [], "a check changes nothing"


@pytest.mark.parametrize("what", AWAY)
async def test_a_check_names_it_and_what_to_do(place: Place, tmp_path: Path, what: str) -> None:
    row, words, _ = AWAY[what]
    changes = without(what, place, tmp_path)
    done = await asyncio.to_thread(lambda: command(place, tmp_path, "serve", "--check", "--json", **changes))
    assert done.returncode == UNAVAILABLE, done.stdout + done.stderr
    failing = {found["neighbour"]: found["told"] for found in json.loads(done.stdout) if not found["well"]}
    assert list(failing) == [row]
    assert words in failing[row]


@pytest.mark.parametrize("what", [what for what, (_, _, code) in AWAY.items() if code is not None])
async def test_what_nothing_can_run_without_ends_the_start(place: Place, tmp_path: Path, what: str) -> None:
    """With one sentence, and nothing left of it."""
    _, words, code = AWAY[what]
    with started(place, tmp_path, **without(what, place, tmp_path)) as served:
        assert await asyncio.to_thread(served.process.wait, LIMIT_S) == code
        told = [line for line in served.told().splitlines() if not line.startswith("{")]
        assert len(told) == 1, served.told()
        assert told[0].startswith("invoker: ")
        assert words in told[0]
        assert served.containers() == []


@pytest.mark.contract("17")
async def test_a_cluster_that_is_not_known_ends_the_start(place: Place, tmp_path: Path) -> None:
    """Before any rule is written: the firewall is made from it."""
    cluster = {"KUBERNETES": "on", "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text("a-token-of-the-test")
    (credentials / "ca.crt").write_bytes(place.authority.file.read_bytes())
    cluster |= {"KUBERNETES_CREDENTIALS_DIR": str(credentials), "KUBERNETES_OPEN_TIMEOUT": "300ms"}
    with started(place, tmp_path, FIREWALL="helper", FIREWALL_IMAGE=NOWHERE, **cluster) as served:
        assert await asyncio.to_thread(served.process.wait, LIMIT_S) == UNAVAILABLE, served.told()
        assert "invoker: the cluster was not known within 0.3 s" in served.told()


@pytest.mark.contract("8", "14")
async def test_without_couchdb_it_serves_what_it_can(place: Place, tmp_path: Path) -> None:
    """Its caller is told; the record waits in the spool."""
    with serving(place, tmp_path, **without("couchdb", place, tmp_path)) as served:
        assert served.said("the start goes on, and CouchDB is tried again")
        assert served.said("blocked namespaces can't be read, nobody is blocked until then")
        told = await answered(served)
        assert told["isSystemError"] is True
        assert told["response"]["response"]["result"] == {"error": "Function could not be fetched."}
        response = await Client(served).request("POST", "/invoke", Client(served).message("none", blocking=False))
        await response.body()
        assert (await Client(served).metrics())["invoker_spool_bytes"] > 0


@pytest.mark.contract("5", "14")
async def test_without_an_image_only_its_actions_fail(place: Place, tmp_path: Path) -> None:
    with serving(place, tmp_path, **without("an image", place, tmp_path)) as served:
        peer = Client(served)
        await peer.put("pass-here", "def main(args):\n    return args\n")
        await peer.put("no-image", "def main(args):\n    return args\n", kind="ruby:3")
        assert (await peer.call("http", "pass-here", {"x": 1})).result == {"x": 1}
        failed = await peer.call("http", "no-image")
        assert (failed.status, failed.result) == (3, {"error": "Failed to provision resources to run the function."})
        await served.until_said(NOWHERE)


async def answered(served: Served) -> Any:
    """A blocking call of an action that can't be read."""
    peer = Client(served)
    response = await peer.send("http", peer.message("none"))
    assert response is not None
    return json.loads(await response.body())

"""◆ `invoker serve` in a process of its own, among real neighbours: how it is set up, started, watched and ended.

A `Place` is what several invokers may share: a Kafka, a CouchDB with databases of this run's own, a Docker network.
Each invoker has an ID, addresses, a spool and a decision log of its own. Where the run of the tests is killed the
kernel tells the invoker to stop, which then removes its containers itself; what it could not, the next run removes
with the network.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

from invoker.io.docker.settings import INSTANCE_LABEL, OWNER_LABEL
from tests.support.authority import Authority
from tests.support.couch_server import CouchServer
from tests.support.docker_fixtures import TestNetwork, docker
from tests.support.kafka_server import Broker
from tests.support.node import LIMIT_S, eventually

OWNER = "functions-invoker"
KEY_NAME = "k1"
KEY = bytes(range(32))
SLICES, SLICE = 6, 40
"""The network's addresses are shared out: so many invokers at a time may have so many each."""

_instances = itertools.count(os.getpid() * 1000)
_slices = itertools.count()


class Place(NamedTuple):
    """Where invokers run. `prefix` stands before the databases' names; `images` are of the kinds."""

    kafka: Broker
    couch: CouchServer
    prefix: str
    network: TestNetwork
    images: dict[str, str]
    authority: Authority

    @property
    def records(self) -> str:
        """The database of records."""
        return f"{self.prefix}activations"

    @property
    def actions(self) -> str:
        """The database of actions."""
        return f"{self.prefix}whisks"

    def environment(self, directory: Path, **changes: str) -> dict[str, str]:
        """All variables of an invoker whose files are in `directory`; `changes` are of them."""
        subnet = IPv4Network(self.network.subnet)
        first = 2 + (next(_slices) % SLICES) * SLICE
        certificate, key = self.authority.directory / "server.crt", self.authority.directory / "server.key"
        if not certificate.exists():
            self.authority.issue("server")
        given = {
            "ID": str(next(_instances)),
            "LOG_LEVEL": "info",
            "USER_MEMORY": "4 GB",
            "MINIMUM_FUNCTION_MEMORY": "128 MB",
            "ENCRYPTION_KEYS": json.dumps({KEY_NAME: base64.b64encode(KEY).decode()}),
            "RUNTIMES_MANIFEST": manifest(self.images),
            "CONTAINERS_API_HOST": "https://api.test",
            "CONTAINERS_DNS_SERVERS": "127.0.0.53",
            "CONTAINERS_NETWORK": self.network.name,
            "CONTAINERS_SUBNET": self.network.subnet,
            "CONTAINERS_BRIDGE_NAME": self.network.bridge,
            "CONTAINERS_ADDRESSES": f"{subnet[first]}-{subnet[first + SLICE - 1]}",
            "OCI_RUNTIME": "runc",
            "RESOLVER_FILE": "",
            "FIREWALL": "off",
            "KUBERNETES": "off",
            "KAFKA_HOSTS": self.kafka.bootstrap,
            "KAFKA_SECURITY": "plaintext",
            "COUCH_URL": self.couch.url,
            "COUCH_USERNAME": self.couch.user,
            "COUCH_PASSWORD": self.couch.password,
            "COUCH_DATABASE_PREFIX": self.prefix,
            "RECORDS_FLUSH_EVERY": "200ms",
            "SPOOL_DIR": str(directory / "spool"),
            "DECISION_LOG_DIR": str(directory / "decisions"),
            "DRAIN_DELAY": "0",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": "0",
            "TLS_CERT_FILE": str(certificate),
            "TLS_KEY_FILE": str(key),
        }
        return given | changes


def manifest(images: dict[str, str]) -> str:
    """RUNTIMES_MANIFEST of these kinds; each is its family's default."""
    families: dict[str, list[dict[str, Any]]] = {}
    for kind, image in images.items():
        prefix, _, rest = image.partition("/")
        name, _, tag = rest.partition(":")
        family = kind.partition(":")[0]
        entry = {"kind": kind, "default": True, "image": {"prefix": prefix, "name": name, "tag": tag}}
        families.setdefault(family, []).append(entry)
    return json.dumps({"runtimes": families})


class Served:
    """One life of an invoker. Its log is a file that may be read at any time."""

    alive: list[Served]
    """Those whose `with` is not left yet, for the report of a test that fails."""

    def __init__(self, place: Place, environment: dict[str, str], directory: Path) -> None:
        self.place = place
        self.environment = environment
        self.instance = int(environment["ID"])
        self.topic = f"invoker{self.instance}"
        self.port = 0
        directory.mkdir(parents=True, exist_ok=True)
        life = sum(1 for _ in directory.glob("log-*.jsonl")) + 1
        self._log = directory / f"log-{life}.jsonl"
        with self._log.open("wb") as stream:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *COMMAND, "serve"],
                env=surroundings() | environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def said(self, words: str) -> bool:
        """Whether its log has these words."""
        return words in self.told()

    def told(self) -> str:
        """The log so far."""
        return self._log.read_text("utf-8", "replace")

    def lines(self, what: str, **fields: Any) -> list[dict[str, Any]]:
        """The log's lines with this message and these fields."""
        found: list[dict[str, Any]] = []
        for line in self.told().split("\n")[:-1]:
            if line.startswith("{"):
                entry = json.loads(line)
                if entry["message"] == what and fields.items() <= entry.items():
                    found.append(entry)
        return found

    async def completed(self, activation: str) -> dict[str, Any]:
        """The line "invocation completed" of one activation."""
        await eventually(lambda: activation in self.told(), f"{activation} is in the log")
        what = "invocation completed"
        await eventually(lambda: self.lines(what, aid=activation), f"{activation} is completed")
        (line,) = self.lines(what, aid=activation)
        return line

    async def until_said(self, words: str) -> None:
        """Wait until its log has these words."""
        await eventually(lambda: self.said(words), f"the log says {words!r}")

    def wait_until_serving(self) -> None:
        """Wait, with a bound, until it listens."""
        give_up_s = time.monotonic() + LIMIT_S
        mark = f"invoker{self.instance} serves https://"
        while not self.said(mark):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.told()}"
            assert time.monotonic() < give_up_s, f"it doesn't serve within {LIMIT_S:g} s:\n{self.told()}"
            time.sleep(0.02)
        self.port = int(self.told().partition(mark)[2].partition(":")[2].partition(":")[0])

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        await eventually(lambda: self.process.poll() is not None, "the invoker ends")
        return self.process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def containers(self) -> list[str]:
        """The ids of those that bear its labels."""
        filters = (f"label={OWNER_LABEL}={OWNER}", f"label={INSTANCE_LABEL}={self.instance}")
        options = [f"--filter={each}" for each in filters]
        return docker("ps", "--all", *options, "--no-trunc", "--format", "{{.ID}}").split()


Served.alive = []
COMMAND = (sys.executable, "-m", "invoker.cli")


def surroundings() -> dict[str, str]:
    """The environment without what a developer's shell may have set for invokers of his own."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONPATH": str(ROOT)}


ROOT = Path(__file__).parents[2]


@contextmanager
def serving(place: Place, directory: Path, **changes: str) -> Generator[Served]:
    """A serving invoker for the body of the `with`; it ends there, in order where it still runs, and leaves nothing."""
    with started(place, directory, **changes) as served:
        served.wait_until_serving()
        yield served


@contextmanager
def started(place: Place, directory: Path, **changes: str) -> Generator[Served]:
    """The same, not waited for."""
    served = Served(place, place.environment(directory, **changes), directory)
    Served.alive.append(served)
    try:
        yield served
        if served.process.poll() is None:
            served.stop()
            assert served.process.wait(LIMIT_S) == 0, served.told()
            assert served.containers() == []
    finally:
        if served.process.poll() is None:
            served.stop(signal.SIGKILL)
            served.process.wait(LIMIT_S)
        Served.alive.remove(served)


def command(place: Place, directory: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command of `invoker` in an invoker's environment, run to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=surroundings() | {"COLUMNS": "200"} | place.environment(directory, **changes),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

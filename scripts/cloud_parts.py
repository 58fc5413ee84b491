"""◆ The parts of the little cloud: networks, databases, certificates, settings and processes, each of which goes again.

`scripts.cloud` puts them together.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.docker.prepare import BRIDGE_OPTION, ICC_OPTION
from invoker.io.docker.settings import INSTANCE_LABEL, OWNER_LABEL
from loadtest.catalogue import put_load
from tests.support import docker_fixtures, kafka_server
from tests.support.couch_server import CouchServer
from tests.support.docker_fixtures import docker
from tests.support.kafka_certificates import make_certificates
from tests.support.serving import manifest

ROOT = Path(__file__).resolve().parents[1]
OWNER = "functions-invoker"
START_LIMIT_S = 90.0
STOP_LIMIT_S = 30.0
POLL_S = 0.1
CERTIFICATE_DAYS = 30
LOG_TAIL_LINES = 12
RESOLVER_ELSE = "127.0.0.53"


class NoCloudError(Exception):
    """Something can't be had; the text says what, and what to do."""


class Network(NamedTuple):
    """A Docker network for the containers of one invoker."""

    name: str
    subnet: str
    bridge: str


# --- the neighbours -------------------------------------------------------------------------------------------------


@contextmanager
def own_kafka(directory: Path) -> Generator[str]:
    """A broker of our own; its address."""
    certificates = directory / "kafka"
    certificates.mkdir()
    broker = kafka_server.run_broker(make_certificates(certificates))
    try:
        yield broker.bootstrap
    finally:
        broker.remove()


def given_couch(url: str) -> CouchServer:
    """A CouchDB that runs already. Raises NoCloudError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not (parts.hostname and parts.username and parts.password):
        raise NoCloudError("--couchdb is http://user:password@host:port")
    place = f"{parts.scheme}://{parts.hostname}:{parts.port or 5984}{parts.path.rstrip('/')}"
    return CouchServer(place, unquote(parts.username), unquote(parts.password), stand_in=False)


@contextmanager
def databases(couch: CouchServer) -> Generator[str]:
    """The guest's credentials; those databases that were not there before are deleted at the end."""
    settings = CouchDbSettings(url=couch.url, username=couch.user, password=couch.password)
    made = asyncio.run(couch_admin.init(settings, "guest"))
    asyncio.run(put_load(settings, memory_mb=128, timeout_ms=60_000))
    try:
        yield made.credentials
    finally:
        for name in [what.removeprefix("database ") for what in made.made if what.startswith("database ")]:
            with contextlib.suppress(OSError):
                couch.call("DELETE", quote(name, safe=""))


@contextmanager
def docker_networks(count: int) -> Generator[list[Network]]:
    """A network for each invoker, on subnets that nobody uses; they go with whatever still stands on them."""
    docker_fixtures.remove_leftovers()
    owners = [f"{docker_fixtures.OWNER}-{os.getpid()}-{number}" for number in range(1, count + 1)]
    made: list[Network] = []
    try:
        for number, owner in enumerate(owners, 1):
            with docker_fixtures.free_subnet() as subnet:
                network = Network(owner, subnet, f"brc{os.getpid()}-{number}")
                choices = [f"--opt={BRIDGE_OPTION}={network.bridge}", f"--opt={ICC_OPTION}=false"]
                docker("network", "create", f"--subnet={subnet}", *choices, f"--label={OWNER_LABEL}={owner}", owner)
            made.append(network)
        yield made
    finally:
        for owner in owners:
            docker_fixtures.remove_all(owner)


def free_instances(count: int) -> list[int]:
    """Numbers that no invoker's container on this daemon bears: an invoker removes what bears its own at its start."""
    labels = docker(
        "ps", "--all", f"--filter=label={OWNER_LABEL}={OWNER}", "--format", f'{{{{.Label "{INSTANCE_LABEL}"}}}}'
    )
    taken = set(labels.split())
    found: list[int] = []
    number = 0
    while len(found) < count:
        if str(number) not in taken:
            found.append(number)
        number += 1
    return found


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


# --- what the processes are told ------------------------------------------------------------------------------------


def shared_settings(
    directory: Path, kafka: str, couch: CouchServer, images: dict[str, str], port: int
) -> dict[str, str]:
    """What all invokers and the controller are told, beside what each is told alone."""
    certificate, key = _certificate(directory)
    return {
        "KAFKA_HOSTS": kafka,
        "KAFKA_SECURITY": "plaintext",
        "KAFKA_PINGS": "true",
        "COUCH_URL": couch.url,
        "COUCH_USERNAME": couch.user,
        "COUCH_PASSWORD": couch.password,
        "RECORDS_FLUSH_EVERY": "500ms",
        "CLUSTER_CA_FILE": "",
        "KUBERNETES": "off",
        "MINIMUM_FUNCTION_MEMORY": "128 MB",
        "ENCRYPTION_KEYS": "{}",
        "RUNTIMES_MANIFEST": manifest(images),
        "CONTAINERS_API_HOST": f"http://127.0.0.1:{port}",
        "CONTAINERS_DNS_SERVERS": _resolver(),
        "OCI_RUNTIME": "runc",
        "RESOLVER_FILE": "",
        "FIREWALL": "off",
        "HTTP_HOST": "127.0.0.1",
        "TLS_CERT_FILE": str(certificate),
        "TLS_KEY_FILE": str(key),
        "DRAIN_DELAY": "0",
        "NICENESS": "0",
    }


def own_settings(instance: int, port: int, network: Network, directory: Path, memory: str) -> dict[str, str]:
    """What one invoker is told."""
    return {
        "ID": str(instance),
        "USER_MEMORY": memory,
        "HTTP_PORT": str(port),
        "CONTAINERS_NETWORK": network.name,
        "CONTAINERS_SUBNET": network.subnet,
        "CONTAINERS_BRIDGE_NAME": network.bridge,
        "SPOOL_DIR": str(directory / f"spool{instance}"),
        "DECISION_LOG_DIR": str(directory / f"decisions{instance}"),
    }


def _certificate(directory: Path) -> tuple[Path, Path]:
    """The invokers' certificate, signed by itself, and its key."""
    certificate, key = directory / "tls.crt", directory / "tls.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(CERTIFICATE_DAYS)]
    command = ["openssl", "req", "-x509", *kind, *names, "-out", str(certificate), "-keyout", str(key)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=STOP_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as problem:
        raise NoCloudError(f"openssl is needed to make the invokers' certificate: {problem}") from problem
    return certificate, key


def _resolver() -> str:
    """The first name server of this machine that a container can reach."""
    with contextlib.suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text().splitlines():
            fields = line.split()
            if fields[:1] == ["nameserver"] and fields[1].count(".") == 3 and not fields[1].startswith("127."):
                return fields[1]
    return RESOLVER_ELSE


# --- processes ------------------------------------------------------------------------------------------------------


@contextmanager
def process(log: Path, command: list[str], settings: dict[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """A program of ours, its words in `log`. In a session of its own: Ctrl-C is for us, and we stop it in order. Where
    we are killed the kernel tells it to stop."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "DOCKER_HOST") if name in os.environ}
    socket_path = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    environment = kept | settings | ({"DOCKER_SOCKET": socket_path} if socket_path else {})
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(running: dict[str, subprocess.Popen[bytes]], true: Callable[[], bool], directory: Path) -> None:
    give_up_s = time.monotonic() + START_LIMIT_S
    while not true():
        complain(running, directory)
        if time.monotonic() > give_up_s:
            raise NoCloudError(f"it is not ready within {START_LIMIT_S:g} s; see the logs in {directory}")
        time.sleep(POLL_S)


def complain(running: dict[str, subprocess.Popen[bytes]], directory: Path) -> None:
    """Raises NoCloudError where one has ended, with the end of its log."""
    for name, process in running.items():
        if process.poll() is not None:
            tail = (directory / f"{name}.log").read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
            raise NoCloudError(f"{name} has ended with {process.returncode}:\n  " + "\n  ".join(tail))


def log_of(directory: Path, instance: int) -> str:
    """What an invoker has said so far."""
    return (directory / f"invoker{instance}.log").read_text("utf-8", "replace")


def all_up(port: int) -> bool:
    """Whether the controller sends to every invoker."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/invokers", timeout=STOP_LIMIT_S) as answer:
            return b'"' in (body := answer.read()) and body.count(b'"up"') == body.count(b":")
    except OSError:
        return False

"""◆ A whole little cloud on one machine: a controller, invokers, Kafka, CouchDB, Docker. `make cloud` runs this.

Kafka, CouchDB and the actions' images come as in the tests, so no registry of images is needed. Everything is on
loopback, and everything that is made here is removed at the end, by Ctrl-C too; what a killed run left is removed by
the next one. Each invoker has a Docker network of its own, and an instance number that no container on this daemon
bears: an invoker removes what bears its number when it starts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from invoker.errors import InvokerError
from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.docker.prepare import BRIDGE_OPTION, ICC_OPTION
from invoker.io.docker.settings import INSTANCE_LABEL, OWNER_LABEL
from tests.support import docker_fixtures, docker_images, kafka_server
from tests.support.couch_server import CouchServer, OwnCouch
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

CODE = r"def main(args):\n    return {\"hello\": args.get(\"name\", \"world\")}"


class NoCloudError(Exception):
    """Something can't be had; the text says what, and what to do."""


class Network(NamedTuple):
    """A Docker network for the containers of one invoker."""

    name: str
    subnet: str
    bridge: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Start all, tell what to try, wait, remove all. The exit code."""
    parser = argparse.ArgumentParser(prog="make cloud", description="A whole little cloud on this machine.")
    parser.add_argument("--port", type=int, default=3233, help="port of the controller's door (default 3233)")
    parser.add_argument("--invokers", type=int, default=2, help="how many invokers (default 2)")
    parser.add_argument("--memory", default="2 GB", help="memory of each for containers (default 2 GB)")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="use this Kafka, without TLS, instead of an own one")
    parser.add_argument("--couchdb", metavar="URL", help="use this CouchDB, http://user:password@host:port, likewise")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        with ExitStack() as stack:
            _run(stack, options)
    except KeyboardInterrupt:
        _say("\nstopped; nothing is left of it")
        return 0
    except (NoCloudError, InvokerError, docker_images.NoImagesError, AssertionError) as problem:
        _say(f"error: {problem}")
        return 1
    return 1  # something has ended by itself


def _run(stack: ExitStack, options: argparse.Namespace) -> None:
    """All parts, in order; returns when one of them has ended by itself."""
    began_s = time.monotonic()
    if not 1 <= options.invokers <= 8:
        raise NoCloudError(f"--invokers is 1 to 8, not {options.invokers}")
    given = _given_couch(options.couchdb) if options.couchdb else None
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="functions-cloud-", dir="/var/tmp")))
    with _step("images of the runtimes"):
        images = docker_images.action_images()
    with _step("Kafka"):
        kafka = options.kafka or stack.enter_context(_own_kafka(directory))
    with _step("CouchDB"):
        couch = given or stack.enter_context(OwnCouch()).server
        credentials = stack.enter_context(_databases(couch))
    shared = _shared(directory, kafka, couch, images, options.port)
    networks = stack.enter_context(_networks(options.invokers))
    instances = _free_instances(options.invokers)
    ports = _free_ports(options.invokers)
    running: dict[str, subprocess.Popen[bytes]] = {}
    for instance, port, network in zip(instances, ports, networks, strict=True):
        own = _own(instance, port, network, directory, options.memory)
        running[f"invoker{instance}"] = stack.enter_context(
            _process(directory / f"invoker{instance}.log", ["invoker.cli", "serve"], shared | own)
        )
    addresses = [
        f"--invoker={instance}=https://127.0.0.1:{port}" for instance, port in zip(instances, ports, strict=True)
    ]
    for instance in instances:
        with _step(f"invoker{instance}"):
            _wait(
                running, lambda instance=instance: f"invoker{instance} serves" in _log(directory, instance), directory
            )
    trust = [
        f"--invoker-ca={shared['TLS_CERT_FILE']}",
        f"--port={options.port}",
        *[f"--kind={kind}" for kind in images],
    ]
    command = ["loadtest.cli", "controller", *addresses, *trust]
    running["controller"] = stack.enter_context(_process(directory / "controller.log", command, shared))
    with _step("controller"):
        _wait(running, lambda: _all_up(options.port), directory)
    _tell(options.port, credentials, directory, running, time.monotonic() - began_s)
    while all(process.poll() is None for process in running.values()):
        time.sleep(POLL_S)
    _complain(running, directory)


# --- the neighbours -------------------------------------------------------------------------------------------------


@contextmanager
def _own_kafka(directory: Path) -> Generator[str]:
    certificates = directory / "kafka"
    certificates.mkdir()
    broker = kafka_server.run_broker(make_certificates(certificates))
    try:
        yield broker.bootstrap
    finally:
        broker.remove()


def _given_couch(url: str) -> CouchServer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not (parts.hostname and parts.username and parts.password):
        raise NoCloudError("--couchdb is http://user:password@host:port")
    place = f"{parts.scheme}://{parts.hostname}:{parts.port or 5984}{parts.path.rstrip('/')}"
    return CouchServer(place, unquote(parts.username), unquote(parts.password), stand_in=False)


@contextmanager
def _databases(couch: CouchServer) -> Generator[str]:
    """The guest's credentials; those databases that were not there before are deleted at the end."""
    settings = CouchDbSettings(url=couch.url, username=couch.user, password=couch.password)
    made = asyncio.run(couch_admin.init(settings, "guest"))
    try:
        yield made.credentials
    finally:
        for name in [what.removeprefix("database ") for what in made.made if what.startswith("database ")]:
            with contextlib.suppress(OSError):
                couch.call("DELETE", quote(name, safe=""))


@contextmanager
def _networks(count: int) -> Generator[list[Network]]:
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


def _free_instances(count: int) -> list[int]:
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


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


# --- what the processes are told ------------------------------------------------------------------------------------


def _shared(directory: Path, kafka: str, couch: CouchServer, images: dict[str, str], port: int) -> dict[str, str]:
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


def _own(instance: int, port: int, network: Network, directory: Path, memory: str) -> dict[str, str]:
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
def _process(log: Path, command: list[str], settings: dict[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """A program of ours, its words in `log`. In a session of its own: Ctrl-C is for us, and we stop it in order. Where
    we are killed the kernel tells it to stop."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "DOCKER_HOST") if name in os.environ}
    socket_path = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    environment = kept | settings | ({"DOCKER_SOCKET": socket_path} if socket_path else {})
    with log.open("wb") as stream:
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


def _wait(running: dict[str, subprocess.Popen[bytes]], true: Callable[[], bool], directory: Path) -> None:
    give_up_s = time.monotonic() + START_LIMIT_S
    while not true():
        _complain(running, directory)
        if time.monotonic() > give_up_s:
            raise NoCloudError(f"it is not ready within {START_LIMIT_S:g} s; see the logs in {directory}")
        time.sleep(POLL_S)


def _complain(running: dict[str, subprocess.Popen[bytes]], directory: Path) -> None:
    """Raises NoCloudError where one has ended, with the end of its log."""
    for name, process in running.items():
        if process.poll() is not None:
            tail = (directory / f"{name}.log").read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
            raise NoCloudError(f"{name} has ended with {process.returncode}:\n  " + "\n  ".join(tail))


def _log(directory: Path, instance: int) -> str:
    return (directory / f"invoker{instance}.log").read_text("utf-8", "replace")


def _all_up(port: int) -> bool:
    """Whether the controller sends to every invoker."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/invokers", timeout=STOP_LIMIT_S) as answer:
            return b'"' in (body := answer.read()) and body.count(b'"up"') == body.count(b":")
    except OSError:
        return False


# --- words ----------------------------------------------------------------------------------------------------------


def _tell(
    port: int, credentials: str, directory: Path, running: dict[str, subprocess.Popen[bytes]], took_s: float
) -> None:
    """What there is, and what to try."""
    api = f"http://127.0.0.1:{port}/api/v1/namespaces/_"
    json = "-H 'Content-Type: application/json'"
    names = ", ".join(running)
    _say(f"""
A little cloud is up after {took_s:.0f} s: {names}, Kafka, CouchDB, Docker.

Try, from a second terminal:

  # who you are
  AUTH={credentials}

  # put a function
  curl -u "$AUTH" -X PUT '{api}/actions/hello?overwrite=true' {json} \\
    -d '{{"exec": {{"kind": "python:3", "code": "{CODE}"}}}}'

  # run it and wait: cold first, then warm
  curl -u "$AUTH" -X POST '{api}/actions/hello?blocking=true&result=true' {json} -d '{{"name": "you"}}'

  # run it without waiting, and read its record a second later
  ID=$(curl -s -u "$AUTH" -X POST '{api}/actions/hello' {json} | grep -oE '[0-9a-f]{{32}}'); sleep 2
  curl -u "$AUTH" "{api}/activations/$ID"

  # which invokers are fit
  curl 'http://127.0.0.1:{port}/invokers'

Logs and decision logs, as long as it runs: {directory}
Ctrl-C stops it all.""")


@contextmanager
def _step(what: str) -> Generator[None]:
    """Tell what is being started, and how long it took."""
    began_s = time.monotonic()
    sys.stdout.write(f"  {what:<24}")
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        _say("no")
        raise
    _say(f"{time.monotonic() - began_s:5.1f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

"""◆ Apache Kafka in a container, for tests: four doors, the same broker behind them.

The official image where it stands in the daemon or can be pulled; on a machine with Maven, a JDK and debootstrap the
image is built on the spot from Maven Central's jars, named by its recipe and kept in the daemon. One KAFKA_*
environment drives both. INVOKER_TEST_KAFKA=host:port points the tests that need no broker of their own at an existing
one.

For a conftest.py: `from tests.support.kafka_server import *`. Containers bear the process id of the run that made
them; what is left of a run that was killed is removed by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import docker_images as images
from tests.support.kafka_certificates import SERVER_NAME, Certificates, make_certificates

__all__ = ["PASSWORD", "SERVER_NAME", "USER", "Broker", "kafka", "kafka_certificates", "kafka_doors", "own_kafka"]

OFFICIAL = "apache/kafka:4.1.1"
REPOSITORY = f"{images.REPOSITORY}/kafka"
LABEL = f"{images.REPOSITORY}.kafka"
RECIPE = Path(__file__).parents[1] / "integration" / "images" / "kafka"
MODULES = (
    "java.base,java.logging,java.management,java.naming,java.security.jgss,java.security.sasl,java.sql,java.xml,"
    "java.net.http,java.desktop,jdk.unsupported,jdk.management,jdk.crypto.ec"
)
PORTS = range(20_000, 30_000)  # outside those that the system gives to clients, so that a stopped broker's stay free
START_TIMEOUT_S = 60.0
BUILD_TIMEOUT_S = 900
COMMAND_TIMEOUT_S = 60
DOORS = ("PLAIN", "TLS", "MTLS", "SASL")
USER, PASSWORD = "invoker", "a-secret-of-the-test"
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, key, version, correlation id, no client id

_numbers = itertools.count(1)


class Ports(NamedTuple):
    """On 127.0.0.1: without protection, TLS, TLS with client certificates, SASL over TLS; and the broker's own."""

    plain: int
    tls: int
    mtls: int
    sasl: int
    controller: int


class Broker:
    """One broker. `bootstrap` is its unprotected door; `name` and `ports` only where this run made it."""

    def __init__(self, bootstrap: str, name: str = "", ports: Ports | None = None) -> None:
        self.bootstrap = bootstrap
        self._name = name
        self._ports = ports

    @property
    def ports(self) -> Ports:
        assert self._ports is not None, "INVOKER_TEST_KAFKA names one door only"
        return self._ports

    def stop(self) -> None:
        """End it at once, as a crash does; returns when it is gone. Its data stay."""
        _docker("kill", self._name)
        _docker("wait", self._name)

    def start(self) -> None:
        """Start it again; returns when it answers."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start it again, and wait for nothing."""
        _docker("start", self._name)

    def wait(self) -> None:
        """Wait until it answers."""
        _wait_until_up(self.ports.plain, self._name)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, nothing answers."""
        _docker("pause", self._name)

    def unpause(self) -> None:
        _docker("unpause", self._name)

    def add_scram_user(self) -> None:
        """Make USER known to SCRAM, for as long as the broker keeps its data."""
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):  # one at a time is all that the broker takes
            _docker("exec", self._name, "/opt/kafka/bin/kafka-configs.sh", *_scram_user(self.ports.plain, mechanism))

    def remove(self) -> None:
        _docker("rm", "--force", "--volumes", self._name)


@pytest.fixture(scope="session")
def kafka_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, the broker's certificate and a client's; and an authority that nobody trusts."""
    return make_certificates(tmp_path_factory.mktemp("kafka-certificates"))


@pytest.fixture(scope="session")
def kafka(kafka_certificates: Certificates) -> Iterator[Broker]:
    """A broker that all tests share; each uses topics of its own."""
    existing = os.environ.get("INVOKER_TEST_KAFKA")
    if existing:
        yield Broker(existing)
        return
    broker = run_broker(kafka_certificates)
    try:
        yield broker
    finally:
        broker.remove()


@pytest.fixture(scope="session")
def kafka_doors(kafka: Broker, kafka_certificates: Certificates) -> Iterator[Broker]:
    """The shared broker where it has all doors, else one that does: nobody's existing broker has this run's keys."""
    if not os.environ.get("INVOKER_TEST_KAFKA"):
        yield kafka
        return
    broker = run_broker(kafka_certificates)
    try:
        yield broker
    finally:
        broker.remove()


@pytest.fixture
def own_kafka(kafka_certificates: Certificates) -> Iterator[Broker]:
    """A broker of this test's own, that it may stop and start."""
    broker = run_broker(kafka_certificates)
    try:
        yield broker
    finally:
        broker.remove()


def run_broker(certificates: Certificates) -> Broker:
    """Start one and wait until it answers."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    images.check_daemon()
    _remove_leftovers()
    testcontainers_config.ryuk_disabled = True  # the label and the next run do its work
    image = kafka_image()
    ports = Ports(*_free_ports())
    name = f"{images.REPOSITORY}-kafka-{os.getpid()}-{next(_numbers)}"
    container = DockerContainer(image, name=name)
    container.with_kwargs(labels={LABEL: str(os.getpid())}, network_mode="host")  # it listens on loopback alone
    container.with_volume_mapping(str(certificates.directory), "/etc/kafka/secrets", "ro")
    for variable, value in environment(ports).items():
        container.with_env(variable, value)
    broker = Broker(f"127.0.0.1:{ports.plain}", name, ports)
    try:
        container.start()
        broker.wait()
    except BaseException:
        broker.remove()
        raise
    return broker


def environment(ports: Ports) -> dict[str, str]:
    """A broker that is its own controller; PEM stores in /etc/kafka/secrets."""
    doors = dict(zip(DOORS, ports, strict=False))
    host = "127.0.0.1"
    jaas = f'required username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}";'
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@{host}:{ports.controller}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": ",".join(f"{door}://{host}:{port}" for door, port in doors.items())
        + f",CONTROLLER://{host}:{ports.controller}",
        "KAFKA_ADVERTISED_LISTENERS": ",".join(f"{door}://{host}:{port}" for door, port in doors.items()),
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": ("PLAIN:PLAINTEXT,TLS:SSL,MTLS:SSL,SASL:SASL_SSL,CONTROLLER:PLAINTEXT"),
        "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAIN",
        "KAFKA_SSL_KEYSTORE_TYPE": "PEM",
        "KAFKA_SSL_KEYSTORE_LOCATION": "/etc/kafka/secrets/broker.pem",
        "KAFKA_SSL_TRUSTSTORE_TYPE": "PEM",
        "KAFKA_SSL_TRUSTSTORE_LOCATION": "/etc/kafka/secrets/authority.pem",
        "KAFKA_LISTENER_NAME_MTLS_SSL_CLIENT_AUTH": "required",
        "KAFKA_LISTENER_NAME_SASL_SASL_ENABLED_MECHANISMS": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "KAFKA_LISTENER_NAME_SASL_PLAIN_SASL_JAAS_CONFIG": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule {jaas}"
        ),
        "KAFKA_LISTENER_NAME_SASL_SCRAM___SHA___256_SASL_JAAS_CONFIG": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "KAFKA_LISTENER_NAME_SASL_SCRAM___SHA___512_SASL_JAAS_CONFIG": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw",
    }


def kafka_image() -> str:
    """The image to run: the official one where it stands, else one of our own making where that can be, else pulled."""
    if _stands(OFFICIAL):
        return OFFICIAL
    makers = [shutil.which(program) for program in ("mvn", "jlink", "debootstrap")]
    if all(makers) and os.geteuid() == 0:
        return _own_image()
    try:
        _docker("pull", "--quiet", OFFICIAL, timeout_s=BUILD_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise images.NoImagesError(
            f"no Kafka for the tests: {OFFICIAL} can't be pulled ({str(error.stderr).strip()}), and an image of our "
            "own needs Maven, a JDK and debootstrap, as root (`make docker-up` installs them on Debian). Or name an "
            "existing broker in INVOKER_TEST_KAFKA=host:port."
        ) from error
    return OFFICIAL


def _own_image() -> str:
    base = images.base_image("python")
    digest = hashlib.sha256(f"{base}\0{MODULES}\0".encode())
    for path in sorted(path for path in RECIPE.iterdir() if path.is_file()):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    tag = f"{REPOSITORY}:{digest.hexdigest()[:16]}"
    with (Path(tempfile.gettempdir()) / f"{images.REPOSITORY}-kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _stands(tag):
            _build(tag, base)
    return tag


def _build(tag: str, base: str) -> None:
    with tempfile.TemporaryDirectory(prefix="functions-invoker-kafka-", dir="/var/tmp") as directory:
        context = Path(directory) / "context"
        shutil.copytree(RECIPE, context)
        gather = ["mvn", "-q", "-B", "-f", str(context / "pom.xml"), "dependency:copy-dependencies"]
        _run([*gather, f"-DoutputDirectory={context / 'libs'}"], BUILD_TIMEOUT_S)
        strip = ["--strip-debug", "--compress=2", "--no-header-files", "--no-man-pages"]
        _run(["jlink", *strip, "--add-modules", MODULES, "--output", str(context / "jre")], BUILD_TIMEOUT_S)
        build = ["build", "--quiet", "--network=none", "--build-arg", f"BASE={base}", "--tag", tag, str(context)]
        _docker(*build, timeout_s=BUILD_TIMEOUT_S)


def _scram_user(port: int, mechanism: str) -> list[str]:
    where = ["--bootstrap-server", f"127.0.0.1:{port}", "--alter", "--entity-type", "users", "--entity-name", USER]
    return [*where, "--add-config", f"{mechanism}=[iterations=4096,password={PASSWORD}]"]


def _remove_leftovers() -> None:
    """Remove the brokers of runs that are no more."""
    shown = _docker("ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.Names}}}} {{{{.Label "{LABEL}"}}}}')
    for line in shown.splitlines():
        name, process = line.split()
        if not Path(f"/proc/{process}").exists():
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", name],
                capture_output=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )


def _free_ports() -> list[int]:
    """A port for each door, free on 127.0.0.1."""
    found: list[int] = []
    while len(found) < len(Ports._fields):
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def _wait_until_up(port: int, name: str) -> None:
    """Ask for the versions it speaks until it answers."""
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s:
        if _answers(port):
            return
        time.sleep(0.1)
    logs = subprocess.run(["docker", "logs", "--tail", "30", name], capture_output=True, text=True, check=False)
    raise AssertionError(f"Kafka is not up within {START_TIMEOUT_S:g} s:\n{logs.stdout}{logs.stderr}")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(API_VERSIONS)
            return len(connection.recv(8)) == 8
    except OSError:
        return False


def _stands(image: str) -> bool:
    return bool(_docker("image", "ls", "--quiet", image).strip())


def _docker(*arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    return _run(["docker", *arguments], timeout_s)


def _run(command: list[str], timeout_s: float) -> str:
    surroundings = os.environ | {"DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True, env=surroundings)
    return done.stdout

"""What an invocation costs: `invoker serve` over Docker, TLS on, beside the floor of a direct call to a container.

Kafka is a real broker, CouchDB a stand-in that has every action (`tests.benchmarks.couch`).

`python -m tests.benchmarks.invoker_load [--rounds N] [--contender NAME=COMMAND ...]` needs Go, Docker and openssl.
The floor is measured in every round, just before each contender: machines are noisy, so only ratios inside a round
mean much. A contender is a command that serves https://127.0.0.1:PORT/invoke with the settings of its environment.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shlex
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.kafka_certificates import make_certificates
from tests.support.kafka_server import run_broker

HERE = Path(__file__).parent
IMAGE = "functions-invoker-bench/fast:1"
NETWORK, SUBNET, BRIDGE = "invoker-bench", "172.30.0.0/16", "br-bench"
PORT, COUCH_PORT = 18443, 18984
START_WAIT_S, STOP_WAIT_S = 30.0, 60.0
LABEL = "functions-invoker.benchmark"

FIGURES = ("p50", "p99", "rps", "head_p50", "cpu_us")
Figures = dict[str, float]
Round = tuple[dict[str, Figures], dict[str, Figures]]
"""(floor, the invoker's), each by the row's name."""


class Row(NamedTuple):
    """One line of the table: what is sent, and which floor it is held against."""

    name: str
    flags: str
    floor: str | None = None


FLOORS = [
    Row("1 in flight", "-count 4000"),
    Row("8 in flight", "-count 6000 -in-flight 8"),
    Row("32 in flight", "-count 6000 -in-flight 32"),
    Row("500 KB in and out", "-count 150 -payload 500000"),
]
ROWS = [
    Row("warm, 1 in flight", "-action fast-a -count 4000", "1 in flight"),
    Row("warm, 1 in flight, not blocking", "-action fast-a -count 4000 -blocking=false", "1 in flight"),
    Row("warm, 8 in flight", "-action fast-a -count 6000 -in-flight 8", "8 in flight"),
    Row("warm, 32 in flight", "-action fast-a -count 6000 -in-flight 32", "32 in flight"),
    Row("paused (400 ms of rest)", "-action fast-b -count 25 -pause 400ms"),
    Row("100 log lines", "-action fast-l100 -count 800"),
    Row("2000 log lines", "-action fast-l2000 -count 100"),
    Row("500 KB in and out", "-action fast-big -count 150 -payload 500000", "500 KB in and out"),
]
KAFKA_ROWS = [  # name, activations, in flight
    ("over Kafka, 1 in flight", 300, 1),
    ("over Kafka, 16 in flight", 1500, 16),
]
# A burst leaves containers that were started and not needed; a new action would take one, so the cold rows come first.
COLD_ROWS = [
    Row("cold, 1 in flight", "-action cold -each -count 15"),
    Row("cold, 4 in flight", "-action cold -each -count 24 -in-flight 4"),
]


def docker(*arguments: str) -> str:
    """A command of the Docker client; what it printed."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Bench:
    """The tools, the image and the network, made once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.couch = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.couch", str(COUCH_PORT)])
        (directory / "kafka").mkdir()
        self.broker = run_broker(make_certificates(directory / "kafka"))
        environment = {**os.environ, "CGO_ENABLED": "0"}
        command = ["go", "build", "-o", f"{directory}/", "./send", "./runtime"]
        subprocess.run(command, cwd=HERE / "tools", env=environment, check=True)
        (directory / "Dockerfile").write_text('FROM scratch\nCOPY runtime /runtime\nENTRYPOINT ["/runtime"]\n')
        subprocess.run(["docker", "build", "-q", "-t", IMAGE, str(directory)], check=True, capture_output=True)
        subprocess.run(
            shlex.split(
                "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
                "-addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.crt"
            ),
            cwd=directory,
            check=True,
            capture_output=True,
        )
        with contextlib.suppress(subprocess.CalledProcessError):
            docker("network", "rm", NETWORK)
        docker("network", "create", "--driver", "bridge", "--subnet", SUBNET, "--opt",
               f"com.docker.network.bridge.name={BRIDGE}", "--opt", "com.docker.network.bridge.enable_icc=false",
               NETWORK)  # fmt: skip

    def close(self) -> None:
        """Remove the network, and end the neighbours."""
        docker("network", "rm", NETWORK)
        self.broker.remove()
        self.couch.terminate()
        self.couch.wait()

    def send(self, url: str, flags: str) -> Figures:
        """Send a load; its figures in ms and requests a second."""
        command = [str(self.directory / "send"), "-url", url, *shlex.split(flags)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        sys.stderr.write(done.stderr[:500])
        return json.loads(done.stdout)

    def floor(self) -> dict[str, Figures]:
        """Direct calls to a container, and what Docker itself takes to create and start one."""
        name = docker("run", "-d", "--label", LABEL, "--network", NETWORK, "--log-driver", "none", IMAGE)
        try:
            shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            url = f"http://{docker('inspect', '-f', shape, name)}:8080/run"
            _until_it_answers(url)
            figures = {row.name: self.send(url, f"-direct {row.flags}") for row in FLOORS}
        finally:
            docker("rm", "-f", name)
        figures["create and start"] = {"p50": statistics.median(self._docker_start_ms() for _ in range(15))}
        return figures

    def _docker_start_ms(self) -> float:
        """One create and start over the daemon's API, the client's own start left out."""
        connection = _UnixConnection(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        body = {
            "Image": IMAGE,
            "Labels": {LABEL: ""},
            "HostConfig": {"NetworkMode": NETWORK, "LogConfig": {"Type": "none"}},
        }
        begun = time.perf_counter()
        made = json.loads(connection.ask("POST", "/containers/create", body))["Id"]
        connection.ask("POST", f"/containers/{made}/start")
        took_ms = (time.perf_counter() - begun) * 1e3
        connection.ask("DELETE", f"/containers/{made}?force=1")
        connection.close()
        return took_ms

    def contender(self, command: Sequence[str]) -> dict[str, Figures]:
        """All rows against one invoker; its CPU per warm request and its memory at the end beside them."""
        with self._serving(command) as process:
            url = f"https://127.0.0.1:{PORT}/invoke"
            figures = {row.name: self.send(url, row.flags) for row in COLD_ROWS}
            for row in ROWS:
                self.send(url, f"{row.flags.split(' -count')[0]} -count 5")
            # Few containers are started at a time where calls are brief: warm rows measure none of that growth.
            self.send(url, "-action fast-a -count 10000 -in-flight 32")
            for row in ROWS:
                before_s = _cpu_s(process.pid)
                figures[row.name] = self.send(url, row.flags)
                count = int(row.flags.split("-count ")[1].split()[0])
                figures[row.name]["cpu_us"] = (_cpu_s(process.pid) - before_s) / count * 1e6
            self._over_kafka(100, 4)
            for name, count, in_flight in KAFKA_ROWS:
                figures[name] = self._over_kafka(count, in_flight)
            figures["resident memory"] = {"mb": _family_mb(process.pid)}
        return figures

    def _over_kafka(self, count: int, in_flight: int) -> Figures:
        command = [sys.executable, "-m", "tests.benchmarks.kafka_load", self.broker.bootstrap, "fast-a"]
        done = subprocess.run(
            [*command, str(count), str(in_flight)], capture_output=True, text=True, timeout=300, check=True
        )
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def _serving(self, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        manifest = {"runtimes": {"fast": [{"kind": "fast:1", "default": True, "image": _image_parts(IMAGE)}]}}
        settings = {
            "ID": "0",
            "HTTP_PORT": str(PORT),
            "HTTP_HOST": "127.0.0.1",
            "COUCH_URL": f"http://127.0.0.1:{COUCH_PORT}",
            "COUCH_USERNAME": "bench",
            "COUCH_PASSWORD": "bench",
            "KAFKA_HOSTS": self.broker.bootstrap,
            "KAFKA_SECURITY": "plaintext",
            "USER_MEMORY": "16 GB",
            "MINIMUM_FUNCTION_MEMORY": "128 MB",
            "ENCRYPTION_KEYS": "{}",
            "CONTAINERS_API_HOST": "https://api.local",
            "CONTAINERS_DNS_SERVERS": "127.0.0.1",
            "OCI_RUNTIME": "runc",
            "RESOLVER_FILE": "",
            "CLUSTER_CA_FILE": "",
            "FIREWALL": "off",
            "KUBERNETES": "off",
            "DRAIN_DELAY": "0",
            "SPOOL_DIR": str(self.directory / "spool"),
            "DECISION_LOG_DIR": str(self.directory / "decisions"),
            "TLS_CERT_FILE": str(self.directory / "tls.crt"),
            "TLS_KEY_FILE": str(self.directory / "tls.key"),
            "RUNTIMES_MANIFEST": json.dumps(manifest),
            "CONTAINERS_NETWORK": NETWORK,
            "CONTAINERS_SUBNET": SUBNET,
            "CONTAINERS_BRIDGE_NAME": BRIDGE,
        }
        with (self.directory / "invoker.log").open("wb") as log:
            process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
            )
            try:
                _until_it_answers(f"https://127.0.0.1:{PORT}/ping")
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                if process.wait(STOP_WAIT_S) != 0:
                    sys.stderr.write((self.directory / "invoker.log").read_text()[-2000:])


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on the daemon's socket."""

    def __init__(self, url: str) -> None:
        super().__init__("localhost")
        self._path = url.removeprefix("unix://")

    def connect(self) -> None:
        import socket

        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """One call; raises where it fails."""
        text = None if body is None else json.dumps(body)
        self.request(method, path, text, {"Content-Type": "application/json"})
        response = self.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {answer!r}")
        return answer


def _image_parts(image: str) -> dict[str, str]:
    prefix, _, rest = image.partition("/")
    name, _, tag = rest.partition(":")
    return {"prefix": prefix, "name": name, "tag": tag}


def _until_it_answers(url: str) -> None:
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    unchecked = ssl._create_unverified_context()  # loopback, a certificate made here
    until = time.monotonic() + START_WAIT_S
    while time.monotonic() < until:
        make = (
            http.client.HTTPSConnection(host, context=unchecked)
            if scheme == "https"
            else http.client.HTTPConnection(host)
        )
        try:
            make.request("GET", f"/{path}")
            make.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            return
        finally:
            make.close()
    raise TimeoutError(f"{url} did not answer within {START_WAIT_S:g} s")


def _cpu_s(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _family_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    total_mb = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(entry.name) == pid or int(fields[1]) == pid:
                    total_mb += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024
    return total_mb


def measure(contenders: dict[str, Sequence[str]], rounds: int) -> dict[str, list[Round]]:
    """For each contender its rounds: (floor, figures)."""
    results: dict[str, list[Round]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory(prefix="invoker-bench-") as directory:
        bench = Bench(Path(directory))
        try:
            for number in range(rounds):
                for name, command in contenders.items():
                    sys.stderr.write(f"round {number + 1} of {rounds}: {name}\n")
                    results[name].append((bench.floor(), bench.contender(command)))
        finally:
            bench.close()
    return results


def table(rounds: list[Round]) -> list[str]:
    """Markdown: medians over the rounds with their spread, and the ratio to the floor of the same round."""
    lines = ["| work | figure | median | least - most | floor | ratio to the floor |", "|---|---|---|---|---|---|"]
    for row in [*ROWS, *COLD_ROWS]:
        for figure in FIGURES:
            values = [ours[row.name][figure] for _, ours in rounds if figure in ours[row.name]]
            if not values:
                continue
            floor = row.floor or ("create and start" if "cold" in row.name else None)
            floors = [base[floor].get(figure) for base, _ in rounds] if floor else []
            known = [value for value in floors if value is not None]
            ratio = f"{statistics.median(v / f for v, f in zip(values, known, strict=True)):.2f}" if known else ""
            under = f"{statistics.median(known):.2f}" if known else ""
            lines.append(
                f"| {row.name} | {figure} | {statistics.median(values):.2f} | {min(values):.2f} - {max(values):.2f} "
                f"| {under} | {ratio} |"
            )
    for name, _count, _in_flight in KAFKA_ROWS:
        for figure in ("p50", "p99", "rps"):
            values = [ours[name][figure] for _, ours in rounds]
            under = statistics.median(base["1 in flight"][figure] for base, _ in rounds)
            ratio = statistics.median(ours[name][figure] / base["1 in flight"][figure] for base, ours in rounds)
            lines.append(
                f"| {name} | {figure} | {statistics.median(values):.2f} | {min(values):.2f} - {max(values):.2f} "
                f"| {under:.2f} | {ratio:.2f} |"
            )
    memory = [ours["resident memory"]["mb"] for _, ours in rounds]
    spread = f"{min(memory):.0f} - {max(memory):.0f}"
    lines.append(f"| resident memory at the end | MB | {statistics.median(memory):.0f} | {spread} | | |")
    names = [row.name for row in [*ROWS, *COLD_ROWS]] + [name for name, _count, _in_flight in KAFKA_ROWS]
    bad = sum(ours[name]["bad"] for _, ours in rounds for name in names)
    return [*lines, "", f"Bad answers: {bad:.0f}."]


class Target(NamedTuple):
    """A figure that has to hold: as a ratio to a floor of the same round, or (floor None) as it is."""

    what: str
    row: str
    figure: str
    floor: str | None
    bound: float
    at_least: bool = False

    def met(self, rounds: list[Round]) -> tuple[float, bool]:
        """The median over the rounds, and whether it is within the bound."""
        values = [
            ours[self.row][self.figure] / (base[self.floor][self.figure] if self.floor else 1.0)
            for base, ours in rounds
        ]
        value = statistics.median(values)
        return value, value >= self.bound if self.at_least else value <= self.bound


TARGETS = [
    Target("warm, 1 in flight: p50 over the floor's", "warm, 1 in flight", "p50", "1 in flight", 3.5),
    Target("warm, 8 in flight: rate over the floor's", "warm, 8 in flight", "rps", "8 in flight", 0.20, at_least=True),
    Target(
        "warm, 32 in flight: rate over the floor's", "warm, 32 in flight", "rps", "32 in flight", 0.15, at_least=True
    ),
    Target("warm, 32 in flight: p99 over the floor's", "warm, 32 in flight", "p99", "32 in flight", 5.0),
    Target("paused: p50, ms", "paused (400 ms of rest)", "p50", None, 2.0),
    Target("2000 log lines: p50 over the warm floor's", "2000 log lines", "p50", "1 in flight", 36.0),
    Target("500 KB in and out: p50 over the floor's", "500 KB in and out", "p50", "500 KB in and out", 3.0),
    Target("over Kafka, 1 in flight: p50 over the floor's", "over Kafka, 1 in flight", "p50", "1 in flight", 19.4),
    Target(
        "over Kafka, 16 in flight: rate over the floor's at 1 in flight",
        "over Kafka, 16 in flight",
        "rps",
        "1 in flight",
        0.103,
        at_least=True,
    ),
    Target("resident memory at the end, MB", "resident memory", "mb", None, 80.0),
]
COLD_OVER_DOCKER_MS = 15.0


def verdicts(rounds: list[Round]) -> tuple[list[str], bool]:
    """Rows of Markdown, and whether every target is met."""
    rows = ["| target | bound | measured | |", "|---|---|---|---|"]
    good = True
    for target in TARGETS:
        value, met = target.met(rounds)
        good &= met
        sign = "at least" if target.at_least else "at most"
        rows.append(f"| {target.what} | {sign} {target.bound:g} | {value:.2f} | {'met' if met else 'missed'} |")
    over_ms = statistics.median(
        ours["cold, 1 in flight"]["p50"] - base["create and start"]["p50"] for base, ours in rounds
    )
    met = over_ms <= COLD_OVER_DOCKER_MS
    rows.append(
        f"| cold, 1 in flight: p50 over Docker's own create and start, ms | at most {COLD_OVER_DOCKER_MS:g} "
        f"| {over_ms:.1f} | {'met' if met else 'missed'} |"
    )
    return rows, good and met


OURS = (str(Path(sys.executable).parent / "invoker"), "serve")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", action="append", default=[], metavar="NAME=COMMAND")
    options = parser.parse_args()
    contenders: dict[str, Sequence[str]] = {"invoker": OURS}
    for contender in options.contender:
        name, _, command = contender.partition("=")
        contenders[name] = shlex.split(command)
    for name, rounds in measure(contenders, options.rounds).items():
        print(f"\n{name}\n")
        print("\n".join(table(rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

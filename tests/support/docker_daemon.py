"""◆ A Docker daemon of a test's own, that it may stop and start, beside the machine's and without touching its rules.

It has a directory, a bridge and a subnet of its own, and writes no iptables. Needs root and `dockerd`. The kernel tells
it to stop where the run of the tests is killed; what it left is removed by the next run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

from tests.support.docker_fixtures import TestNetwork, free_subnet

HOME = "functions-invoker-dockerd-"
BRIDGE, INNER = "brfd", "brfn"
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120


class OwnDaemon:
    """`network` is free for an invoker's containers, and not made yet; `socket` is where the daemon answers."""

    def __init__(self, directory: Path, subnet: str) -> None:
        own, containers = ip_network(subnet).subnets(1)
        self.socket = directory / "docker.sock"
        self.bridge = f"{BRIDGE}{os.getpid()}"
        name = f"functions-{os.getpid()}"
        self.network = TestNetwork(name, str(containers), f"{INNER}{os.getpid()}", name)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{own[1]}/{own.prefixlen}", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def start(self) -> None:
        """Start it; returns when it answers."""
        places = [f"--{name}-root={self._directory / name}" for name in ("data", "exec")]
        untouched = [f"--{what}=false" for what in ("iptables", "ip6tables", "ip-forward", "ip-masq")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "TERM", "dockerd", *places, *untouched, f"--bridge={self.bridge}"),
                    *(f"--pidfile={self._directory / 'pid'}", f"--host=unix://{self.socket}", "--shutdown-timeout=1"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while self._run("version", check=False).returncode != 0:
            assert self._process.poll() is None, (self._directory / "log").read_text()[-4000:]
            assert time.monotonic() < give_up_s, (self._directory / "log").read_text()[-4000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, and with it all its containers."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_TIMEOUT_S)
            self._process = None

    def load(self, images: list[str]) -> None:
        """Give it images of the machine's daemon."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
            self._run("load", stdin=saving.stdout)
        assert saving.returncode == 0

    def containers(self) -> list[str]:
        """The ids of all its containers."""
        return self._run("ps", "--all", "--quiet", "--no-trunc").stdout.decode().split()

    def _run(self, *arguments: str, check: bool = True, stdin: object = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # type: ignore[call-overload]
            ["docker", "--host", f"unix://{self.socket}", *arguments],
            stdin=stdin,  # pyright: ignore[reportArgumentType]
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=check,
        )


@contextmanager
def own_daemon() -> Generator[OwnDaemon]:
    """One that answers, for the body of the `with`; nothing of it is left."""
    _remove_leftovers()
    directory = Path(f"/var/tmp/{HOME}{os.getpid()}")
    directory.mkdir()
    try:
        with free_subnet() as subnet:
            daemon = OwnDaemon(directory, subnet)
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.stop()
    finally:
        _remove(os.getpid())


def _remove_leftovers() -> None:
    for path in Path("/var/tmp").glob(f"{HOME}*"):
        pid = path.name.removeprefix(HOME)
        if re.fullmatch(r"\d+", pid) and not Path(f"/proc/{pid}").exists():
            _remove(int(pid))


def _remove(pid: int) -> None:
    shutil.rmtree(f"/var/tmp/{HOME}{pid}", ignore_errors=True)
    for bridge in (BRIDGE, INNER):
        if Path(f"/sys/class/net/{bridge}{pid}").exists():
            _ip("link", "delete", f"{bridge}{pid}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=COMMAND_TIMEOUT_S)

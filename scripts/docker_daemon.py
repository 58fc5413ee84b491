"""◆ A Docker daemon for the tests: use the one that answers, else start one of our own, and stop only that one.

On a machine with systemd the daemon is the system's business; test machines and containers often have none, and a
daemon killed there leaves a pid file and a socket behind that would stop the next one from starting. This tells a live
daemon from such remains by asking, not by looking. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ANSWER_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0
SILENCE_S = 15.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1
LOG_TAIL_LINES = 15

STATE = Path(__file__).resolve().parent.parent / ".state"
RECORD = STATE / "dockerd.json"  # the daemon we started: its pid, its start time, its socket
LOG = STATE / "dockerd.log"
OWN_RUN = Path("/run/functions-invoker")  # a socket's path is short: at most 107 bytes
SYSTEM_SOCKET = Path("/var/run/docker.sock")
PID_FILES = {"dockerd": Path("/var/run/docker.pid"), "containerd": Path("/var/run/docker/containerd/containerd.pid")}


class UnansweredError(Exception):
    """No daemon speaks on the socket; the text says why."""


def main(argv: list[str]) -> int:
    """`up` prints the environment to use; `down` stops what `up` started; `answers` only tells by its exit code."""
    command = argv[0] if len(argv) == 1 else ""
    if command == "answers":
        return 0 if find() else 1
    if command == "up":
        return up()
    if command == "down":
        return down()
    say("usage: docker_daemon.py up|down|answers")
    return 2


def up() -> int:
    """Find a daemon or start one; the environment for its clients goes to stdout as shell lines."""
    found = find()
    if found is None:
        remedy = obstacle()
        if remedy is None:
            try:
                found = start()
            except UnansweredError as error:
                remedy = str(error)
        if found is None:
            say(f"error: the tests with real containers need a Docker daemon: {remedy}")
            return 1
    address, version = found
    say(f"Docker: API {version} at {address}")
    # BuildKit is off: it needs a plug-in of the client that not every installation has.
    environment = {"DOCKER_HOST": f"unix://{address}", "DOCKER_API_VERSION": version, "DOCKER_BUILDKIT": "0"}
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def obstacle() -> str | None:
    """What to do where no daemon answers and none can be started from here; None where one can."""
    if os.environ.get("DOCKER_HOST"):
        return f"none answers at DOCKER_HOST={os.environ['DOCKER_HOST']}. Start that one, or unset the variable."
    denied = next((path for path in sockets() if path.exists() and not os.access(path, os.R_OK | os.W_OK)), None)
    if denied is not None:
        return f"{denied} refuses this user. Join the group `docker`: sudo usermod -aG docker $USER, then log in anew."
    if sys.platform != "linux":
        return "start Docker Desktop or Colima. (Run these tests on Linux: macOS can't reach containers' addresses.)"
    if os.geteuid() != 0:
        return "start one (sudo systemctl start docker), or run this as root: then it starts one itself."
    if shutil.which("dockerd") is None:
        return "install one: apt-get install docker.io"
    return None


def down() -> int:
    """Stop the recorded daemon, bounded; one that was there before is left alone."""
    pid = recorded_pid()
    if pid is not None:
        say(f"stopping the Docker daemon started here (pid {pid})")
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
            if wait_until(lambda: recorded_pid() is None, STOP_TIMEOUT_S):
                break
        else:
            say(f"error: the Docker daemon (pid {pid}) did not end")
            return 1
    RECORD.unlink(missing_ok=True)
    return 0


def find() -> tuple[str, str] | None:
    """The socket and API version of the first daemon that answers."""
    for path in sockets():
        with contextlib.suppress(UnansweredError):
            return str(path), ask_version(path)
    return None


def sockets() -> Iterator[Path]:
    """Where a daemon may listen; DOCKER_HOST, where set, is the only place."""
    host = os.environ.get("DOCKER_HOST", "")
    if host:
        if host.startswith("unix://"):
            yield Path(host.removeprefix("unix://"))
        return
    yield SYSTEM_SOCKET
    if recorded_pid() is not None:
        yield Path(json.loads(RECORD.read_text())["socket"])
    yield Path.home() / ".docker/run/docker.sock"
    yield Path.home() / ".colima/default/docker.sock"


def ask_version(path: Path) -> str:
    """The newest API version that the daemon behind the socket speaks."""
    connection = http.client.HTTPConnection("docker", timeout=ANSWER_TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ANSWER_TIMEOUT_S)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/version")
        return str(json.load(connection.getresponse())["ApiVersion"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise UnansweredError(f"{path}: {error}") from error
    finally:
        connection.close()


def start() -> tuple[str, str]:
    """Start dockerd in a session of its own and wait until it answers. Raises UnansweredError."""
    STATE.mkdir(exist_ok=True)
    path, flags = SYSTEM_SOCKET, list[str]()
    if command_of(read_pid(PID_FILES["dockerd"])) == "dockerd":
        wait_until(lambda: find() is not None, SILENCE_S)  # it may be just starting
        found = find()
        if found is not None:
            return found
        # It is stuck, or its socket is gone. It isn't ours to end: start beside it.
        OWN_RUN.mkdir(exist_ok=True)
        path = OWN_RUN / "docker.sock"
        places = {"host": f"unix://{path}", "pidfile": OWN_RUN / "docker.pid"}
        places |= {"exec-root": OWN_RUN / "exec", "data-root": STATE / "docker"}
        flags = [f"--{name}={value}" for name, value in places.items()]
    else:
        for program, pid_file in PID_FILES.items():
            if command_of(read_pid(pid_file)) != program:
                pid_file.unlink(missing_ok=True)  # a remnant, whose number may be another process's by now
    say(f"starting a Docker daemon (log: {LOG})")
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    RECORD.write_text(json.dumps({"pid": process.pid, "started": start_time(process.pid), "socket": str(path)}))

    version = ""

    def settled() -> bool:
        nonlocal version
        with contextlib.suppress(UnansweredError):
            version = ask_version(path)
        return bool(version) or process.poll() is not None

    wait_until(settled, START_TIMEOUT_S)
    if version:
        return str(path), version
    tail = "\n  ".join(LOG.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    down()
    raise UnansweredError(f"dockerd was started, but did not come up. The end of its log:\n  {tail}")


def recorded_pid() -> int | None:
    """The daemon that `up` started, as long as it lives; numbers are reused, so its start time must match too."""
    try:
        record = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return None
    pid = int(record["pid"])
    return pid if start_time(pid) == record["started"] else None


def start_time(pid: int) -> str | None:
    """Field 22 of the process's stat (clock ticks since boot); None where it has ended (a zombie has)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def read_pid(path: Path) -> int:
    """The number in a pid file; 0 where it holds none."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def command_of(pid: int) -> str | None:
    """The name of a live process's program."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() if start_time(pid) is not None else None
    except OSError:
        return None


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask every POLL_S until the condition holds; False where it never did."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def say(text: str) -> None:
    """For people: stdout is for the shell."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

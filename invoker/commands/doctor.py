"""◆ `invoker doctor`: what this machine can do, each with the way to mend it.

Every check looks at the thing itself (runs bubblewrap, asks the daemon), never only whether a program is installed.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from invoker.commands import present
from invoker.commands.exit_codes import ExitCode
from invoker.commands.target import JsonFlag

COMMAND_WAIT_MAX_S = 10.0
MEMORY_WANTED_MB = 1024
DOCKER_API_WANTED = (1, 41)
NODE_WANTED = 18

Verdict = Literal["ok", "warn", "fail"]
_MARKS: dict[Verdict, str] = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail"}


class Finding(NamedTuple):
    """One row: what was looked at, how it is, what was found, and what to do where it is not well."""

    what: str
    verdict: Verdict
    found: str
    mend: str = ""


def doctor(*, engine: Literal["process", "docker"] = "process", json: JsonFlag = False) -> int:
    """Look at this machine.

    Parameters
    ----------
    engine
        The engine that must work here: what it can't do without fails, all else only warns.
    json
        Print JSON.
    """
    findings = examine(engine)
    if json:
        present.say(present.pretty(msgspec.json.encode([finding._asdict() for finding in findings])))
    else:
        present.table(
            ("", "what", "found"), [(_MARKS[finding.verdict], finding.what, finding.found) for finding in findings]
        )
        _tell_mends(findings)
    return ExitCode.UNFIT if any(finding.verdict == "fail" for finding in findings) else ExitCode.OK


def examine(engine: str) -> list[Finding]:
    """All checks, in the order in which they matter."""
    checks: Sequence[Callable[[], Finding]] = (
        python,
        memory,
        freezer,
        memory_limits,
        bubblewrap,
        node,
        event_loop,
        lambda: docker(required=engine == "docker"),
    )
    return [check() for check in checks]


def _tell_mends(findings: Sequence[Finding]) -> None:
    unwell = [finding for finding in findings if finding.mend]
    for finding in unwell:
        present.say(f"\n{finding.what}: {finding.mend}")
    if not unwell:
        present.say("\nall is well")


def python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """The interpreter."""
    found = f"{version[0]}.{version[1]} on {sys.platform}"
    if version < (3, 11):
        return Finding("Python", "fail", found, "install Python 3.11 or newer")
    if sys.platform != "linux":
        mend = "control groups and namespaces are Linux's: here processes are stopped by signals and hardly isolated"
        return Finding("Python", "warn", found, mend)
    return Finding("Python", "ok", found)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """What is free for containers."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free_mb = int(lines["MemAvailable"].split()[0]) // 1024
    except (OSError, KeyError, ValueError):
        return Finding("memory", "warn", "unknown", "say with --memory what containers may use")
    if free_mb < MEMORY_WANTED_MB:
        mend = f"containers may use 1 GB by default: say less, such as --memory {max(64, free_mb // 2)}MB"
        return Finding("memory", "warn", f"{free_mb} MB available", mend)
    return Finding("memory", "ok", f"{free_mb} MB available")


def freezer() -> Finding:
    """How idle containers are frozen."""
    from invoker.io.containers import cgroup

    support = cgroup.probe()
    if support.freezer:
        return Finding("freezer", "ok", f"control groups v{support.version}, frozen by a file")
    found = f"none to write to ({support.reason}): process groups are stopped by SIGSTOP"
    return Finding(
        "freezer", "warn", found, f"run as root with the control groups writable; {_mounts(support.version)}"
    )


def memory_limits() -> Finding:
    """How a container's memory is bounded."""
    from invoker.io.containers import cgroup

    support = cgroup.probe()
    if support.memory:
        return Finding("memory limits", "ok", f"control groups v{support.version}: a real limit and an OOM counter")
    found = f"none by control groups ({support.reason}): only the address space is limited"
    return Finding("memory limits", "warn", found, f"run as root; {_mounts(support.version)}")


def _mounts(version: int | None) -> str:
    if version == 2:
        return (
            "in a container, mount /sys/fs/cgroup read-write (Docker: --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup)"
        )
    if version == 1:
        return "boot with the memory and freezer controllers enabled"
    return "mount cgroup2 at /sys/fs/cgroup"


def bubblewrap() -> Finding:
    """Whether processes can have namespaces of their own, by starting one as the process engine does."""
    from invoker.io.process import isolation

    found = asyncio.run(isolation.probe(isolation.default_runtimes(), groups=False))
    if found.bubblewrap is not None:
        return Finding("bubblewrap", "ok", "processes get namespaces of their own and a read-only root")
    problem = next((text for text in found.missing if text.startswith("bubblewrap")), "not to be used")
    if shutil.which("bwrap") is None:
        return Finding("bubblewrap", "warn", "not installed: processes see this machine", "apt-get install bubblewrap")
    mend = "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or run as root"
    return Finding("bubblewrap", "warn", problem, mend)


def node() -> Finding:
    """The runtime of nodejs actions in the process engine."""
    program = shutil.which("node")
    mend = f"install node {NODE_WANTED} or newer for nodejs actions; python actions need nothing"
    if program is None:
        return Finding("node", "warn", "not installed", mend)
    answer = _run([program, "--version"])
    if isinstance(answer, str):
        return Finding("node", "warn", f"does not run: {answer}", mend)
    version = answer.decode("utf-8", "replace").strip()
    major = version.removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < NODE_WANTED:
        return Finding("node", "warn", version, mend)
    return Finding("node", "ok", version)


def event_loop() -> Finding:
    """Whether the fast event loop is there."""
    if importlib.util.find_spec("uvloop") is None:
        return Finding("uvloop", "warn", "not installed: asyncio's own loop serves, slower", "pip install uvloop")
    return Finding("uvloop", "ok", "installed")


def docker(*, required: bool, environ: Mapping[str, str] = os.environ) -> Finding:
    """The daemon: whether it answers, and what it is."""
    unwell: Verdict = "fail" if required else "warn"
    host = environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return Finding("Docker", unwell, f"DOCKER_HOST is {host}", "only a local daemon's socket serves: unix:///...")
    path = host.removeprefix("unix://")
    try:
        version, info = _ask_docker(path, "/version"), _ask_docker(path, "/info")
    except PermissionError:
        return Finding("Docker", unwell, f"{path}: permission denied", "run as root, or join the group docker")
    except (OSError, http.client.HTTPException, msgspec.MsgspecError, KeyError) as problem:
        mend = "install and start it (Debian: apt-get install docker.io); --engine process needs none"
        return Finding("Docker", unwell, f"no daemon answers at {path}: {problem}", mend)
    api = str(version.get("ApiVersion", "0.0"))
    runtimes = ", ".join(name for name in sorted(map(str, info.get("Runtimes") or ())) if not name.startswith("io."))
    found = (
        f"{version.get('Version', '?')}, API {api}, control groups v{info.get('CgroupVersion', '?')} "
        f"({info.get('CgroupDriver', '?')}), runtimes {runtimes}"
    )
    if tuple(int(part) for part in api.split(".") if part.isdecimal()) < DOCKER_API_WANTED:
        return Finding("Docker", unwell, found, "update it: API 1.41 (Docker 20.10) or newer is needed")
    return Finding("Docker", "ok", found)


def _ask_docker(path: str, question: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("docker", timeout=COMMAND_WAIT_MAX_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(COMMAND_WAIT_MAX_S)
        connection.sock.connect(path)
        connection.request("GET", question)
        return msgspec.json.decode(connection.getresponse().read(), type=dict[str, Any])
    finally:
        connection.close()


def _run(command: Sequence[str]) -> bytes | str:
    """What the command printed; a str tells why it failed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=COMMAND_WAIT_MAX_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)
    if done.returncode != 0:
        return done.stderr.decode("utf-8", "replace").strip().partition("\n")[0] or f"exit code {done.returncode}"
    return done.stdout

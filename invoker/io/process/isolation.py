"""◆ How far this machine can keep processes apart: a ladder, probed by standing on each rung, and the command for it.

The rungs are independent: a control group (real memory limit, freezer, number of processes), bubblewrap (namespaces of
its own, a read-only root that shows little of this machine, a private /tmp), and resource limits, which are always
there. Where one is missing the next best takes its place: SIGSTOP for the freezer, a limit of the address space for
that of memory. All of it together is isolation for development: it keeps honest functions apart, not hostile ones
from the machine.

A program enters its control group and sets its limits itself, in a shell that then becomes the program: so nothing that
it starts can have been born outside, and there is no moment at which it runs unlimited.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from invoker.io.containers import cgroup
from invoker.io.containers.cgroup import ControlGroup

SHELL = "/bin/sh"
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
FILES_MAX = 1024
PIDS_MAX = 1024
PROBE_WAIT_S = 10.0
TMPFS_SHARE_MIN_MB = 1

ENTER = (
    'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; n=$((n-1)); done; '
    'ulimit -c 0 && ulimit -n "$1" && ulimit -v "$2" && shift 2 && exec "$@"'
)
"""Arguments: how many directories, the directories, open files, address space in KiB, the program with its own."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl",
)
"""What programs need to find libraries, names and certificates; no secret is among it."""

NOBODY = "65534"
RUNTIMES = Path(__file__).parents[2] / "runtimes"


class Runtime(msgspec.Struct, frozen=True):
    """How to start the program of a kind: it takes `--fd N`, a listening socket, and `--watch-stdin` behind `command`.

    `shown`: directories that it needs to see beside the system's. `reserves` tells that it reserves far more address
    space than it uses, so that none can be limited.
    """

    command: tuple[str, ...]
    shown: tuple[str, ...] = ()
    reserves: bool = False


def default_runtimes() -> dict[str, Runtime]:
    """Our own runtimes: Python by this process's own interpreter; Node.js where `node` is on the PATH."""
    program = RUNTIMES / "python" / "server.py"
    interpreter = os.path.realpath(sys.executable)  # a virtual environment's leads to the real one
    shown = (sys.base_prefix, str(program.parent))
    python = Runtime((interpreter, "-I", "-S", "-B", "-X", "utf8", str(program)), shown)
    runtimes = {f"python:{version}": python for version in ("default", "3", *(f"3.{minor}" for minor in range(9, 15)))}
    found = shutil.which("node")
    if found is not None:
        node, program = os.path.realpath(found), RUNTIMES / "nodejs" / "server.js"
        shown = (str(Path(node).parents[1]), str(program.parent))
        nodejs = Runtime((node, str(program)), shown, reserves=True)
        runtimes |= {f"nodejs:{version}": nodejs for version in ("default", "14", "16", "18", "20", "22", "24")}
    return runtimes


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """Which rungs hold here. `bubblewrap` is its path, None without; `missing` says what is not there, and why."""

    bubblewrap: str | None
    freezer: bool
    memory: bool
    network: bool
    missing: tuple[str, ...] = ()

    @property
    def groups(self) -> bool:
        """Whether containers get control groups."""
        return self.freezer or self.memory

    def describe(self) -> dict[str, str]:
        """The rungs in words."""
        if self.bubblewrap is not None:
            network = "the machine's network" if self.network else "no network"
            what = f"bubblewrap: own namespaces, read-only root, private /tmp, no capabilities, {network}"
        else:
            what = "none: functions see this machine as its user does"
        if self.memory:
            limits = f"memory and {PIDS_MAX} processes by control group, {FILES_MAX} open files"
        else:
            limits = f"address space instead of memory (not for Node.js), {FILES_MAX} open files"
        return {
            "isolation": f"for development only; {what}",
            "freezer": "control group" if self.freezer else "SIGSTOP to the process group",
            "limits": limits,
            "missing": "; ".join(self.missing) or "nothing",
        }

    def command(
        self, runtime: Runtime, group: ControlGroup | None, memory_mb: int, arguments: Sequence[str]
    ) -> list[str]:
        """The whole command that starts `runtime` with `arguments` on the rungs there are."""
        program = [*runtime.command, *arguments]
        if self.bubblewrap is not None:
            program = [self.bubblewrap, *self._sandbox(runtime.shown, memory_mb), "--", *program]
        directories = [str(directory) for directory in group.directories] if group is not None else []
        bounded = not self.memory and not runtime.reserves
        address_space = str(memory_mb << 10) if bounded else "unlimited"
        head = [SHELL, "-c", ENTER, "enter", str(len(directories)), *directories]
        return [*head, str(FILES_MAX), address_space, *program]

    def _sandbox(self, shown: Sequence[str], memory_mb: int) -> list[str]:
        words = ["--unshare-all", "--unshare-user", "--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL"]
        words += ["--share-net"] if self.network else []
        words += ["--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
        words += ["--size", str(max(memory_mb, TMPFS_SHARE_MIN_MB) << 20), "--tmpfs", "/tmp"]  # noqa: S108 - its own
        for name in SYSTEM:
            if os.path.islink(name):
                words += ["--symlink", os.readlink(name), name]
            elif os.path.isdir(name):
                words += ["--ro-bind", name, name]
        for name in CONFIGURATION:
            words += ["--ro-bind-try", name, name]
        for name in shown:
            if not name.startswith(("/usr/", "/bin/")) and name not in ("/usr", "/"):
                words += ["--ro-bind", name, name]
        return [*words, "--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108 - its own


def environment(api_host: str, temporary: str) -> dict[str, str]:
    """All that a runtime finds in its environment. Its files go to `temporary`; runs overlap where the pool says so."""
    return {
        "PATH": SEARCH_PATH,
        "HOME": "/tmp",  # noqa: S108 - the contract's, section 12
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "__OW_API_HOST": api_host,
        "__OW_ALLOW_CONCURRENT": "true",
    }


async def probe(
    runtimes: Mapping[str, Runtime], *, groups: bool = True, bubblewrap: bool = True, network: bool = True
) -> Isolation:
    """Find out what holds here. `groups` and `bubblewrap` false: don't use them although they may be there."""
    missing: list[str] = []
    support = cgroup.probe() if groups else cgroup.CgroupSupport(None, False, False, "not wanted")
    if support.reason:
        missing.append(f"control groups: {support.reason}")
    path = shutil.which("bwrap") if bubblewrap else None
    found = Isolation(bubblewrap=path, freezer=support.freezer, memory=support.memory, network=network)
    if path is None:
        missing.append("bubblewrap: not installed" if bubblewrap else "bubblewrap: not wanted")
    else:
        shown = tuple(dict.fromkeys(name for runtime in runtimes.values() for name in runtime.shown))
        problem = await _try(found.command(Runtime((SHELL, "-c", "exit 0"), shown), None, 64, ()))
        if problem is not None:
            missing.append(f"bubblewrap: {problem}")
            path = None
    return msgspec.structs.replace(found, bubblewrap=path, missing=tuple(missing))


async def _try(command: Sequence[str]) -> str | None:
    """Run a command; what it complained about, None where it did well."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={"PATH": SEARCH_PATH},
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return str(error)
    try:
        async with asyncio.timeout(PROBE_WAIT_S):
            _, words = await process.communicate()
    except TimeoutError:
        return f"did not end within {PROBE_WAIT_S:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    return words.decode("utf-8", "replace").strip() or f"exit status {process.returncode}"

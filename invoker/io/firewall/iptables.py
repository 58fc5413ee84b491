"""◆ The iptables programs: choosing among them, reading the filter table, feeding it a text.

Where the programs run is behind `Programs`: beside the invoker (`HostPrograms`), or in a helper container
(`invoker.io.firewall.helper`). A node may have two sets of tables, legacy and nft, and the kernel heeds both; ours go
where Docker and the cluster's proxy put theirs, so that "first in FORWARD" is first of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Protocol

import msgspec

from invoker.errors import PlatformFault
from invoker.io.firewall.settings import Backend

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
"""Of one program; a filter table of a hundred thousand rules has some 8 MB."""
LOCK_WAIT_S = 5
REPLY_CHARACTERS_MAX = 500
CHUNK_BYTES = 65_536
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND = 127

COUNT_RULES = (
    "for backend in nft legacy; do "
    "echo $backend $(iptables-$backend-save 2>/dev/null | grep -c ^-A); "
    "done; iptables --version"
)
"""The legacy programs are asked for all tables that are there, for asking for one by name would make it."""


class Output(msgspec.Struct, frozen=True):
    """What a program left behind."""

    code: int
    out: bytes
    err: bytes

    @property
    def complaint(self) -> str:
        """What it said, for people."""
        said = (self.err or self.out).decode("utf-8", "replace").strip() or "it said nothing"
        return f"exit code {self.code}: {' / '.join(said.splitlines())[:REPLY_CHARACTERS_MAX]}"


class Programs(Protocol):
    """A place where programs run."""

    async def open(self) -> None:
        """Make the place ready. Raises PlatformFault, nothing left behind."""
        ...

    async def run(self, command: list[str], given: bytes = b"") -> Output:
        """Run to the end within the place's time limit, `given` as its standard input. Raises PlatformFault where it
        could not be run; what it answered is the caller's to judge."""
        ...

    async def close(self) -> None:
        """Leave nothing behind. Twice is once. Raises PlatformFault."""
        ...

    def describe(self) -> str:
        """The place, for people."""
        ...


class Iptables:
    """The filter table of one network namespace. `open` first."""

    def __init__(self, programs: Programs, backend: Backend = "auto") -> None:
        self._programs = programs
        self._backend: Backend = backend
        self._name = "iptables"
        self._version = ""

    async def open(self) -> None:
        """Start the place and choose the programs. Raises PlatformFault."""
        await self._programs.open()
        try:
            self._name = await self._choose()
        except BaseException:
            with contextlib.suppress(PlatformFault):
                await self._programs.close()
            raise

    async def save(self) -> str:
        """The filter table as text. Raises PlatformFault."""
        output = await self._run([f"{self._name}-save", "-t", "filter"], b"")
        return output.out.decode("utf-8", "replace")

    async def restore(self, text: str) -> None:
        """Carry out a text as one transaction, all else left as it is. Raises PlatformFault; then nothing was done."""
        await self._run([f"{self._name}-restore", "--noflush", f"--wait={LOCK_WAIT_S}"], text.encode())

    async def close(self) -> None:
        """End the place. Twice is once."""
        await self._programs.close()

    def describe(self) -> str:
        """Which programs, where."""
        return f"{self._version or 'iptables'} {self._programs.describe()}"

    async def _run(self, command: list[str], given: bytes) -> Output:
        output = await self._programs.run(command, given)
        if output.code != 0:
            raise PlatformFault(f"{' '.join(command)} {self._programs.describe()}: {output.complaint}")
        return output

    async def _choose(self) -> str:
        """The name that the programs' names begin with."""
        output = await self._programs.run(["sh", "-c", COUNT_RULES])
        counts, version = read_counts(output.out.decode("utf-8", "replace"))
        if output.code != 0 or not version:
            raise PlatformFault(
                f"iptables can't be used {self._programs.describe()} ({output.complaint}): install it there, or choose "
                "another place with FIREWALL=helper, host or off"
            )
        nft, legacy = counts.get("nft", 0), counts.get("legacy", 0)
        if self._backend != "auto":
            name = f"iptables-{self._backend}"
        elif nft == legacy:
            name = "iptables"
        else:
            name = "iptables-nft" if nft > legacy else "iptables-legacy"
        if name != "iptables":  # the system's own choice is told with its version
            version = f"{version.partition(' (')[0]} ({'nf_tables' if name == 'iptables-nft' else 'legacy'})"
        self._version = version
        return name


def read_counts(text: str) -> tuple[dict[str, int], str]:
    """(rules by backend, version) in what COUNT_RULES printed; empty where a line is missing."""
    counts: dict[str, int] = {}
    version = ""
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name in ("nft", "legacy") and rest.isdecimal():
            counts[name] = int(rest)
        elif name == "iptables":
            version = line
    return counts, version


class HostPrograms:
    """Programs run beside the invoker, which needs to be allowed to (CAP_NET_ADMIN in the node's network namespace)."""

    def __init__(self, limit_s: float, wrapper: tuple[str, ...] = ()) -> None:
        self._limit_s = limit_s
        self._wrapper = wrapper

    async def open(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """Nothing is left."""

    def describe(self) -> str:
        """Where they run."""
        return "on the host"

    async def run(self, command: list[str], given: bytes = b"") -> Output:
        """As Programs says; a program that takes too long, or whose caller is cancelled, is killed."""
        starting = asyncio.create_task(self._start(command))
        try:
            process = await asyncio.shield(starting)
        except OSError as error:
            return Output(NOT_FOUND, b"", str(error).encode())
        except asyncio.CancelledError:  # one that was begun is there to be ended
            with contextlib.suppress(OSError):
                await _end(await starting)
            raise
        try:
            async with asyncio.timeout(self._limit_s):
                return await _attend(process, given)
        except TimeoutError as error:
            raise PlatformFault(f"{' '.join(command)} on the host gave up after {self._limit_s:g} s") from error
        finally:
            await _end(process)

    async def _start(self, command: list[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._wrapper,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": f"{os.environ.get('PATH', '')}:{SEARCH_PATH}", "LC_ALL": "C"},
            start_new_session=True,  # so that all that it starts can be ended with it
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing is left of it when this returns."""
    _kill(process)
    await asyncio.gather(_drain(process.stdout), _drain(process.stderr), process.wait())


async def _attend(process: asyncio.subprocess.Process, given: bytes) -> Output:
    """Feed it, hear it, wait for its end. Raises PlatformFault for one that prints too much, which is killed."""

    async def hear(stream: asyncio.StreamReader | None) -> bytearray:
        assert stream is not None
        data = bytearray()
        while chunk := await stream.read(CHUNK_BYTES):
            if len(data) <= OUTPUT_BYTES_MAX:
                data += chunk
            else:
                _kill(process)
        return data

    out, err, _ = await asyncio.gather(hear(process.stdout), hear(process.stderr), _write(process.stdin, given))
    check_size(max(len(out), len(err)))
    return Output(await process.wait(), bytes(out), bytes(err))


def _kill(process: asyncio.subprocess.Process) -> None:
    """End it, and what it has started; nothing where it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _drain(stream: asyncio.StreamReader | None) -> None:
    """Read to the end: the pipe is closed only then."""
    assert stream is not None
    while await stream.read(CHUNK_BYTES):
        pass


def check_size(size_bytes: int) -> None:
    """Raises PlatformFault where a program printed more than is taken."""
    if size_bytes > OUTPUT_BYTES_MAX:
        raise PlatformFault(f"an iptables program printed more than {OUTPUT_BYTES_MAX} bytes")


async def _write(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    assert stream is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended before it read; its exit code tells
        stream.write(data)
        await stream.drain()
        stream.close()

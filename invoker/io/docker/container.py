"""◆ One action container in Docker: its calls, its log, its freezer and its end.

The state of the freezer is kept here and not asked of Docker: a container that was frozen through its cgroup counts as
running for the daemon. What Docker can't do at once (freeze, thaw, remove) is put in order by one lock; calls to the
runtime need none.

How a container was lost is asked of the kernel: it counts kills for want of memory (also of a child, while the main
process lives), and knows at once whether the main process is over. The daemon hears of both a tenth of a second later,
and is asked only where the kernel's files are out of reach or gone. The count is not reset between activations, as
Docker's own mark is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import msgspec

from invoker.errors import ContainerFault, PlatformFault
from invoker.io.containers.base import Observe, RuntimeContainer, Spawn
from invoker.io.containers.cgroup import ControlGroup
from invoker.io.containers.http import RuntimeClient
from invoker.io.containers.log import ContainerLog
from invoker.io.docker.attach import OutputStream
from invoker.io.docker.daemon import Daemon, DockerFault
from invoker.io.process.state import fate
from invoker.policy.events import Fault
from invoker.policy.outcome import Condition, Reply

DEATH_NOTICE_S = 0.2
"""A runtime whose connection broke is given this long to be seen dead. Dying takes a process a few milliseconds, and
the daemon some hundred more to tell; only calls that failed without an answer ever wait."""

REPORT_LAG_S = 0.2
REPORT_STEP_S = 0.005
"""Once the output has ended, the daemon is asked in these steps, for this long at most: it learns of an exit from
another process and notes the cause a moment later. Without the kernel's counter nothing else tells memory from exit."""

LAST_ANSWER_S = 0.05
"""Calls to a container whose output has ended are cut off after this long: an answer that came before its end may still
have to be read, and none comes after."""

LAG_RETRIES = 10
LAG_RETRY_S = 0.01
"""Pause and unpause are tried this often where the daemon's own state lags (contract, section 12)."""

REMOVAL_STEP_S = 0.05
KILLED_EXIT_CODE = 137


class DockerContainer(RuntimeContainer):
    """A started container; implements `invoker.ports.Container`.

    `start_timings` has `queue` as well, waiting for a turn; `run` is create, attach and start.
    """

    def __init__(
        self,
        container_id: str,
        name: str,
        address: str,
        *,
        daemon: Daemon,
        client: RuntimeClient,
        stream: OutputStream,
        log: ContainerLog,
        observe: Observe,
        gone: Callable[[DockerContainer], None],
        spawn: Spawn,
    ) -> None:
        super().__init__(client=client, log=log, over=stream.ended, observe=observe, spawn=spawn)
        self._id = container_id
        self._name = name
        self._address = address
        self._daemon = daemon
        self._stream = stream
        self._gone = gone
        self._group: ControlGroup | None = None
        self._freezer: ControlGroup | None = None
        self._pid = 0
        stream.ended.add_done_callback(self._output_ended)

    def __str__(self) -> str:
        return f"container {self._name} ({self._id[:12]})"

    def __repr__(self) -> str:
        return f"<DockerContainer {self._name} {self._id[:12]} {self._address} {self._state}>"

    @property
    def id(self) -> str:
        """Docker's id, 64 hex digits."""
        return self._id

    @property
    def name(self) -> str:
        """Docker's name for it."""
        return self._name

    @property
    def address(self) -> str:
        """Its IP address on the containers' network."""
        return self._address

    def adopt_group(self, group: ControlGroup, *, freezer: bool, pid: int) -> None:
        """Its group, to count kills, and to be frozen through where `freezer`; its main process seen from here."""
        self._group = group
        self._freezer = group if freezer else None
        self._pid = pid
        self._look_at_kills()

    async def _call(self, path: Literal["/init", "/run"], body: bytes, timeout_s: float) -> Reply:
        # An address that nobody answers for any more takes seconds to be found unreachable.
        reply = Reply() if self.ended else await self._client.post(path, body, timeout_s)
        if reply.status == 200:
            return reply
        cut_off = reply.status is None and not reply.timed_out
        condition = await self._condition(cut_off=cut_off)
        return msgspec.structs.replace(reply, condition=condition)

    async def pause(self) -> None:
        """Freeze all its processes. Raises ContainerFault, with fault `oom` or `exited` where it is found dead."""
        async with self._turn:
            if self.ended:
                raise await self._lost("can't be paused")
            self._look_at_kills()  # what happened before was the last activation's
            begun_s = time.perf_counter()
            try:
                if self._freezer is not None:
                    await self._freezer.freeze()
                else:
                    await self._despite_lag(self._daemon.pause, "already paused")
            except PlatformFault as error:
                raise await self._lost(f"can't be paused: {error}") from error
            self._frozen = True
            self._observe("pause", time.perf_counter() - begun_s)

    async def unpause(self) -> None:
        """Thaw. Raises ContainerFault, with fault `oom` or `exited` where it is found dead."""
        async with self._turn:
            if self.ended:
                raise await self._lost("died while it was paused")
            doomed = self._doomed()
            begun_s = time.perf_counter()
            try:
                await self._thaw()
            except PlatformFault as error:
                raise await self._lost(f"can't be thawed: {error}") from error
            self._observe("unpause", time.perf_counter() - begun_s)
            if doomed or self.ended or (self._oom_kills() or 0) > self._oom_kills_seen:
                raise await self._lost("died while it was paused", doomed=doomed)

    async def _thaw(self) -> None:
        if not self._frozen:
            return
        if self._freezer is not None:
            await self._freezer.thaw()
        else:
            await self._despite_lag(self._daemon.unpause, "not paused")
        self._frozen = False

    async def _remove(self) -> None:
        async with self._turn:
            begun_s = time.perf_counter()
            with contextlib.suppress(PlatformFault):  # a removal by force may do even so; its failure would tell
                await self._thaw()
            try:
                await self._remove_by_daemon()
            except (PlatformFault, TimeoutError) as error:
                raise ContainerFault(
                    f"{self} could not be removed, so its address {self._address} stays taken: {error}; "
                    f"once the daemon is well, `docker rm -f {self._name}`"
                ) from error
            self._observe("rm", time.perf_counter() - begun_s)
        self._stream.close()
        self._gone(self)

    async def _remove_by_daemon(self) -> None:
        try:
            await self._daemon.remove(self._id)
        except DockerFault as error:
            if error.status != 409:
                raise
            # Somebody removes it already. It is gone when the daemon no longer knows it.
            async with asyncio.timeout(self._daemon.limit_s):
                while await self._daemon.state(self._id) is not None:  # noqa: ASYNC110 - the daemon tells nobody
                    await asyncio.sleep(REMOVAL_STEP_S)

    async def condition(self) -> Condition:
        """Running, out of memory (also a child killed while the main process lives), or exited."""
        return await self._condition(cut_off=False)

    async def _condition(self, *, cut_off: bool) -> Condition:
        """`cut_off`: the runtime broke a connection, so that its end is likely and may not be seen yet."""
        give_up_s = time.monotonic() + DEATH_NOTICE_S
        while True:
            seen = self._seen_by_kernel()
            if self._leaving and seen != "oom":
                return "exited"
            expected = cut_off and not self.ended and time.monotonic() < give_up_s
            if seen is not None and not (seen == "running" and expected):
                return seen
            if not expected:
                return await self._told_by_daemon()
            await asyncio.wait((self._stream.ended,), timeout=REPORT_STEP_S)

    def _seen_by_kernel(self) -> Condition | None:
        """None where its group can't be read, or is gone with all it knew."""
        if self._pid == 0:
            return None
        over = fate(self._pid) == "over"  # before the count, which then is the last one
        kills = self._oom_kills()
        if kills is None:
            return None
        if kills > self._oom_kills_seen:
            return "oom"
        return "exited" if over else "running"

    async def _told_by_daemon(self) -> Condition:
        give_up_s = time.monotonic() + REPORT_LAG_S
        while time.monotonic() < give_up_s:
            try:
                state = await self._daemon.state(self._id)
            except DockerFault:
                return "exited" if self.ended else "running"
            if state is None:
                return "exited"
            if state.oom_killed:
                return "oom"
            if state.running and not self.ended:
                return "running"
            if not state.running and state.exit_code != KILLED_EXIT_CODE:
                return "exited"
            await asyncio.sleep(REPORT_STEP_S)  # who killed it may be noted a moment later
        return "exited"

    async def _lost(self, what: str, *, doomed: bool = False) -> ContainerFault:
        condition = await self._condition(cut_off=doomed)
        fault: Fault = condition if condition != "running" else "exited" if doomed else "platform"
        return ContainerFault(f"{self} {what}", fault)

    def _oom_kills(self) -> int | None:
        """The kernel's count for its group; None where the group is gone, or out of reach."""
        try:
            return self._group.oom_kills() if self._group is not None else None
        except PlatformFault:
            return None

    def _look_at_kills(self) -> None:
        self._oom_kills_seen = self._oom_kills() or self._oom_kills_seen

    def _doomed(self) -> bool:
        """Whether its main process is over, or will be once thawed (a SIGKILL waits); False where it can't be seen."""
        return self._pid != 0 and fate(self._pid) != "lives"

    async def _despite_lag(self, command: Callable[[str], Coroutine[Any, Any, None]], lagging: str) -> None:
        """Give the daemon's command, again while its own state lags behind the truth."""
        for _ in range(LAG_RETRIES - 1):
            try:
                return await command(self._id)
            except DockerFault as error:
                if lagging not in str(error):
                    raise
            await asyncio.sleep(LAG_RETRY_S)
        return await command(self._id)

    def _output_ended(self, _: asyncio.Future[None]) -> None:
        self._log.end()
        asyncio.get_running_loop().call_later(LAST_ANSWER_S, self._client.close)
        self._note_end()

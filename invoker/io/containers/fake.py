"""◆ An engine without a machine: what its containers do is a function, what its actions take or break is another.

For tests of the driver and the runner. It passes the conformance suite of the real engines (tests/contract/engine), so
a test that runs on it has met an engine's manners: what was begun is finished though the asker has gone, a failed
removal stays, a death is told once.

Time is not its own. A latency is a gate that waits, on whatever clock the test has; a fault is a gate that raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec

from invoker.errors import ContainerFault, PlatformFault, StartFailed
from invoker.io.containers.base import ContainerBase, EngineBase
from invoker.policy.outcome import Condition, Reply
from invoker.ports import ContainerSpec
from invoker.protocol.logs import SENTINEL, STDERR, STDOUT, CollectedLog, LogCollector

RESPONSE_LIMIT_BYTES = 1_048_576

Moment = Literal["start", "ready", "init", "run", "pause", "unpause", "remove"]
Gate = Callable[[Moment, ContainerSpec], Awaitable[None]]
"""Awaited when a container comes to a moment: waiting is its latency, raising (StartFailed, ContainerFault) a fault."""

Path = Literal["/init", "/run"]
Behaviour = Callable[["FakeContainer", Path, bytes], Awaitable[Reply]]
"""What a container answers to a request's body. It is cancelled when the container ends."""


async def open_gate(_: Moment, __: ContainerSpec) -> None:
    """No latency, no fault."""


async def echo(_: FakeContainer, path: Path, body: bytes) -> Reply:
    """A function that returns its parameters."""
    if path == "/init":
        return Reply(200, b'{"OK":true}')
    return Reply(200, bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["value"]))


class FakeMachine:
    """What outlives an engine: the containers that stand. Two engines on one machine see each other's leftovers."""

    def __init__(self) -> None:
        self.standing: dict[str, FakeContainer] = {}

    def __repr__(self) -> str:
        return f"<FakeMachine standing={len(self.standing)}>"


class FakeEngine(EngineBase):
    """Implements `invoker.ports.ContainerEngine` in memory.

    `kinds`: what can be started, None for everything. `sleep` is the clock of time limits, `now_ns` that of log lines.
    `owner` tells whose containers on `machine` are removed by `open`.
    """

    def __init__(
        self,
        behaviour: Behaviour = echo,
        *,
        gate: Gate = open_gate,
        kinds: frozenset[str] | None = None,
        machine: FakeMachine | None = None,
        owner: str = "functions-invoker.0",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_ns: Callable[[], int] = time.time_ns,
        response_limit_bytes: int = RESPONSE_LIMIT_BYTES,
    ) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.gate = gate
        self.machine = machine if machine is not None else FakeMachine()
        self.owner = owner
        self.sleep = sleep
        self.now_ns = now_ns
        self.response_limit_bytes = response_limit_bytes
        self._kinds = kinds
        self._open = False

    def __repr__(self) -> str:
        return f"<FakeEngine {self.owner} containers={len(self.containers)}>"

    @property
    def containers(self) -> dict[str, FakeContainer]:
        """Those of this owner that stand, by id."""
        return {name: each for name, each in self.machine.standing.items() if each.owner == self.owner}

    async def open(self) -> None:
        """Remove what a former life left."""
        for orphan in self.containers.values():
            orphan.adopt(self)
            with contextlib.suppress(ContainerFault):
                await orphan.remove()
        self._open = True

    async def start(self, spec: ContainerSpec, died: Callable[[bool], None]) -> FakeContainer:
        """As the port says: gate `start` is seen to its end even when the caller is cancelled, gate `ready` is not."""
        if not self._open or self._closing is not None:
            raise StartFailed(f"no container of kind {spec.kind} can be started: the engine is not open")
        if self._kinds is not None and spec.kind not in self._kinds:
            raise StartFailed(f"there is no runtime of kind {spec.kind}; there are {', '.join(sorted(self._kinds))}")
        return await self._started(self._launch(spec), FakeContainer.until_ready, died)

    def describe(self) -> dict[str, str]:
        """That nothing is isolated."""
        return {"engine": "fake", "isolation": "none: containers are functions of this process"}

    async def _launch(self, spec: ContainerSpec) -> FakeContainer:
        await self.gate("start", spec)
        container = FakeContainer(self, spec)
        self.machine.standing[container.id] = container
        return container

    async def _close(self) -> None:
        await self._settle()
        removed = await asyncio.gather(*map(self._discard, self.containers.values()))
        if not all(removed):
            raise PlatformFault(f"{removed.count(False)} containers could not be removed: {sorted(self.containers)}")


class FakeContainer(ContainerBase):
    """Implements `invoker.ports.Container`; behaviours and tests also use `print`, `end`, `kill_child` and `tick`."""

    def __init__(self, engine: FakeEngine, spec: ContainerSpec) -> None:
        super().__init__(engine.spawn)
        self.spec = spec
        self.owner = engine.owner
        self.prints_sentinels = True
        self._engine = engine
        self._log = LogCollector()
        self._collecting: deque[asyncio.Future[None]] = deque()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._work: set[asyncio.Task[Reply]] = set()
        self._oom_kills = 0
        self._oom_kills_seen = 0

    def __str__(self) -> str:
        return f"container {self.id}"

    def __repr__(self) -> str:
        state = "ended" if self.ended else "running" if self._thawed.is_set() else "frozen"
        return f"<FakeContainer {self.id} {state}>"

    # ---- what a behaviour or a test makes of it

    @property
    def ended(self) -> bool:
        """Whether its main process has ended."""
        return self._over.done()

    async def tick(self) -> None:
        """One step of work: waits while frozen. A behaviour that never calls this can't be frozen."""
        await asyncio.sleep(0)
        await self._thawed.wait()

    def print(self, text: bytes, stream: int = STDOUT) -> None:
        """Print bytes on stream 1 or 2."""
        self._log.feed(stream, text, self._engine.now_ns())
        self._wake()

    def end(self, *, oom: bool = False) -> None:
        """Its main process ends, unasked."""
        if self.ended:
            return
        self._oom_kills += oom
        self._over.set_result(None)
        for work in self._work:
            work.cancel()
        while self._collecting:
            _settle(self._collecting.popleft())
        self._note_end()

    def kill_child(self) -> None:
        """A child is killed for want of memory; its main process lives."""
        self._oom_kills += 1

    # ---- the port

    @property
    def id(self) -> str:
        """Its number, in words."""
        return f"{self.owner}.{self.spec.number}"

    @property
    def address(self) -> str:
        """None that could be reached."""
        return f"fake:{self.spec.number}"

    @property
    def start_timings(self) -> Mapping[str, float]:
        """Nothing took any time of this machine."""
        return {"run": 0.0, "poll": 0.0}

    def arm_logs(self, limit_bytes: int) -> None:
        """An activation begins (contract, section 10)."""
        self._log.arm(limit_bytes)

    async def collect_logs(self, wait_s: float, error: str | None = None) -> CollectedLog:
        """The log since the last collection, as the port says."""
        if not self.ended and (self._collecting or not self._log.complete):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._collecting.append(waiter)
            await self._first(waiter, wait_s)
            if waiter in self._collecting:
                self._collecting.remove(waiter)
        log = self._log.take(self._engine.now_ns(), error)
        self._wake()
        return log

    async def pause(self) -> None:
        """From now on no `tick` returns."""
        async with self._turn:
            if self.ended:
                raise self._lost("can't be paused")
            self._oom_kills_seen = self._oom_kills
            await self._engine.gate("pause", self.spec)
            self._thawed.clear()

    async def unpause(self) -> None:
        """Let `tick` return again."""
        async with self._turn:
            if not self.ended:
                await self._engine.gate("unpause", self.spec)
                self._thawed.set()
            if self.ended:
                raise self._lost("died while it was paused")

    async def condition(self) -> Condition:
        """As the port says; what happened before the last pause does not count."""
        if self._oom_kills > self._oom_kills_seen:
            return "oom"
        return "exited" if self.ended or self._leaving else "running"

    # ---- what the engine makes of it

    def adopt(self, engine: FakeEngine) -> None:
        """Another engine takes care of it, in a new life."""
        self._engine = engine
        self._spawn = engine.spawn

    async def until_ready(self) -> None:
        """Pass the gate; raises ContainerFault where it ends meanwhile."""
        ready = asyncio.ensure_future(self._engine.gate("ready", self.spec))
        try:
            await asyncio.wait((ready, self._over), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise ContainerFault("its main process ended before it answered", "exited")
            ready.result()
        finally:
            ready.cancel()

    async def _remove(self) -> None:
        async with self._turn:
            await self._engine.gate("remove", self.spec)
            self.end()
            self._engine.machine.standing.pop(self.id, None)

    async def _call(self, path: Path, body: bytes, timeout_s: float) -> Reply:
        if self.ended or self._leaving:
            return Reply(condition=await self.condition())
        work = asyncio.create_task(self._serve(path, body))  # goes on after its time limit, until the container ends
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        await self._first(work, timeout_s)
        if work.done() and not work.cancelled():
            reply = work.result()
            return reply if reply.status == 200 else msgspec.structs.replace(reply, condition=await self.condition())
        return Reply(timed_out=not self.ended, condition=await self.condition())

    async def _serve(self, path: Path, body: bytes) -> Reply:
        """The behaviour's answer, cut off at the limit; then the sentinels, as a runtime prints them."""
        await self._engine.gate("init" if path == "/init" else "run", self.spec)
        reply = await self._engine.behaviour(self, path, body)
        if self.prints_sentinels and (path == "/run" or reply.status != 200):
            self.print(SENTINEL + b"\n", STDOUT)
            self.print(SENTINEL + b"\n", STDERR)
        limit_bytes, length = self._engine.response_limit_bytes, len(reply.body)
        if length <= limit_bytes:
            return reply
        return Reply(reply.status, reply.body[:limit_bytes], announced=length, truncated=True)

    async def _first(self, what: asyncio.Future[Any], limit_s: float) -> None:
        """Wait for `what`, the container's end, or the limit; neither of the first two is cancelled."""
        limit = asyncio.ensure_future(self._engine.sleep(limit_s))
        try:
            await asyncio.wait((what, self._over, limit), return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()

    def _wake(self) -> None:
        if self._collecting and self._log.complete:
            _settle(self._collecting.popleft())

    def _lost(self, what: str) -> ContainerFault:
        return ContainerFault(f"{self} {what}", "oom" if self._oom_kills > self._oom_kills_seen else "exited")


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

"""The fake engine's lab: the same action, played by a function of this process."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from invoker.errors import ContainerFault
from invoker.io.containers.fake import FakeContainer, FakeEngine, FakeMachine, Moment, Path
from invoker.policy.outcome import Reply
from invoker.ports import Container, ContainerSpec
from invoker.protocol.logs import STDERR
from tests.contract.engine.lab import LIMIT_S, LOST, MUTE, spec

_identities = itertools.count(1)


class Act:
    """One container's action; the commands are those of act.py."""

    def __init__(self, container: FakeContainer) -> None:
        self._container = container
        self._beats: list[float] = []
        self._meeting = asyncio.Barrier(4)
        self._environment: dict[str, str] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._muttered = asyncio.Event()
        self._beaten = asyncio.Event()

    async def init(self, value: dict[str, Any]) -> Reply:
        """Take the environment; do what AT_INIT says."""
        if self._environment:
            return Reply(403, b'{"error":"twice"}')
        self._environment = {"HOME": "/tmp"} | value["env"]
        if "AT_INIT" in self._environment:
            return await self.run({"do": self._environment["AT_INIT"], "s": 600})
        return Reply(200, b'{"OK":true}')

    async def run(self, args: dict[str, Any]) -> Reply:
        """Do what the parameter says."""
        if args["do"] == "fail":
            self._container.print(b"ValueError: no such luck\n", STDERR)
            return Reply(502, b'{"error":"no such luck"}')
        return Reply(200, json.dumps(await getattr(self, args["do"])(args)).encode())

    async def echo(self, args: dict[str, Any]) -> object:
        return args

    async def environ(self, args: dict[str, Any]) -> object:
        return self._environment

    async def say(self, args: dict[str, Any]) -> object:
        for line in args["out"]:
            self._container.print(f"{line}\n".encode())
        for line in args["err"]:
            self._container.print(f"{line}\n".encode(), STDERR)
        return {}

    async def mutter(self, args: dict[str, Any]) -> object:
        async def later() -> None:
            await asyncio.sleep(0.01)
            await self.say(args)
            self._muttered.set()

        self._keeping = asyncio.create_task(later())
        return {}

    async def say_after_mutter(self, args: dict[str, Any]) -> object:
        await self._muttered.wait()
        return await self.say(args)

    async def flood(self, args: dict[str, Any]) -> object:
        self._container.print((b"x" * 99 + b"\n") * args["lines"])
        return {}

    async def silence(self, args: dict[str, Any]) -> object:
        self._container.print(b"the last words\n")
        self._container.prints_sentinels = False
        return {}

    async def meet(self, args: dict[str, Any]) -> object:
        return {"place": await self._meeting.wait()}

    async def sleep(self, args: dict[str, Any]) -> object:
        await asyncio.sleep(args["s"])
        return {}

    async def leave(self, args: dict[str, Any]) -> object:
        self._container.end()
        await asyncio.Event().wait()  # it is cancelled with the container
        raise AssertionError

    async def hog(self, args: dict[str, Any]) -> object:
        self._container.end(oom=True)
        await asyncio.Event().wait()
        raise AssertionError

    async def child_hog(self, args: dict[str, Any]) -> object:
        self._container.kill_child()
        return {"child": -9}

    async def large(self, args: dict[str, Any]) -> object:
        return {"x": "x" * args["n"]}

    async def beat(self, args: dict[str, Any]) -> object:
        async def keep() -> None:
            while not self._container.ended:
                self._beats.append(asyncio.get_running_loop().time())
                self._beaten.set()
                await asyncio.sleep(0.001)
                await self._container.tick()

        self._keeping = asyncio.create_task(keep())
        await self._one_more_beat()
        return {}

    async def _one_more_beat(self) -> None:
        self._beaten.clear()
        async with asyncio.timeout(30):
            await self._beaten.wait()

    async def longest_gap(self, args: dict[str, Any]) -> object:
        await self._one_more_beat()
        return {"s": max(late - early for early, late in itertools.pairwise(self._beats))}

    def stop(self) -> None:
        """Beat no more."""
        if self._keeping is not None:
            self._keeping.cancel()


class FakeLab:
    """Implements Lab."""

    name = "fake"

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._machine = FakeMachine()
        self._acts: dict[FakeContainer, Act] = {}
        self.identities: list[int] = []
        stack.callback(self._stop)

    async def engine(self, *, ready_timeout_s: float = LIMIT_S, identity: int | None = None) -> FakeEngine:
        engine = self._new(identity if identity is not None else next(_identities), ready_timeout_s)
        await engine.open()
        self._stack.push_async_callback(engine.close)
        return engine

    def image(self, kind: str) -> str:
        return kind

    async def orphan(self) -> int:
        identity = next(_identities)
        abandoned = self._new(identity, LIMIT_S)
        await abandoned.open()
        await abandoned.start(spec(self), lambda _: None)
        return identity

    def standing(self, identity: int) -> list[str]:
        return [each.id for each in self._machine.standing.values() if each.owner == f"lab.{identity}"]

    async def kill(self, container: Container) -> None:
        assert isinstance(container, FakeContainer)
        container.end()

    def _new(self, identity: int, ready_timeout_s: float) -> FakeEngine:
        async def gate(moment: Moment, spec: ContainerSpec) -> None:
            await asyncio.sleep(0)
            if moment == "ready" and spec.kind == LOST:
                raise ContainerFault("its main process ended", "exited")
            if moment == "ready" and spec.kind == MUTE:
                await asyncio.sleep(ready_timeout_s)
                raise ContainerFault("it did not answer")

        self.identities.append(identity)
        kinds = frozenset({"python:3", "nodejs:default", LOST, MUTE})
        return FakeEngine(self._behave, gate=gate, kinds=kinds, machine=self._machine, owner=f"lab.{identity}")

    async def _behave(self, container: FakeContainer, path: Path, body: bytes) -> Reply:
        act = self._acts.setdefault(container, Act(container))
        value = json.loads(body)["value"]
        play: Callable[[dict[str, Any]], Coroutine[Any, Any, Reply]] = act.init if path == "/init" else act.run
        return await play(value)

    def _stop(self) -> None:
        for act in self._acts.values():
            act.stop()

"""◆ A whole invoker in the test's own process: what `invoker dev` builds, on a free port, with a machine to look at.

The parts are joined by `invoker.app.Dev` itself. What differs is told in `serving`: the engine (with kinds that
misbehave on demand), shorter time limits, or other policies. Everything goes through HTTP as a controller sends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from invoker import config
from invoker.app import MIB, Instead
from invoker.app.dev import Dev
from invoker.io import logging as invoker_logging
from invoker.io.containers.base import Observe, unobserved
from invoker.io.containers.cgroup import ControlGroup
from invoker.io.dev import page as dev_file
from invoker.io.docker.engine import DockerEngine
from invoker.io.docker.settings import INSTANCE_LABEL, DockerSettings
from invoker.io.process.engine import ProcessEngine, ProcessSettings
from invoker.io.process.isolation import Runtime, default_runtimes
from invoker.io.sqlite.store import RecordNotFound
from invoker.policy import PolicySet
from invoker.ports import ContainerEngine
from invoker.runner import RunnerSettings
from tests.support import docker_images
from tests.support.docker_fixtures import TestNetwork, docker, inspect

LIMIT_S = 60.0
PYTHON, RAW, LOST = "python:3", "raw:1", "lost:1"
"""Kinds: this project's runtime, one that answers what it is told to, one that ends before it answers."""

NAMESPACE = "guest"
RAW_RUNTIME = Path(__file__).parents[1] / "e2e" / "raw_runtime"
ADDRESSES = 80  # of each instance
NOWHERE = "functions-invoker-test/there-is-none:such"


class Machine(Protocol):
    """Where containers run: how an engine is made there, and how one looks at it and interferes."""

    name: str

    def engine(self, observe: Observe) -> ContainerEngine:
        """A new engine, not opened."""
        ...

    def manifest(self) -> str:
        """The runtimes manifest of the kinds above."""
        ...

    def environment(self) -> dict[str, str]:
        """The settings with which `invoker dev` runs there in a process of its own."""
        ...

    def kill(self, container: str) -> None:
        """Kill the main process from outside; a frozen one dies when it is thawed."""
        ...

    def standing(self) -> list[str]:
        """The ids of the containers that there are, dead or alive."""
        ...


class ProcessMachine:
    """Processes of this machine."""

    name = "process"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._engine = self._new()

    def engine(self, observe: Observe) -> ProcessEngine:
        self._engine = self._new(observe)
        return self._engine

    def _new(self, observe: Observe = unobserved) -> ProcessEngine:
        program = str(RAW_RUNTIME / "server.py")
        raw = Runtime(
            (os.path.realpath(sys.executable), "-I", "-B", program), (sys.base_prefix, str(RAW_RUNTIME)), reserves=True
        )
        runtimes = default_runtimes() | {RAW: raw, LOST: Runtime(("/bin/sh", "-c", "exit 0"))}
        return ProcessEngine(ProcessSettings(directory=self._directory, runtimes=runtimes), observe=observe)

    def manifest(self) -> str:
        return _manifest({PYTHON: NOWHERE, RAW: NOWHERE, LOST: NOWHERE})

    def environment(self) -> dict[str, str]:
        return {}

    def kill(self, container: str) -> None:
        found = self._engine._containers[container]  # pyright: ignore[reportPrivateUsage]
        os.kill(found.pid, signal.SIGKILL)

    def standing(self) -> list[str]:
        """Directories and control groups: whatever process there is, is in one of them."""
        prefix = self._engine._prefix  # pyright: ignore[reportPrivateUsage] - of its control groups
        groups = {group.name.removeprefix(prefix) for group in ControlGroup.find(prefix)}
        return sorted(groups | {path.name for path in self._directory.glob("*/*") if path.is_dir()})


class DockerMachine:
    """Containers of a real daemon, on a network of this run's own.

    `instance` (0, 1, 2) keeps those of nodes that serve at the same time apart, their addresses too.
    """

    name = "docker"

    def __init__(self, network: TestNetwork, instance: int = 0) -> None:
        self._network = network
        self._instance = instance
        self._images = {
            PYTHON: docker_images.action_images()[PYTHON],
            RAW: docker_images.build(RAW_RUNTIME, base=docker_images.base_image("python"), repository="raw"),
            LOST: NOWHERE,
        }

    def engine(self, observe: Observe) -> DockerEngine:
        settings = DockerSettings(
            network=self._network.name,
            subnet=self._network.subnet,
            bridge=self._network.bridge,
            owner=self._network.owner,
            instance=self._instance,
            address_first=2 + ADDRESSES * self._instance,
            address_last=1 + ADDRESSES * (self._instance + 1),
            name_prefix=f"e2e{os.getpid()}-{self._instance}",
            oci_runtime="runc",
            resolver_file=None,
        )
        return DockerEngine(settings, observe=observe)

    def manifest(self) -> str:
        return _manifest(self._images)

    def environment(self) -> dict[str, str]:
        return {
            "ENGINE": "docker",
            "CONTAINERS_NETWORK": self._network.name,
            "CONTAINERS_SUBNET": self._network.subnet,
            "CONTAINERS_BRIDGE_NAME": self._network.bridge,
            "RUNTIMES_MANIFEST": self.manifest(),
        }

    def kill(self, container: str) -> None:
        os.kill(inspect(container)["State"]["Pid"], signal.SIGKILL)

    def standing(self) -> list[str]:
        """Those on this run's network; other processes' are of instance 0."""
        filters = ("--filter", f"network={self._network.name}", "--filter", f"label={INSTANCE_LABEL}={self._instance}")
        return docker("ps", "--all", *filters, "--no-trunc", "--format", "{{.ID}}").split()


def _manifest(images: Mapping[str, str]) -> str:
    families: dict[str, list[dict[str, Any]]] = {}
    for kind, image in images.items():
        prefix, _, rest = image.partition("/")
        name, _, tag = rest.partition(":")
        entry = {"kind": kind, "image": {"prefix": prefix, "name": name, "tag": tag}}
        families.setdefault(kind.partition(":")[0], []).append(entry)
    return json.dumps({"runtimes": families})


class Ended(NamedTuple):
    """An invocation that was answered: its record (contract, section 7) and the log line's fields (section 16)."""

    record: dict[str, Any]
    facts: dict[str, Any]

    @property
    def status(self) -> int:
        return self.record["response"]["statusCode"]

    @property
    def result(self) -> dict[str, Any]:
        return self.record["response"]["result"]

    @property
    def container(self) -> str:
        """Its container's id."""
        return self.facts["cid"]

    @property
    def kind(self) -> str:
        """cold, prewarm or warm."""
        return self.facts["containerType"]

    @property
    def texts(self) -> list[str]:
        """The log without its time stamps."""
        return [line[31:] for line in self.record["logs"]]


class Response:
    """One HTTP answer whose head has come; the body is read on demand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self._reader = reader
        self._writer = writer
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.fields = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines if line)}

    async def body(self) -> bytes:
        """The whole body; raises IncompleteReadError where it is cut short."""
        try:
            async with asyncio.timeout(LIMIT_S):
                if "content-length" in self.fields:
                    return await self._reader.readexactly(int(self.fields["content-length"]))
                parts: list[bytes] = []
                while size := int(await self._reader.readuntil(b"\r\n"), 16):
                    parts.append((await self._reader.readexactly(size + 2))[:-2])
                await self._reader.readexactly(2)
                return b"".join(parts)
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Hang up."""
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def request(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Response:
    """Send a request on a connection of its own, and wait for the head of the answer."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = {"Host": "localhost", "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        try:
            return Response(reader, writer, await reader.readuntil(b"\r\n\r\n"))
        except BaseException:
            writer.transport.abort()
            raise


def message(
    name: str,
    content: Mapping[str, Any] | bytes | None = None,
    *,
    activation: str | None = None,
    blocking: bool = True,
    init_args: tuple[str, ...] = (),
    **changes: Any,
) -> bytes:
    """An activation message as a controller sends it. `content` as bytes goes as it is; `changes` are of the rest."""
    fields: dict[str, Any] = {
        "transid": ["e2e", time.time_ns() // 1_000_000],
        "activationId": activation or uuid.uuid4().hex,
        "action": {"path": NAMESPACE, "name": name, "version": "0.0.1"},
        "revision": None,
        "user": {"subject": NAMESPACE, "namespace": {"name": NAMESPACE}},
        "rootControllerIndex": {"asString": "0"},
        "blocking": blocking,
        "initArgs": init_args,
        "lockedArgs": {},
    } | changes
    if content is not None:
        fields["content"] = msgspec.Raw(content if isinstance(content, bytes) else json.dumps(content).encode())
    return msgspec.json.encode(fields)


class Node:
    """A serving invoker. Made by `serving`."""

    def __init__(self, dev: Dev, machine: Machine, log: Path) -> None:
        self.dev = dev
        self.machine = machine
        self._log = log

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.dev.listeners[0].server.port

    async def put(self, name: str, code: str, kind: str = PYTHON, *, path: str = NAMESPACE, **limits: int) -> str:
        """Keep an action; its revision. `limits`: timeout (ms), memory (MB), logs (KB), concurrency."""
        document: dict[str, Any] = {
            "namespace": path,
            "name": name,
            "version": "0.0.1",
            "exec": {"kind": kind, "code": code, "binary": False},
            "limits": {"timeout": 30_000, "memory": 128, "logs": 256} | limits,
            "annotations": [],
        }
        return (await self.dev.store.put_action(path, name, json.dumps(document).encode())).revision

    async def send(self, body: bytes, **headers: str) -> Response:
        """POST /invoke; returns once the head has come."""
        return await request(self.port, "POST", "/invoke", body, headers)

    async def call(self, name: str, content: Mapping[str, Any] | bytes | None = None, **how: Any) -> Ended:
        """A blocking invocation, from its message to its record; `how` as of `message`."""
        activation = how.pop("activation", None) or uuid.uuid4().hex
        response = await self.send(message(name, content, activation=activation, **how))
        body = await response.body()
        assert response.status == 200, body
        record = json.loads(body)["response"]
        return Ended(record, (await self.stored(activation)).facts)

    async def stored(self, activation: str) -> Ended:
        """The record and its facts out of the store, once they are there."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    found = await self.dev.store.record(NAMESPACE, activation)
                except RecordNotFound:
                    await asyncio.sleep(0.005)
                else:
                    return Ended(json.loads(found.record), json.loads(found.facts))

    def state(self, container: str) -> str:
        """What the pool says of a container, "gone" where it knows nothing of it."""
        for number, each in self.dev.driver._containers.items():  # pyright: ignore[reportPrivateUsage]
            if each.id == container:
                return self.dev.pool.containers[number].state.value
        return "gone"

    def containers(self, state: str) -> list[str]:
        """The ids of those that are in this state."""
        known = self.dev.driver._containers.items()  # pyright: ignore[reportPrivateUsage]
        return [each.id for number, each in known if self.dev.pool.containers[number].state.value == state]

    async def until_state(self, container: str, state: str) -> None:
        """Wait until the pool says `state` of it."""
        await eventually(lambda: self.state(container) == state, f"container {container} is {state}")

    async def until_dead(self, container: str) -> None:
        """Wait until the engine knows that its main process has ended."""
        containers = self.dev.driver._containers.values()  # pyright: ignore[reportPrivateUsage]
        found: Any = next(each for each in containers if each.id == container)
        await eventually(lambda: found.ended, f"container {container} has died")

    def log_lines(self, what: str) -> list[dict[str, Any]]:
        """The log's lines with this message; whole once the node has ended."""
        lines = (json.loads(line) for line in self._log.read_bytes().splitlines())
        return [line for line in lines if line["message"] == what]


async def eventually(true: Callable[[], object], what: str) -> None:
    """Wait, with a bound, until something is true that no event tells."""
    give_up_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < give_up_s, f"not within {LIMIT_S:g} s: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(
    machine: Machine,
    directory: Path,
    *,
    policies: PolicySet | None = None,
    runner: Mapping[str, Any] | None = None,
    engine: Callable[[Observe], ContainerEngine] | None = None,
    **settings: str,
) -> AsyncGenerator[Node]:
    """A node for the body of the `with`; it drains at the end, and nothing may be left of its containers.

    `settings` are variables of `invoker dev` by their names; `runner` changes RunnerSettings; `engine` is the
    machine's where None.
    """
    given = {
        "DATA_DIR": str(directory / "data"),
        "HTTP_PORT": "0",
        "USER_MEMORY": "4 GB",
        "RUNTIMES_MANIFEST": machine.manifest(),
    }
    dev_settings = config.load_dev(given | settings)
    facts = RunnerSettings(0, (policies.capacity_mb * MIB) if policies else dev_settings.user_memory_bytes, True)
    instead = Instead(engine or machine.engine, policies, msgspec.structs.replace(facts, **(runner or {})))
    claim = dev_file.claim(dev_settings.data_dir)
    log = directory / "log.jsonl"
    with log.open("w") as stream:
        logs = invoker_logging.setup("info", "json", stream)
        try:
            dev = Dev(dev_settings, claim, logs, instead)
            lifecycle = dev.build()
            started = asyncio.Event()
            life = asyncio.create_task(lifecycle.run(started.set))
            waiting = asyncio.create_task(started.wait())
            await asyncio.wait((life, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if life.done():
                life.result()
            try:
                yield Node(dev, machine, log)
            finally:
                if not life.done():
                    lifecycle.stop()
                assert await life == 0, log.read_text()
        finally:
            logs.close()
            claim.release()
    assert machine.standing() == []

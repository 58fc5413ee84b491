"""The invoker's body without a machine: driver and runner on a fake engine, with stores that are dictionaries."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from invoker.driver import Driver, Lease, Request
from invoker.errors import ActionNotFound, PlatformFault
from invoker.io.clock import SystemClock
from invoker.io.containers.fake import Behaviour, FakeEngine, Gate, echo, open_gate
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.policy import PolicySet, Pool, invariants, policyset
from invoker.policy.types import ActivationId, PrewarmKey, WarmKey
from invoker.ports import Clock
from invoker.protocol.document import ActionDocument, decode_action
from invoker.protocol.message import decode_message
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner, RunnerSettings
from tests.support.node import message

KIND = "python:3"
CAPACITY_MB = 256
MEMORY_MB = 128


class Lines:
    """Takes the place of the process's logs: keeps the fields of "invocation completed"."""

    def __init__(self) -> None:
        self.completed: list[dict[str, Any]] = []

    def invocation_completed(self, fields: dict[str, Any]) -> None:
        """As Logs."""
        self.completed.append(dict(fields))


class Store:
    """Actions by (path, name) and records by id. `broken` is what it fails with, where it is to fail."""

    def __init__(self) -> None:
        self.actions: dict[tuple[str, str], ActionDocument] = {}
        self.records: dict[str, tuple[dict[str, Any], dict[str, object]]] = {}
        self.broken: PlatformFault | None = None
        self.before_put: Callable[[], Awaitable[None]] | None = None

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        """As ActionStore."""
        if self.broken is not None:
            raise self.broken
        try:
            return self.actions[path, name]
        except KeyError:
            raise ActionNotFound(f"no action {path}/{name}") from None

    async def put(self, document_id: str, record: bytes, facts: dict[str, object]) -> None:
        """As RecordSink."""
        if self.before_put is not None:
            await self.before_put()
        if self.broken is not None:
            raise self.broken
        self.records[document_id] = (json.loads(record), dict(facts))


def document(name: str = "act", path: str = "guest", **changes: Any) -> ActionDocument:
    """An action; `changes` are limits, or annotations."""
    annotations = changes.pop("annotations", [])
    limits = {"timeout": 5_000, "memory": MEMORY_MB, "logs": 10} | changes
    fields: dict[str, Any] = {
        "namespace": path,
        "name": name,
        "exec": {"kind": KIND, "code": "x", "main": "start", "binary": False},
        "limits": limits,
        "annotations": annotations,
    }
    return decode_action(json.dumps(fields).encode())


class Body:
    """Made anew for each test; `close` at its end."""

    def __init__(
        self,
        behaviour: Behaviour = echo,
        gate: Gate = open_gate,
        policies: PolicySet | None = None,
        clock: Clock | None = None,
        resolve: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or SystemClock()
        self.pool = Pool(policies or policyset.default(CAPACITY_MB))
        self.engine = FakeEngine(behaviour, gate=gate)
        self.driver = Driver(self.pool, self.engine, self.clock, lambda kind: kind)
        self.store = Store()
        self.metrics = Metrics()
        self.lines = Lines()
        kinds = resolve or {KIND: KIND}
        given: dict[str, Any] = {"instance": 3, "user_memory_bytes": 1 << 30, "log_wait_s": 0.05} | settings
        self.runner = Runner(
            RunnerSettings(**given),
            self.driver,
            self.store,
            self.store,
            kinds.get,
            self.clock,
            self.metrics,
            cast("Logs", self.lines),
        )
        self.answers: list[bytes] = []

    async def __aenter__(self) -> Body:
        await self.engine.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.driver.abandon()
        await self.engine.close()
        assert list(invariants.check(self.pool)) == []

    async def run(self, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """One activation through the runner; its completion message."""
        await self.runner.run(decode_message(body, KeyRing()), "http", self.answers.append, headers or {})
        return json.loads(self.answers[-1])

    async def invoke(self, name: str = "act", content: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
        """A blocking activation; its record."""
        return (await self.run(message(name, content, **how)))["response"]

    async def acquire(self, activation: str, name: str = "act", concurrency: int = 1) -> Lease:
        """A container for an activation, from the driver."""
        key = WarmKey("guest", "guest", name, "0.0.1", "", "")
        stem = PrewarmKey(KIND, MEMORY_MB)
        return await self.driver.acquire(Request(ActivationId(activation), key, stem, concurrency, ("guest", name)))

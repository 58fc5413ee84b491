"""◇ What a body must offer. `io` implements these; the driver and the runner know nothing else of the world.

Where a latency is charged is part of a port's contract, for the simulator answers the same calls:
a start's latency lies between Start and ContainerStarted (the container answers on its port by then), never inside a
dispatch; a pause's and a thaw's between their action and its event; a removal's until the address is free again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from invoker.firewall.state import ContainerRule
from invoker.policy.outcome import Condition, Reply
from invoker.policy.types import ContainerId
from invoker.protocol.document import ActionDocument
from invoker.protocol.logs import CollectedLog


class ContainerSpec(msgspec.Struct, frozen=True):
    """What to start. `name_parts` is (namespace, action) or ("prewarm", kind); the engine makes the name from them."""

    number: ContainerId
    kind: str
    image: str
    memory_mb: int
    name_parts: tuple[str, str]


class Container(Protocol):
    """One container that answers on its port.

    Calls on one container may overlap (several runs at once; a removal beside a pause): the engine puts in order what
    the machine can't do at once. None of them is cancelled from outside once begun, except by `remove`.
    """

    @property
    def id(self) -> str:
        """The engine's own id: Docker's 64 hex digits, a process group's directory name."""
        ...

    @property
    def address(self) -> str:
        """Where it is reached: an IP address, or a socket's path. For the log line (`cip`)."""
        ...

    @property
    def start_timings(self) -> Mapping[str, float]:
        """Seconds of its start, for the log line: `run` (create and start), `poll` (until it answered)."""
        ...

    async def init(self, body: bytes, timeout_s: float) -> Reply:
        """POST /init. Never raises for what the container did: the Reply says it, `condition` after a failure."""
        ...

    async def run(self, body: bytes, timeout_s: float) -> Reply:
        """POST /run; as `init`. Several at once where the action's concurrency allows it, a connection each."""
        ...

    def arm_logs(self, limit_bytes: int) -> None:
        """An activation begins: bound its log. Called before /init, or before /run where there is no /init."""
        ...

    async def collect_logs(self, wait_s: float, error: str | None = None) -> CollectedLog:
        """The log since the last collection: complete once both sentinels were seen, or as it is after `wait_s` or at
        the end of the container's output. An incomplete one closes with a line that says so, with the invocation's
        `error` where it had one."""
        ...

    async def pause(self) -> None:
        """Freeze all processes. Raises ContainerFault."""
        ...

    async def unpause(self) -> None:
        """Thaw. Raises ContainerFault: fault `oom` or `exited` where the container is found dead, else `platform`."""
        ...

    async def remove(self) -> None:
        """Thaw where frozen, kill and remove; done once the address is free. Twice is once. Raises ContainerFault where
        it may still stand: then its address stays taken."""
        ...

    async def condition(self) -> Condition:
        """Running, out of memory (also a child killed while the main process lives), or exited."""
        ...


class ContainerEngine(Protocol):
    """Makes containers. `fake`, `process` and `docker` pass one conformance suite (tests/contract/engine)."""

    async def open(self) -> None:
        """Probe the machine and remove this invoker's own orphans of a former life. Raises PlatformFault."""
        ...

    async def start(self, spec: ContainerSpec, died: Callable[[bool], None]) -> Container:
        """Create, attach, start and wait until ready. `died(oom)` is called at most once, when the main process ends
        unasked after this returned. Raises StartFailed, nothing left behind unless it says `leaked`. When cancelled,
        what was begun is finished and removed beside, and `close` waits for it."""
        ...

    async def close(self) -> None:
        """Remove every container of this engine that still stands, and free what the engine holds. Twice is once."""
        ...

    def describe(self) -> dict[str, str]:
        """What was probed, for people: the engine's name, how it isolates, freezes and limits."""
        ...


class ActionStore(Protocol):
    """Where actions are kept."""

    async def get(self, path: str, name: str, revision: str | None) -> ActionDocument:
        """The document `path/name` at the revision (the newest where None), its code inlined. Raises ActionNotFound,
        or PlatformFault for every other reason."""
        ...


Via = Literal["http", "kafka"]


class RecordSink(Protocol):
    """Where activation records go."""

    async def put(self, document_id: str, record: bytes, facts: dict[str, object]) -> None:
        """Keep `record` (JSON, contract section 7) under `document_id` (`<namespace>/<activationId>`); returns once it
        is as safe as the sink promises. `facts` are the log line's fields (section 16): how it came about."""
        ...


class AckSink(Protocol):
    """Where acknowledgements of activations go that came over Kafka."""

    async def send(self, controller: str, completion: bytes) -> None:
        """Deliver `completion` (contract, section 6) to the controller with this topic suffix (section 5); returns
        once it is delivered. Retries while the broker is away. Raises PlatformFault when it never will be."""
        ...


class Clock(Protocol):
    """Time, so that tests and the simulator can have their own."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; for spans."""
        ...

    def time_ns(self) -> int:
        """Unix nanoseconds; for what people and other machines read."""
        ...


class TenantRules(Protocol):
    """Decides which namespaces' containers get firewall rules of their own (contract, section 17)."""

    def rules_for(self, namespace: str) -> Sequence[ContainerRule] | None:
        """The rules of a container that runs this namespace's code; None where it gets none. Called on the loop, once
        for each container: it must not wait. Whatever it raises, the container is not handed out."""
        ...


class TenantGuard(Protocol):
    """Told who a container is for, when that is known: at its first dispatch, before any code of theirs is in it."""

    async def admit(self, container: Container, namespace: str) -> None:
        """Returns once the rules that `namespace` gets hold for `container`. Its `start_timings` then have
        `firewall_setup`, where it has any. Raises ContainerFault: the container must not be used, but removed."""
        ...

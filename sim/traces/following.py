"""◇ Follows the steps of a decision log: what is known of each activation, from its arrival until it is settled.

Spans are taken where the ports charge them (`invoker.ports`), so that what is measured here can be drawn there:
`began_ns` is the instant at which the container told that it took the code, or of the dispatch into one that had it;
a run lasts from there until the activation left its container, which includes the collection of its log.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from invoker.policy.actions import AnyAction, Dispatch, Refuse
from invoker.policy.events import AnyEvent, ContainerInitialized, InvocationArrived, RunFinished
from invoker.policy.types import ActivationId, ContainerId
from sim.recorder import COLD, FAILED, OK, OUTCOMES, PREWARM, THAWED, WARM
from sim.traces.trace import TraceFunction

_KINDS = {"cold": COLD, "prewarm": PREWARM, "warm": WARM}
NOT_REACHED = -1


class Activation(msgspec.Struct, gc=False, eq=False):
    """One activation: its number in the order of arrival, its function's index, and how far it came.

    Instants are the log's own, NOT_REACHED where they were not; `kind` and `outcome` are codes of `sim.recorder`, 0
    until they are known. `initialized`: its container has the function's code.
    """

    name: ActivationId
    index: int
    function: int
    arrived_ns: int
    dispatched_ns: int = NOT_REACHED
    began_ns: int = NOT_REACHED
    ended_ns: int = NOT_REACHED
    kind: int = 0
    outcome: int = 0
    initialized: bool = False

    @property
    def run_ns(self) -> int:
        """How long it ran; NOT_REACHED where it did not, or is not known to have ended."""
        return self.ended_ns - self.began_ns if self.initialized and self.outcome else NOT_REACHED


class Functions:
    """The functions of logs: two are one where key, size and concurrency are the same.

    They are named `namespace/path/action@version`; of several with one name (revisions, sizes) the second is `~2`.
    """

    def __init__(self) -> None:
        self.known: list[TraceFunction] = []
        self._ids: dict[tuple[object, ...], int] = {}
        self._names: dict[str, int] = {}

    def index(self, event: InvocationArrived) -> int:
        """The function that the arrival is of."""
        key = (event.key, event.stem, event.concurrency)
        found = self._ids.get(key)
        if found is not None:
            return found
        self._ids[key] = index = len(self._ids)
        base = f"{event.key.namespace}/{event.key.path}/{event.key.name}@{event.key.version}"
        same = self._names[base] = self._names.get(base, 0) + 1
        self.known.append(
            TraceFunction(
                name=base if same == 1 else f"{base}~{same}",
                memory_mb=event.stem.memory_mb,
                kind=event.stem.kind,
                concurrency=event.concurrency,
            )
        )
        return index


class Follower:
    """Give it the steps in order. Subclasses are told of each arrival and of each end; what began before the log's
    beginning is left out."""

    def __init__(self, functions: Functions | None = None) -> None:
        self.functions = functions or Functions()
        self.arrivals = 0
        self.alive: dict[ActivationId, Activation] = {}
        self._initializing: dict[ContainerId, Activation] = {}

    def take(self, now_ns: int, event: AnyEvent, actions: Sequence[AnyAction]) -> None:
        """One step of the log."""
        match event:
            case InvocationArrived():
                one = Activation(event.activation, self.arrivals, self.functions.index(event), now_ns)
                self.arrivals += 1
                self.alive[event.activation] = one
                self.arrived(one)
            case ContainerInitialized():
                if (one := self._initializing.pop(event.container, None)) is not None:
                    one.began_ns = now_ns
                    one.initialized = True
                    self.initialized(one, event.init_ns)
            case RunFinished():
                self._finished(now_ns, event)
            case _:
                pass
        for action in actions:
            if isinstance(action, Dispatch):
                self._dispatched(now_ns, action)
            elif isinstance(action, Refuse) and (one := self.alive.pop(action.activation, None)) is not None:
                one.ended_ns = now_ns
                one.outcome = OUTCOMES.index(f"refused: {action.reason}")
                self.settled(one)

    def arrived(self, one: Activation) -> None:
        """It came."""

    def initialized(self, one: Activation, init_ns: int) -> None:
        """Its container took the code; `init_ns` is what the call of /init took."""

    def settled(self, one: Activation) -> None:
        """It ran, well or badly, or was refused."""

    def _dispatched(self, now_ns: int, action: Dispatch) -> None:
        one = self.alive.get(action.activation)
        if one is None:
            return
        one.dispatched_ns = now_ns
        one.kind = THAWED if action.resumed else _KINDS[action.kind]
        if action.kind == "warm":
            one.began_ns = now_ns
            one.initialized = True
        else:
            self._initializing[action.container] = one

    def _finished(self, now_ns: int, event: RunFinished) -> None:
        one = self.alive.pop(event.activation, None)
        if one is None or one.dispatched_ns == NOT_REACHED:
            return
        if not one.initialized:
            self._initializing.pop(event.container, None)
            one.began_ns = now_ns
        one.ended_ns = now_ns
        one.outcome = OK if event.reusable else FAILED
        self.settled(one)

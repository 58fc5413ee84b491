"""◇ The life of one container, as a table of transitions.

`TRANSITIONS` is the whole truth about which event or decision is legal in which state: nothing else moves a container.
docs/container-life.svg is drawn from it (`make picture`), and a test fails when the two differ.

Rows that lead from a state to itself are of two kinds: an activation joins or leaves a container that others use,
and news that comes late. Real daemons reorder: a container being removed may still turn out paused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from invoker.policy.deadlines import Deadline
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey

if TYPE_CHECKING:
    from invoker.policy.function import Function


class PolicyError(Exception):
    """An event that can't be: the body that sent it is wrong. The state is as it was before the step."""


class State(Enum):
    """Where a container is in its life."""

    __hash__ = object.__hash__  # each step looks states up, and Enum's own hash is slow; nothing depends on its order

    STARTING = "starting"  # asked for, not there yet
    PREWARM = "prewarm"  # there, knows no code
    BUSY = "busy"  # at least one activation in it
    TAINTED = "tainted"  # an activation spoilt it; others still finish in it
    IDLE = "idle"  # knows its code, nothing in it
    PAUSING = "pausing"  # being frozen; an activation may already wait for it
    PAUSED = "paused"  # frozen
    UNPAUSING = "unpausing"  # being thawed for an activation
    REMOVING = "removing"  # its removal was decided
    QUARANTINED = "quarantined"  # its removal failed: what it holds stays taken
    GONE = "gone"


Input: TypeAlias = Literal[
    "started", "assigned", "start failed", "start leaked", "dispatch", "join", "finished", "emptied", "tainted",
    "pause", "claim", "paused", "pause failed", "unpause", "unpaused", "unpause failed",
    "died", "remove", "removed", "remove failed",
]  # fmt: skip

_LATE_ROWS: tuple[Input, ...] = ("paused", "pause failed", "unpaused", "unpause failed", "died")

TRANSITIONS: dict[State, dict[Input, State]] = {
    State.STARTING: {
        "started": State.PREWARM,
        "assigned": State.BUSY,
        "start failed": State.GONE,
        "start leaked": State.QUARANTINED,
        "claim": State.STARTING,
        "died": State.STARTING,  # the start will fail by itself
    },
    State.PREWARM: {"dispatch": State.BUSY, "died": State.REMOVING, "remove": State.REMOVING},
    State.BUSY: {
        "join": State.BUSY,
        "claim": State.BUSY,
        "finished": State.BUSY,
        "emptied": State.IDLE,
        "tainted": State.TAINTED,
        "remove": State.REMOVING,
        "died": State.BUSY,  # its runs will fail by themselves
    },
    State.TAINTED: {"finished": State.TAINTED, "remove": State.REMOVING, "died": State.TAINTED},
    State.IDLE: {
        "dispatch": State.BUSY,
        "pause": State.PAUSING,
        "died": State.REMOVING,
        "remove": State.REMOVING,
    },
    State.PAUSING: {
        "claim": State.PAUSING,
        "paused": State.PAUSED,
        "pause failed": State.REMOVING,
        "died": State.REMOVING,
        "remove": State.REMOVING,
    },
    State.PAUSED: {"unpause": State.UNPAUSING, "died": State.REMOVING, "remove": State.REMOVING},
    State.UNPAUSING: {
        "claim": State.UNPAUSING,
        "unpaused": State.BUSY,
        "unpause failed": State.REMOVING,
        "died": State.UNPAUSING,  # the thaw will tell
    },
    State.REMOVING: {
        "removed": State.GONE,
        "remove failed": State.QUARANTINED,
        **dict.fromkeys(_LATE_ROWS, State.REMOVING),
    },
    State.QUARANTINED: dict.fromkeys(_LATE_ROWS, State.QUARANTINED),
    State.GONE: dict.fromkeys(_LATE_ROWS, State.GONE),
}


@dataclass(slots=True, eq=False)
class Container:
    """What the heart knows of one container. Instants are 0 where there is none.

    `owner` is the activation that a STARTING container is meant for. `claims` wait until the container can take them
    (thawed, or initialised), in a dict for its order: iteration over sets is not the same on every run. `running`
    counts the activations inside (`Pool.placed` has them); `used_ns` is when the last of them was dispatched. `owed_mb`
    is in-flight memory that policy `reference` gives back once the container is gone. `older` and `newer` are its
    neighbours in the keep-alive policy's order, if that has one.
    """

    id: ContainerId
    stem: PrewarmKey
    memory_mb: int
    asked_ns: int
    state: State = State.STARTING
    function: Function | None = None
    owner: ActivationId | None = None
    concurrency: int = 1
    initialized: bool = False
    start_ns: int = 0
    used_ns: int = 0
    idle_since_ns: int = 0
    running: int = 0
    claims: dict[ActivationId, None] = field(default_factory=lambda: {})
    pause: Deadline = field(default_factory=Deadline)
    expiry: Deadline = field(default_factory=Deadline)
    owed_mb: int = 0
    older: Container | None = field(default=None, repr=False)
    newer: Container | None = field(default=None, repr=False)

    @property
    def room(self) -> int:
        """How many more activations it may take."""
        return self.concurrency - self.running - len(self.claims) - (self.owner is not None)

    def move(self, by: Input) -> None:
        """Follow the table. Raises PolicyError where it has no such row, changing nothing."""
        target = TRANSITIONS[self.state].get(by)
        if target is None:
            raise PolicyError(f"container {self.id} is {self.state.value}: '{by}' can't happen to it")
        self.state = target

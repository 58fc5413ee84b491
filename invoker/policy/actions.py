"""◇ What the heart asks of the world. `step` returns these in the order in which they are to be begun.

`invoker.policy.events` says which event answers which action.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from invoker.policy.events import Fault, TimerName
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey

StartKind = Literal["cold", "prewarm", "warm"]
RemoveReason = Literal["evicted", "expired", "tainted", "died", "surplus", "pause failed", "unpause failed", "drain"]
RefuseReason = Literal["start failed", "container lost", "queue full", "waited too long", "too large", "draining"]


class Action(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True, omit_defaults=True):
    """Base of all actions; never made itself."""


class Start(Action, frozen=True):
    """Make a container. `activation` is the one it is meant for (its name may tell), None for stock."""

    container: ContainerId
    stem: PrewarmKey
    activation: ActivationId | None = None


class Dispatch(Action, frozen=True):
    """Run the activation in the container, initialising it first where `kind` is not warm.

    `resumed` tells that the container was thawed for it.
    """

    activation: ActivationId
    container: ContainerId
    kind: StartKind
    resumed: bool = False


class Pause(Action, frozen=True):
    """Freeze the container."""

    container: ContainerId


class Unpause(Action, frozen=True):
    """Thaw the container."""

    container: ContainerId


class Remove(Action, frozen=True):
    """Remove the container, whatever state it is in."""

    container: ContainerId
    reason: RemoveReason


class Enqueue(Action, frozen=True):
    """The activation waits inside the pool; a later Dispatch or Refuse ends its wait."""

    activation: ActivationId


class Refuse(Action, frozen=True):
    """The activation will not run. `fault` tells whose doing a lost container was."""

    activation: ActivationId
    reason: RefuseReason
    fault: Fault = "platform"


class ArmTimer(Action, frozen=True):
    """Send TimerFired(timer) at the instant `at_ns`; replaces the timer's earlier instant."""

    timer: TimerName
    at_ns: int


class CancelTimer(Action, frozen=True):
    """Send no TimerFired(timer)."""

    timer: TimerName


class HoldIntake(Action, frozen=True):
    """Read nothing more from the queue before the node: enough waits inside."""


class ResumeIntake(Action, frozen=True):
    """Read again."""


class Drained(Action, frozen=True):
    """Nothing runs, waits or stands any more; what could not be removed is quarantined."""


AnyAction: TypeAlias = (
    Start
    | Dispatch
    | Pause
    | Unpause
    | Remove
    | Enqueue
    | Refuse
    | ArmTimer
    | CancelTimer
    | HoldIntake
    | ResumeIntake
    | Drained
)

"""◇ What the world tells the heart. The decision log is these structs, encoded.

Every action that asks the world for something is answered by exactly one event, named beside it:
Start -> ContainerStarted | ContainerStartFailed; Dispatch -> RunFinished (after ContainerInitialized where it had to
initialise); Pause -> Paused | PauseFailed; Unpause -> Unpaused | UnpauseFailed; Remove -> Removed | RemoveFailed;
ArmTimer -> TimerFired (or nothing, when cancelled or armed anew).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey

Fault = Literal["platform", "oom", "exited"]
"""Whose fault it is that a container was lost: ours, or the function's (out of memory, or it ended itself)."""

TimerName = Literal["pause", "expire", "stock", "queue"]
"""A pool has one timer of each name; arming it again moves it."""


class Event(msgspec.Struct, frozen=True, gc=False, tag=True, array_like=True, omit_defaults=True):
    """Base of all events; never made itself."""


class InvocationArrived(Event, frozen=True):
    """An activation wants a container. `concurrency` is the action's limit of activations at once in one container.

    `budget_ns`: how long from now it should have ended; 0: it doesn't say.
    """

    activation: ActivationId
    key: WarmKey
    stem: PrewarmKey
    concurrency: int = 1
    budget_ns: int = 0


class ContainerStarted(Event, frozen=True):
    """The container answers on its port. Its start latency is charged between Start and this event."""

    container: ContainerId


class ContainerStartFailed(Event, frozen=True):
    """No container came of a Start. `leaked`: something of it could not be removed, so its memory stays charged."""

    container: ContainerId
    leaked: bool = False


class ContainerInitialized(Event, frozen=True):
    """The container took the action's code in `init_ns`; from here others of its key may join it."""

    container: ContainerId
    init_ns: int


class RunFinished(Event, frozen=True):
    """An activation left its container. `reusable` is the outcome's verdict (`invoker.policy.outcome`)."""

    container: ContainerId
    activation: ActivationId
    reusable: bool


class Paused(Event, frozen=True):
    """The container's processes are frozen."""

    container: ContainerId


class PauseFailed(Event, frozen=True):
    """The container could not be frozen: its state is unknown."""

    container: ContainerId


class Unpaused(Event, frozen=True):
    """The container's processes run again."""

    container: ContainerId


class UnpauseFailed(Event, frozen=True):
    """The container could not be thawed, or was found dead; `fault` says whose doing."""

    container: ContainerId
    fault: Fault


class Removed(Event, frozen=True):
    """The container is really gone, its address free again."""

    container: ContainerId


class RemoveFailed(Event, frozen=True):
    """The container may still be there: it stays charged and its address stays taken."""

    container: ContainerId


class ContainerDied(Event, frozen=True):
    """The container's main process ended unasked."""

    container: ContainerId
    oom: bool = False


class TimerFired(Event, frozen=True):
    """The instant of ArmTimer has come."""

    timer: TimerName


class StockChanged(Event, frozen=True):
    """The wanted prewarmed containers, all of them: the runtimes manifest was read (anew)."""

    stock: tuple[StemCells, ...]


class StemCells(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """How many prewarmed containers of one kind and size to keep (contract, section 11).

    `reactive` is upstream's extension; policies that keep a fixed stock ignore it.
    """

    stem: PrewarmKey
    count: int
    reactive: Reactive | None = None


class Reactive(msgspec.Struct, frozen=True, array_like=True):
    """Grow the stock by `increment` for each `threshold` cold starts of a period, within min and max."""

    min_count: int
    max_count: int
    ttl_ns: int
    threshold: int
    increment: int


class DrainRequested(Event, frozen=True):
    """Take nothing new, finish what was taken, remove everything; answered by the action Drained."""


AnyEvent: TypeAlias = (
    InvocationArrived
    | ContainerStarted
    | ContainerStartFailed
    | ContainerInitialized
    | RunFinished
    | Paused
    | PauseFailed
    | Unpaused
    | UnpauseFailed
    | Removed
    | RemoveFailed
    | ContainerDied
    | TimerFired
    | StockChanged
    | DrainRequested
)

"""◇ The pool's decisions in human words: what happened, and what was decided of it, a line each.

Fed with the entries of a decision log in their order. It keeps what a listener would keep in mind: which container
holds which action, and since when.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId, ContainerId

_REMOVED_WHY: dict[act.RemoveReason, str] = {
    "evicted": "is evicted to make room",
    "expired": "is removed: unused for too long",
    "tainted": "is removed: its state is unknown",
    "died": "is cleared away",
    "surplus": "is removed: more stock than wanted",
    "pause failed": "is removed",
    "unpause failed": "is removed",
    "drain": "is removed",
}
_REFUSED_WHY: dict[act.RefuseReason, str] = {
    "start failed": "no container could be started for it",
    "container lost": "its container was lost",
    "queue full": "too many wait already",
    "waited too long": "it waited for as long as it may",
    "too large": "it asks for more memory than the node has",
    "draining": "the invoker stops",
}


class _Seen(msgspec.Struct):
    """A container as far as a listener knows it."""

    memory_mb: int
    since_ns: int
    label: str = ""
    doing: str = "starting"


class Told(NamedTuple):
    """An event in words, "" where it is no news, and what was decided of it."""

    event: str
    decided: list[str]

    @property
    def clauses(self) -> list[str]:
        """All of it, in order."""
        return [self.event, *self.decided] if self.event else self.decided


class Narrator:
    """Tells one pool's life. Holds the containers that stand and the activations under way, nothing more."""

    def __init__(self) -> None:
        self._containers: dict[ContainerId, _Seen] = {}
        self._activations: dict[ActivationId, str] = {}

    def tell(self, now_ns: int, event: ev.AnyEvent, actions: Iterable[act.AnyAction]) -> Told:
        """The event, and what was decided of it: a clause each, those without news left out."""
        happened = self._event(now_ns, event)
        decided = [clause for action in actions if (clause := self._action(now_ns, action))]
        if isinstance(event, ev.RunFinished):
            self._activations.pop(event.activation, None)
        if isinstance(event, ev.Removed | ev.ContainerStartFailed):
            self._containers.pop(event.container, None)
        return Told(happened, decided)

    def _event(self, now_ns: int, event: ev.AnyEvent) -> str:
        match event:
            case ev.InvocationArrived():
                name = f"{event.key.path}/{event.key.name}"
                self._activations[event.activation] = name
                return f"{name} is asked for"
            case ev.ContainerStarted():
                return f"{self._name(event.container)} is ready after {self._lasted(event.container, now_ns, 'ready')}"
            case ev.ContainerStartFailed():
                return f"{self._name(event.container)} could not be started"
            case ev.RunFinished():
                spent = self._lasted(event.container, now_ns, "idle")
                return f"{self._name(event.container)} is done with {self._short(event.activation)} after {spent}"
            case ev.Paused():
                return (
                    f"{self._name(event.container)} is frozen after {self._lasted(event.container, now_ns, 'paused')}"
                )
            case ev.Unpaused():
                return f"{self._name(event.container)} is thawed after {self._lasted(event.container, now_ns, 'idle')}"
            case ev.Removed():
                seen = self._containers.get(event.container)
                return f"{self._name(event.container)} is gone, {seen.memory_mb if seen else 0} MB are free again"
            case _:
                return self._rare(event)

    def _rare(self, event: ev.AnyEvent) -> str:
        match event:
            case ev.PauseFailed():
                return f"{self._name(event.container)} could not be frozen"
            case ev.UnpauseFailed():
                return f"{self._name(event.container)} could not be thawed"
            case ev.RemoveFailed():
                return f"{self._name(event.container)} could not be removed: its memory stays taken"
            case ev.ContainerDied():
                return f"{self._name(event.container)} {'ran out of memory' if event.oom else 'ended by itself'}"
            case ev.StockChanged():
                stock = [f"{cells.count} of {cells.stem.kind} with {cells.stem.memory_mb} MB" for cells in event.stock]
                return f"wanted stock: {', '.join(stock)}" if stock else ""
            case ev.DrainRequested():
                return "the invoker is asked to stop"
            case _:
                return ""

    def _action(self, now_ns: int, action: act.AnyAction) -> str:
        match action:
            case act.Start():
                label = self._activations.get(action.activation, "") if action.activation is not None else ""
                self._containers[action.container] = _Seen(action.stem.memory_mb, now_ns, label)
                why = "for it" if label else "for the stock"
                return f"container {action.container} is started {why} ({action.stem.kind}, {action.stem.memory_mb} MB)"
            case act.Dispatch():
                return self._dispatch(now_ns, action)
            case act.Pause():
                return f"{self._name(action.container)} was {self._spent(action.container, now_ns, 'pausing')}: paused"
            case act.Unpause():
                was = self._spent(action.container, now_ns, "thawing")
                return f"{self._name(action.container)} was {was}: thawed for it"
            case act.Remove():
                was = self._spent(action.container, now_ns, "going")
                told = f", {was}," if action.reason in ("evicted", "expired", "surplus") else ""
                return f"{self._name(action.container)}{told} {_REMOVED_WHY[action.reason]}"
            case act.Enqueue():
                return f"{self._short(action.activation)} waits for room"
            case act.Refuse():
                return f"{self._activations.pop(action.activation, 'it')} is refused: {_REFUSED_WHY[action.reason]}"
            case act.Drained():
                return "nothing is left"
            case _:
                return ""

    def _dispatch(self, now_ns: int, action: act.Dispatch) -> str:
        seen = self._containers.get(action.container)
        if seen is None:
            return ""
        was = seen.doing
        seen.label = self._activations.get(action.activation, seen.label)
        seen.doing, seen.since_ns = "running", now_ns
        how = {"cold": "cold, with its code first", "prewarm": "prewarmed, with its code first", "warm": "warm"}[
            action.kind
        ]
        if action.resumed:
            how = "out of the pause"
        elif action.kind == "warm" and was == "running":
            how = "beside another"
        return f"{self._name(action.container)} runs it, {how}"

    def _name(self, container: ContainerId) -> str:
        seen = self._containers.get(container)
        return (
            f"container {container} ({seen.label.rpartition('/')[2]})"
            if seen and seen.label
            else f"container {container}"
        )

    def _short(self, activation: ActivationId) -> str:
        return self._activations.get(activation, activation[:8])

    def _lasted(self, container: ContainerId, now_ns: int, then: str) -> str:
        """How long the container was in its last state; it is in `then` from now on."""
        seen = self._containers.get(container)
        if seen is None:
            return "an unknown time"
        lasted = span(now_ns - seen.since_ns)
        seen.doing, seen.since_ns = then, now_ns
        return lasted

    def _spent(self, container: ContainerId, now_ns: int, then: str) -> str:
        """As `_lasted`, with the name of the state."""
        seen = self._containers.get(container)
        return f"{seen.doing} {self._lasted(container, now_ns, then)}" if seen else "there"


def span(span_ns: int) -> str:
    """A span as a person says it: `40 µs`, `1.5 ms`, `150 ms`, `2.4 s`, `15 min`."""
    if span_ns < 1_000_000:
        return f"{span_ns // 1000} µs"
    if span_ns < 10_000_000:
        return f"{span_ns / 1e6:.1f} ms"
    if span_ns < 1_000_000_000:
        return f"{span_ns / 1e6:.0f} ms"
    if span_ns < 120_000_000_000:
        return f"{span_ns / 1e9:.1f} s"
    return f"{span_ns / 60e9:.0f} min"

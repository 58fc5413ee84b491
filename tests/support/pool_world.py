"""A world for the heart: it answers each action with one of the events that may follow, faults included.

Both the state machine (hypothesis chooses) and the long walk (a seeded generator chooses) drive this class; it holds
what the real driver holds, checks every invariant after every step, and keeps the steps so that a failure prints its
replay.
"""

from __future__ import annotations

import msgspec

from invoker.policy import PolicySet, Pool, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.invariants import check
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey


class Broken(AssertionError):
    """The heart broke a promise; the text holds the replay."""


Pending = act.Start | act.Dispatch | act.Pause | act.Unpause | act.Remove


class World:
    """Feeds a pool. `pending` are the actions that still owe an event; `alive` the activations not settled."""

    def __init__(self, policies: PolicySet, functions: int = 6) -> None:
        self.pool = Pool(policies)
        self.now_ns = 0
        self.pending: list[Pending] = []
        self.timers: dict[ev.TimerName, int] = {}
        self.alive: dict[ActivationId, None] = {}
        self.uninitialised: dict[ContainerId, None] = {}
        self.arrived = 0
        self.draining = False
        self.drained = False
        self.settled = 0
        self.seen: dict[str, int] = {}
        self.steps: list[tuple[int, ev.AnyEvent, list[act.AnyAction]]] = []
        sizes = (128, 256, 512)
        self.functions = [
            (
                WarmKey("ns", "path", f"f{i}", "1", "r", ""),
                PrewarmKey(f"k{i % 2}", sizes[i % 3]),
                3 if i % 3 == 0 else 1,
            )
            for i in range(functions)
        ]

    def feed(self, event: ev.AnyEvent) -> None:
        """One step, checked."""
        try:
            made = step(self.pool, self.now_ns, event)
        except Exception as error:
            self.steps.append((self.now_ns, event, []))
            raise self.broken(f"{type(error).__name__}: {error}") from error
        self.steps.append((self.now_ns, event, made))
        self.seen[type(event).__name__] = self.seen.get(type(event).__name__, 0) + 1
        for action in made:
            self._take(action)
        if wrong := check(self.pool):
            raise self.broken("; ".join(wrong))

    def broken(self, what: str) -> Broken:
        """The failure, with everything needed to see it again: feed these lines to a pool."""
        header = msgspec.json.encode(self.pool.policies).decode()
        lines = "\n".join(msgspec.json.encode(entry).decode() for entry in self.steps[-400:])
        return Broken(
            f"{what}\npool: {self.pool!r}\npolicies: {header}\nsteps (last 400 of {len(self.steps)}):\n{lines}"
        )

    def _take(self, action: act.AnyAction) -> None:
        name = type(action).__name__
        self.seen[name] = self.seen.get(name, 0) + 1
        if isinstance(action, act.ArmTimer):
            self.timers[action.timer] = action.at_ns
        elif isinstance(action, act.CancelTimer):
            del self.timers[action.timer]
        elif isinstance(action, act.Refuse):
            if action.activation not in self.alive:
                raise self.broken(f"activation {action.activation} is refused, but it was settled or never there")
            del self.alive[action.activation]
            self.settled += 1
        elif isinstance(action, act.Drained):
            if self.alive or self.drained:
                raise self.broken("drained, with activations alive or for the second time")
            self.drained = True
        elif isinstance(action, act.Start) and self.draining and action.activation is None:
            raise self.broken("stock is started while draining")
        elif isinstance(action, act.Start | act.Dispatch | act.Pause | act.Unpause | act.Remove):
            if self.drained:
                raise self.broken(f"{action} after the drain")
            self.pending.append(action)
            if isinstance(action, act.Dispatch) and action.kind != "warm":
                self.uninitialised[action.container] = None

    # --- what may happen ----------------------------------------------------------------------------------------

    def arrive(self, which: int) -> None:
        """A new activation of one of the functions."""
        self.arrived += 1
        activation = ActivationId(f"{self.arrived:032x}")
        self.alive[activation] = None
        self.feed(ev.InvocationArrived(activation, *self.functions[which % len(self.functions)]))

    def fire_due(self) -> bool:
        """Fire a timer whose instant has come."""
        for timer, at_ns in self.timers.items():
            if at_ns <= self.now_ns:
                del self.timers[timer]
                self.feed(ev.TimerFired(timer))
                return True
        return False

    def answer(self, index: int, fault: int) -> None:
        """Answer a pending action; `fault` 0 is the good answer, others the bad ones that there are."""
        action = self.pending.pop(index % len(self.pending))
        number = action.container
        if isinstance(action, act.Start):
            bad: list[ev.AnyEvent] = [ev.ContainerStartFailed(number), ev.ContainerStartFailed(number, leaked=True)]
            self.feed(ev.ContainerStarted(number) if fault == 0 else bad[fault == 9])
        elif isinstance(action, act.Dispatch):
            self._answer_dispatch(action, fault)
        elif isinstance(action, act.Pause):
            self.feed(ev.Paused(number) if fault == 0 else ev.PauseFailed(number))
        elif isinstance(action, act.Unpause):
            faults: tuple[ev.Fault, ...] = ("platform", "oom", "exited")
            self.feed(ev.Unpaused(number) if fault == 0 else ev.UnpauseFailed(number, faults[fault % 3]))
        else:
            self.feed(ev.RemoveFailed(number) if fault == 9 else ev.Removed(number))

    def _answer_dispatch(self, action: act.Dispatch, fault: int) -> None:
        """A run ends; the first in a new container initialises it before, and stays inside for a while."""
        if action.container in self.uninitialised:
            del self.uninitialised[action.container]
            if fault % 3 != 1:
                self.feed(ev.ContainerInitialized(action.container, init_ns=1_000_000 * (1 + fault)))
                self.pending.append(action)
                return
            fault = 1
        del self.alive[action.activation]
        self.settled += 1
        self.feed(ev.RunFinished(action.container, action.activation, reusable=fault == 0))

    def die(self, number: int, oom: bool) -> None:
        """News that a container ended by itself; it may come for any that ever was."""
        if self.pool.last_id:
            self.feed(ev.ContainerDied(ContainerId(1 + number % self.pool.last_id), oom))

    def restock(self, first: int, second: int, reactive: bool) -> None:
        """The manifest is read anew."""
        rule = ev.Reactive(min_count=0, max_count=3, ttl_ns=0, threshold=1, increment=1) if reactive else None
        cells = (ev.StemCells(PrewarmKey("k0", 128), first, rule), ev.StemCells(PrewarmKey("k1", 256), second, rule))
        self.feed(ev.StockChanged(cells))

    def drain(self) -> None:
        """SIGTERM."""
        if not self.draining:
            self.draining = True
            self.feed(ev.DrainRequested())

    def settle(self) -> None:
        """Everything goes well from here on: all that is alive must end, and the drain must come to its end."""
        self.drain()
        for _ in range(20_000):
            if self.drained:
                break
            if self.pending:
                self.answer(0, 0)
            elif self.timers:
                self.now_ns = max(self.now_ns, min(self.timers.values()))
                self.fire_due()
            else:
                break
        if self.alive or not self.drained:
            raise self.broken(f"{len(self.alive)} activations never ended, drained: {self.drained}")

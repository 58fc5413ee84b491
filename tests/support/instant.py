"""A world where whatever the heart asks for is done at once: what is left is what the policies decide."""

from __future__ import annotations

from invoker.policy import PolicySet, Pool, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId, PrewarmKey, WarmKey

STEM = PrewarmKey("k", 256)


def key(function: int) -> WarmKey:
    """The warm key of a function by number."""
    return WarmKey("ns", "path", f"f{function}", "1", "r", "")


class Instant:
    """One pool. `kinds` counts dispatches by their kind; `memory_mb_ns` is memory taken, summed over time."""

    def __init__(self, policies: PolicySet) -> None:
        self.pool = Pool(policies)
        self.kinds: dict[act.StartKind, int] = {"cold": 0, "prewarm": 0, "warm": 0}
        self.memory_mb_ns = 0
        self._arrived = 0

    def arrive(self, at_ns: int, function: int) -> None:
        """An activation that takes no time; before it, all timers that are due."""
        self._pass(at_ns)
        self._arrived += 1
        self._feed(at_ns, ev.InvocationArrived(ActivationId(f"a{self._arrived}"), key(function), STEM))
        self._pass(at_ns)

    def _pass(self, until_ns: int) -> None:
        pool = self.pool
        while pool.armed and min(pool.armed.values()) <= until_ns:
            timer, at_ns = min(pool.armed.items(), key=lambda entry: entry[1])
            self._feed(at_ns, ev.TimerFired(timer))

    def _feed(self, at_ns: int, event: ev.AnyEvent) -> None:
        self.memory_mb_ns += self.pool.charged_mb * (at_ns - self.pool.now_ns)
        pending = [event]
        while pending:
            for action in step(self.pool, at_ns, pending.pop(0)):
                if isinstance(action, act.Dispatch):
                    self.kinds[action.kind] += 1
                pending += _answers(action)


def _answers(action: act.AnyAction) -> list[ev.AnyEvent]:
    match action:
        case act.Start(container=container):
            return [ev.ContainerStarted(container)]
        case act.Dispatch(activation=activation, container=container, kind=kind):
            done = ev.RunFinished(container, activation, reusable=True)
            return [done] if kind == "warm" else [ev.ContainerInitialized(container, 1_000_000), done]
        case act.Pause(container=container):
            return [ev.Paused(container)]
        case act.Unpause(container=container):
            return [ev.Unpaused(container)]
        case act.Remove(container=container):
            return [ev.Removed(container)]
        case _:
            return []

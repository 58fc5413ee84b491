"""The narrator: what a listener hears of a pool's life, from a real pool's own steps."""

from __future__ import annotations

from invoker.narration import Narrator, span
from invoker.policy import Pool, step
from invoker.policy import events as ev
from invoker.policy.policyset import default
from invoker.policy.types import MILLISECOND_NS, ActivationId, ContainerId, PrewarmKey, WarmKey

STEM = PrewarmKey("python:3", 128)


class Life:
    """A pool of 128 MB, its story written down."""

    def __init__(self) -> None:
        self._pool = Pool(default(128))
        self._narrator = Narrator()
        self.told: list[str] = []

    def at(self, ms: int, event: ev.AnyEvent) -> None:
        now_ns = ms * MILLISECOND_NS
        self.told += self._narrator.tell(now_ns, event, step(self._pool, now_ns, event)).clauses

    def arrive(self, ms: int, name: str, activation: str) -> None:
        key = WarmKey("guest", "guest", name, "0.0.1", "1-a", "")
        self.at(ms, ev.InvocationArrived(ActivationId(activation), key, STEM))


ONE, TWO = ContainerId(1), ContainerId(2)


def test_a_life_is_told() -> None:
    life = Life()
    life.arrive(0, "hello", "a")
    life.at(40, ev.ContainerStarted(ONE))
    life.at(42, ev.ContainerInitialized(ONE, 1))
    life.at(45, ev.RunFinished(ONE, ActivationId("a"), reusable=True))
    life.at(195, ev.TimerFired("pause"))
    life.at(196, ev.Paused(ONE))
    life.arrive(1196, "hello", "b")
    life.at(1197, ev.Unpaused(ONE))
    life.at(1199, ev.RunFinished(ONE, ActivationId("b"), reusable=True))
    life.arrive(1200, "other", "c")
    life.at(1300, ev.Removed(ONE))
    life.at(1310, ev.ContainerStarted(TWO))
    life.at(1320, ev.RunFinished(TWO, ActivationId("c"), reusable=False))
    life.at(1330, ev.Removed(TWO))
    life.at(1340, ev.DrainRequested())
    assert life.told == [
        "guest/hello is asked for",
        "container 1 is started for it (python:3, 128 MB)",
        "container 1 (hello) is ready after 40 ms",
        "container 1 (hello) runs it, cold, with its code first",
        "container 1 (hello) is done with guest/hello after 5.0 ms",
        "container 1 (hello) was idle 150 ms: paused",
        "container 1 (hello) is frozen after 1.0 ms",
        "guest/hello is asked for",
        "container 1 (hello) was paused 1.0 s: thawed for it",
        "container 1 (hello) is thawed after 1.0 ms",
        "container 1 (hello) runs it, out of the pause",
        "container 1 (hello) is done with guest/hello after 2.0 ms",
        "guest/other is asked for",
        "guest/other waits for room",
        "container 1 (hello), idle 1.0 ms, is evicted to make room",
        "container 1 (hello) is gone, 128 MB are free again",
        "container 2 is started for it (python:3, 128 MB)",
        "container 2 (other) is ready after 10 ms",
        "container 2 (other) runs it, cold, with its code first",
        "container 2 (other) is done with guest/other after 10 ms",
        "container 2 (other) is removed: its state is unknown",
        "container 2 (other) is gone, 128 MB are free again",
        "the invoker is asked to stop",
        "nothing is left",
    ]


def test_spans_are_said_as_people_do() -> None:
    told = [span(ns) for ns in (0, 41_000, 1_500_000, 150_000_000, 2_440_000_000, 900_000_000_000)]
    assert told == ["0 µs", "41 µs", "1.5 ms", "150 ms", "2.4 s", "15 min"]

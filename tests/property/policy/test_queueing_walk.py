"""Long walks with each queueing discipline and limits to waiting: each invariant after each step, and all ends well."""

from __future__ import annotations

import random

import pytest

from invoker.policy import PolicySet
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.policyset import AnyQueueing
from invoker.policy.queueing import EarliestDeadline, FairShare, FirstCome, ShortestJob
from invoker.policy.types import MILLISECOND_NS, SECOND_NS, ActivationId
from tests.support.pool_world import Broken, World

STEPS = 3_000
DISCIPLINES: list[AnyQueueing] = [
    *[FirstCome(), ShortestJob(), ShortestJob(ageing_percent=0), EarliestDeadline()],
    *[FairShare(), FairShare(by="namespace")],
]
SOMETIMES = (
    "Enqueue",
    "Refuse",
    "HoldIntake",
    "ResumeIntake",
    "ContainerStartFailed",
    "RemoveFailed",
    "waited too long",
)


class BudgetedWorld(World):
    """A world whose activations have budgets, and which notes until when each may wait."""

    arrived: int

    def __init__(self, policies: PolicySet, draw: random.Random) -> None:
        super().__init__(policies)
        self._draw = draw
        self._due_ns: dict[ActivationId, int] = {}

    def arrive(self, which: int) -> None:
        """A new activation of one of the functions."""
        self.arrived += 1
        activation = ActivationId(f"{self.arrived:032x}")
        self.alive[activation] = None
        budget_ns = self._draw.choice([0, 50 * MILLISECOND_NS, 60 * SECOND_NS])
        limit_ns = self.pool.policies.wait_limit_ns
        if limit_ns:
            self._due_ns[activation] = self.now_ns + min(limit_ns, budget_ns or limit_ns)
        self.feed(ev.InvocationArrived(activation, *self.functions[which % len(self.functions)], budget_ns))

    def _take(self, action: act.AnyAction) -> None:
        super()._take(action)
        if isinstance(action, act.Refuse) and action.reason == "waited too long":
            self.seen["waited too long"] = self.seen.get("waited too long", 0) + 1
            if self.now_ns < self._due_ns[action.activation]:
                raise self.broken(f"activation {action.activation} is given up before its time")


def _policies(draw: random.Random, queueing: AnyQueueing) -> PolicySet:
    return PolicySet(
        "charged",
        draw.choice([512, 1024]),
        queue_limit=draw.choice([8, 50]),
        intake_limit=4,
        intake_low=draw.choice([None, 0, 3]),
        queueing=queueing,
        wait_limit_ns=draw.choice([100 * MILLISECOND_NS, SECOND_NS]),
        patience_ns=draw.choice([0, 100 * MILLISECOND_NS]),
        starts_max=draw.choice([1, 100]),
        brief_ns=draw.choice([0, 10 * MILLISECOND_NS]),
    )


def _walk(world: World, draw: random.Random, steps: int) -> None:
    while len(world.steps) < steps:
        world.now_ns += draw.choice([0, 100_000, 5 * MILLISECOND_NS, 40 * MILLISECOND_NS])
        fault = draw.randrange(1, 9) if draw.random() < 0.1 else 0
        if draw.random() < 0.002:
            fault = 9
        chance = draw.random()
        if world.fire_due():
            continue
        if world.pending and chance < 0.6:
            world.answer(draw.randrange(len(world.pending)), fault)
        elif chance < 0.97:
            world.arrive(draw.randrange(6))
        else:
            world.die(draw.randrange(1_000_000), oom=False)


@pytest.mark.parametrize("queueing", DISCIPLINES, ids=repr)
def test_every_invariant_holds_on_a_long_walk(queueing: AnyQueueing) -> None:
    draw = random.Random(11)
    kinds: dict[str, int] = {}
    for _ in range(4):
        world = BudgetedWorld(_policies(draw, queueing), draw)
        try:
            _walk(world, draw, STEPS)
            world.settle()
        except Broken as broken:
            raise AssertionError(f"{queueing}: {broken}") from broken
        assert world.settled == world.arrived
        for name, count in world.seen.items():
            kinds[name] = kinds.get(name, 0) + count
    unseen = [name for name in SOMETIMES if not kinds.get(name)]
    assert not unseen, f"{queueing} never saw {unseen}"


def test_the_same_budgets_are_the_order_of_arrival() -> None:
    """Where every deadline is as far away, the earliest is the first: two disciplines, one run."""
    runs: list[list[object]] = []
    for queueing in (FirstCome(), EarliestDeadline()):
        draw = random.Random(3)
        world = World(PolicySet("charged", 512, queueing=queueing, patience_ns=0, starts_max=1, brief_ns=0))
        _walk(world, draw, STEPS)
        runs.append([made for _, _, made in world.steps])
        assert world.seen.get("Enqueue")
    assert runs[0] == runs[1]

"""Long walks through the pool's states: over 200,000 steps, faults at every action, each invariant after each step."""

from __future__ import annotations

import random

import pytest

from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.policyset import AnyPausing, AnyPrewarm, PolicySet
from invoker.policy.prewarm import FixedStock, ReactiveStock
from invoker.policy.types import MILLISECOND_NS, SECOND_NS
from tests.support.keep_alives import KEEP_ALIVES
from tests.support.pool_world import Broken, World

WALKS = 16
STEPS_A_WALK = 13_500
FAULT_PERCENT = 12

SOMETIMES = ("Enqueue", "Refuse", "HoldIntake", "ResumeIntake", "RemoveFailed", "ContainerDied", "ContainerStartFailed")

PAUSINGS: list[AnyPausing] = [FixedGrace(10 * MILLISECOND_NS), AdaptiveGrace(), NeverPause()]
PREWARMS: list[AnyPrewarm] = [FixedStock(), ReactiveStock(SECOND_NS)]


def _policies(draw: random.Random, seed: int) -> PolicySet:
    return PolicySet(
        "charged" if seed % 2 else "reference",
        draw.choice([512, 1024, 4096]),
        keep_alive=draw.choice(KEEP_ALIVES),
        pausing=draw.choice(PAUSINGS),
        prewarm=draw.choice(PREWARMS),
        queue_limit=draw.choice([5, 50]),
        intake_limit=4,
        patience_ns=draw.choice([0, 100 * MILLISECOND_NS]),
        starts_max=draw.choice([1, 2, 100]),
        brief_ns=draw.choice([0, 10 * MILLISECOND_NS, SECOND_NS]),
    )


def _walk(world: World, draw: random.Random, steps: int) -> None:
    while len(world.steps) < steps:
        world.now_ns += draw.choice([0, 100_000, 10 * MILLISECOND_NS, 100 * MILLISECOND_NS])
        chance = draw.random()
        fault = draw.randrange(1, 9) if draw.randrange(100) < FAULT_PERCENT else 0
        if draw.random() < 0.003:
            fault = 9  # a leak takes memory for good: too many of them, and nothing fits any more
        if world.fire_due():
            continue
        if world.pending and chance < 0.62:
            world.answer(draw.randrange(len(world.pending)) if draw.random() < 0.5 else 0, fault)
        elif chance < 0.95:
            world.arrive(draw.randrange(6))
        elif chance < 0.985:
            world.die(draw.randrange(1_000_000), oom=draw.random() < 0.5)
        else:
            world.restock(draw.randrange(3), draw.randrange(3), reactive=draw.random() < 0.5)


@pytest.mark.parametrize("seed", range(WALKS))
def test_every_invariant_holds_on_a_long_walk(seed: int) -> None:
    draw = random.Random(seed)
    total = 0
    kinds: dict[str, int] = {}
    while total < STEPS_A_WALK:
        world = World(_policies(draw, seed))
        try:
            _walk(world, draw, 2_700)
            world.settle()
        except Broken as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken
        assert world.settled == world.arrived
        total += len(world.steps)
        for name, count in world.seen.items():
            kinds[name] = kinds.get(name, 0) + count
    # The walk is worth nothing if it never comes to the rare places.
    unseen = [name for name in SOMETIMES if not kinds.get(name)]
    assert not unseen, f"seed {seed} never saw {unseen}"

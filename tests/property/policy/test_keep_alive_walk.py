"""Each keep-alive policy walks on its own: what it foresees is counted, it names a victim if there is one, it ends."""

from __future__ import annotations

import random

import msgspec
import pytest

from invoker.policy import PolicySet, Pool, step
from invoker.policy import actions as act
from invoker.policy.container import State
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import MILLISECOND_NS
from tests.support.keep_alives import KEEP_ALIVES
from tests.support.pool_world import Broken, World

STEPS = 3_000
UNUSED = (State.IDLE, State.PAUSING, State.PAUSED)


def walk(world: World, draw: random.Random, steps: int) -> None:
    """Bursts with rests between them, so that functions come to rest and are asked for again."""
    while len(world.steps) < steps:
        world.now_ns += draw.choice([0, 0, MILLISECOND_NS, 20 * MILLISECOND_NS, 300 * MILLISECOND_NS])
        if world.fire_due():
            continue
        if world.pending and draw.random() < 0.75:
            world.answer(draw.randrange(len(world.pending)), draw.choice([0] * 20 + [1, 2, 3]))
        else:
            world.arrive(draw.choice([0, 0, 0, 1, 1, 2, 3, 4, 5]))
        _check(world)


def _check(world: World) -> None:
    pool = world.pool
    for stem in pool.stems.values():
        if not 0 <= stem.foreseen <= len(world.functions):
            raise world.broken(f"{stem.foreseen} containers of {stem.key} are foreseen")
    victim = pool.keep_alive.victim()
    idle = [c for c in pool.containers.values() if c.state in UNUSED and not c.claims]
    if (victim is None) != (not idle) or (victim is not None and victim not in idle):
        raise world.broken(f"the victim is {victim and victim.id}, idle are {[c.id for c in idle]}")


@pytest.mark.parametrize("accounting", ["charged", "reference"])
@pytest.mark.parametrize("keep_alive", KEEP_ALIVES, ids=lambda policy: msgspec.json.encode(policy)[:50].decode())
def test_a_walk_with_the_policy(keep_alive: AnyKeepAlive, accounting: str) -> None:
    policies = msgspec.convert(
        {"accounting": accounting, "capacity_mb": 1024, "keep_alive": msgspec.to_builtins(keep_alive)}, PolicySet
    )
    world = World(policies)
    try:
        walk(world, random.Random(5), STEPS)
        world.settle()
    except Broken as broken:
        raise AssertionError(str(broken)) from broken
    assert world.settled == world.arrived
    again = Pool(msgspec.json.decode(msgspec.json.encode(policies), type=PolicySet))
    for now_ns, event, actions in world.steps:  # a decision log's header and lines are all that decides
        assert step(again, now_ns, event) == actions


@pytest.mark.parametrize("tag", ["hybrid-histogram", "rainbowcake"])
def test_a_walk_sees_stock_started_ahead(tag: str) -> None:
    policy = next(p for p in KEEP_ALIVES if msgspec.to_builtins(p)["type"] == tag)
    world = World(PolicySet("charged", 4096, keep_alive=policy))
    walk(world, random.Random(6), STEPS)
    kinds = [action.kind for _, _, actions in world.steps for action in actions if isinstance(action, act.Dispatch)]
    assert kinds.count("prewarm") > 10

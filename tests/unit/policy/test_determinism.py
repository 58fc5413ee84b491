"""The same events give the same decisions, however the interpreter hashes; an event that can't be changes nothing."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys

import msgspec
import pytest

from invoker.policy import PolicyError, Pool, policyset, step
from invoker.policy import events as ev
from invoker.policy.types import ContainerId
from tests.support.pool_world import World


def walked(accounting: str, steps: int = 1500) -> World:
    """A walk whose choices come from a seeded generator."""
    draw = random.Random(7)
    make = policyset.default if accounting == "charged" else policyset.reference
    world = World(make(1024))
    world.restock(1, 1, reactive=False)
    while len(world.steps) < steps:
        world.now_ns += draw.choice([0, 1_000_000, 50_000_000])
        if world.fire_due():
            continue
        if world.pending and draw.random() < 0.6:
            world.answer(draw.randrange(len(world.pending)), draw.choice([0, 0, 0, 0, 1, 2]))
        else:
            world.arrive(draw.randrange(6))
    return world


def decisions_hash(accounting: str) -> str:
    """A hash over every event and decision of the walk."""
    digest = hashlib.sha256()
    for entry in walked(accounting).steps:
        digest.update(msgspec.json.encode(entry))
    return digest.hexdigest()


@pytest.mark.parametrize("accounting", ["charged", "reference"])
def test_decisions_do_not_depend_on_the_hash_seed(accounting: str) -> None:
    program = f"from tests.unit.policy.test_determinism import decisions_hash; print(decisions_hash({accounting!r}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4294967295")
    }
    assert found == {decisions_hash(accounting) + "\n"}


@pytest.mark.parametrize("accounting", ["charged", "reference"])
def test_an_event_that_cannot_be_changes_nothing(accounting: str) -> None:
    """The same walk, with impossible events thrown in, decides the same."""
    world = walked(accounting)
    disturbed = Pool(world.pool.policies)
    refused = 0
    for number, (now_ns, event, actions) in enumerate(world.steps):
        unknown = ContainerId(disturbed.last_id + 1)
        known = ContainerId(1 + number % max(1, disturbed.last_id))
        impossible: list[ev.AnyEvent] = [
            ev.ContainerStarted(unknown),
            ev.Removed(unknown),
            ev.Paused(unknown),
            ev.RunFinished(known, activation="nobody", reusable=True),  # pyright: ignore[reportArgumentType]
            ev.ContainerInitialized(unknown, 1),
        ]
        if isinstance(event, ev.InvocationArrived) and event.activation in disturbed.placed:
            impossible.append(event)
        for wrong in impossible:
            with pytest.raises(PolicyError):
                step(disturbed, now_ns, wrong)
            refused += 1
        if disturbed.now_ns:
            with pytest.raises(PolicyError, match="time went back"):
                step(disturbed, disturbed.now_ns - 1, event)
        assert step(disturbed, now_ns, event) == actions, f"step {number}"
    assert refused > 5000

"""The checker of the heart finds what it is there to find: each case spoils a sound pool in one way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from invoker.policy import Pool, policyset, step
from invoker.policy import events as ev
from invoker.policy.container import State
from invoker.policy.invariants import check
from invoker.policy.pool import NOT_INSIDE
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey

STEM = PrewarmKey("python:3", 256)
INSIDE, STARTING, WAITING = ActivationId("inside"), ActivationId("starting"), ActivationId("waiting")
ONE, TWO = ContainerId(1), ContainerId(2)


def _key(name: str) -> WarmKey:
    return WarmKey("guest", "guest", name, "0.0.1", "1-a", "")


def sound() -> Pool:
    """One activation runs, one waits for its start, one for memory."""
    pool = Pool(policyset.default(512))
    for name in (INSIDE, STARTING, WAITING):
        step(pool, 0, ev.InvocationArrived(name, _key(name), STEM))
    step(pool, 1, ev.ContainerStarted(ONE))
    return pool


def _miscount_inside(pool: Pool) -> None:
    pool.containers[ONE].running = 2


def _forget_the_claim(pool: Pool) -> None:
    pool.containers[TWO].owner = None


def _forget_the_place(pool: Pool) -> None:
    del pool.placed[STARTING]


def _in_two_places(pool: Pool) -> None:
    pool.waiting[INSIDE] = pool.waiting[WAITING]


def _of_another_function(pool: Pool) -> None:
    container = pool.containers[ONE]
    pool.placed[INSIDE] = (pool.functions[_key(STARTING)], container, 1)


def _inside_before_it_stands(pool: Pool) -> None:
    function, container, since_ns = pool.placed[STARTING]
    assert since_ns == NOT_INSIDE
    pool.placed[STARTING] = (function, container, 0)


def _too_many(pool: Pool) -> None:
    pool.containers[ONE].claims[STARTING] = None


def _nowhere(pool: Pool) -> None:
    del pool.containers[ONE]


def _overcommitted(pool: Pool) -> None:
    pool.charged_mb += 1


def _idle_unknown(pool: Pool) -> None:
    pool.containers[ONE].state = State.IDLE


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_miscount_inside, "counts 2 activations inside"),
        (_forget_the_claim, "does not know it"),
        (_forget_the_place, "the pool places it elsewhere"),
        (_in_two_places, "is in two places"),
        (_of_another_function, "of another function"),
        (_inside_before_it_stands, "counts 0 activations inside"),
        (_too_many, "more activations than its limit"),
        (_nowhere, "is placed nowhere"),
        (_overcommitted, "MB are charged"),
        (_idle_unknown, "doesn't know it as idle"),
    ],
)
def test_what_is_wrong_is_told(spoil: Callable[[Pool], None], words: str) -> None:
    pool = sound()
    assert check(pool) == []
    spoil(pool)
    assert any(words in told for told in check(pool))

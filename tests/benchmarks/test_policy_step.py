"""A step costs the same with 10,000 containers as with 10, up to the processor's caches (at most twice)."""

from __future__ import annotations

import pytest

from tests.benchmarks.policy_step import measure, policy_sets

pytestmark = pytest.mark.benchmark

TIMES_MAX = 2.0
DISPATCH_US_MAX = 10.0
TRIES = 3


@pytest.mark.parametrize("name", list(policy_sets()))
def test_a_step_does_not_grow_with_the_pool(name: str) -> None:
    policies = policy_sets()[name]
    ratios: list[float] = []
    for _ in range(TRIES):  # the least of three: a neighbour on the machine can only add
        small, large = measure(policies, 10), measure(policies, 10_000)
        assert large.dispatch_us <= DISPATCH_US_MAX, large
        ratios.append((large.dispatch_us + large.finish_us) / (small.dispatch_us + small.finish_us))
    assert min(ratios) <= TIMES_MAX, ratios

"""Long walks of every balancer: what it may never do, whatever happened; and that it does the same again."""

from __future__ import annotations

import random

import pytest

from invoker.policy.balancing import (
    AnyBalancer,
    BoundedLoad,
    Controller,
    Hiku,
    JoinIdleQueue,
    LeastLoaded,
    Overflow,
    PowerOfChoices,
    Random,
    RandomLoadUpdate,
    Request,
    RoundRobin,
    Sharding,
)
from invoker.policy.types import ActivationId

STEPS = 1_500
SPECS: list[AnyBalancer] = [
    *[Sharding(), Sharding(managed_fraction=0.5, blackbox_fraction=0.5), RoundRobin(), Random()],
    *[PowerOfChoices(), PowerOfChoices(5), LeastLoaded(), BoundedLoad(replicas=5), Hiku(), Hiku(offers_max=10)],
    *[JoinIdleQueue(), JoinIdleQueue(idle_below=3)],
    RandomLoadUpdate(ranked_every=20, actions_max=8),
]


class Walk:
    """A seeded walk of one controller. `said` is all that it decided."""

    def __init__(self, spec: AnyBalancer, seed: int) -> None:
        self.draw = random.Random(seed)
        self.controller = Controller(spec, controllers=2)
        self.alive: list[Request] = []
        self.said: list[int | Overflow] = []
        self.overflows = 0
        self.now_ns = 0
        for index in range(self.draw.choice([1, 3, 12])):
            self.controller.join(index, self.draw.choice([256, 1024, 4096]), self.draw.choice([1, 4]))

    def run(self, steps: int) -> None:
        """So many steps, each checked."""
        draw, controller = self.draw, self.controller
        for number in range(steps):
            self.now_ns += draw.choice([0, 1_000_000, 300_000_000])
            chance = draw.random()
            if chance < 0.5:
                self._place(number)
            elif chance < 0.9 and self.alive:
                self._settle(draw.randrange(len(self.alive)))
            elif chance < 0.93:
                controller.turn(draw.randrange(len(controller.cluster.invokers)), usable=draw.random() < 0.7)
            elif chance < 0.96:
                controller.cluster.report(draw.randrange(len(controller.cluster.invokers)), draw.randrange(3_000))
            elif self.alive:
                controller.evicted(draw.randrange(len(controller.cluster.invokers)), draw.choice(self.alive))
            self._check()

    def settle_all(self) -> None:
        """Nothing is left under way."""
        while self.alive:
            self._settle(0)
        self._check()

    def _place(self, number: int) -> None:
        draw, cluster = self.draw, self.controller.cluster
        action = draw.randrange(12)
        request = Request(
            activation=ActivationId(f"a{number}"),
            namespace="ns",
            action=f"ns/{action}",
            memory_mb=(128, 256, 512)[action % 3],
            concurrency=3 if action % 4 == 0 else 1,
            blackbox=action % 5 == 0,
            chance=draw.getrandbits(64),
        )
        before = [invoker.slots.fits(request) for invoker in cluster.invokers]
        where = self.controller.place(self.now_ns, request)
        self.said.append(where)
        if isinstance(where, Overflow):
            self.overflows += 1
            index = where.invoker
            assert index is None or not before[index], "sent to the topic of an invoker that has room"
        else:
            index = where
            assert before[index], "sent by HTTP to an invoker without room"
        if index is None:
            assert not cluster.usable or request.blackbox or any(not i.usable for i in cluster.invokers)
        else:
            assert cluster.invokers[index].usable, "sent to an invoker that is not usable"
            self.alive.append(request)

    def _settle(self, index: int) -> None:
        request = self.alive.pop(index)
        settle = self.controller.timed_out if self.draw.random() < 0.1 else self.controller.acknowledged
        assert settle(self.now_ns, request.activation)
        assert not self.controller.acknowledged(self.now_ns, request.activation), "settled twice"

    def _check(self) -> None:
        cluster = self.controller.cluster
        assert cluster.usable == [index for index, invoker in enumerate(cluster.invokers) if invoker.usable]
        counts = [0] * len(cluster.invokers)
        for index, _ in cluster.sent.values():
            counts[index] += 1
        assert [invoker.active for invoker in cluster.invokers] == counts
        assert cluster.active == sum(counts[index] for index in cluster.usable)
        least = min((counts[index] for index in cluster.usable), default=0)
        assert sorted(cluster.loads.least()) == [index for index in cluster.usable if counts[index] == least]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_balancer_keeps_to_what_it_may_do(spec: AnyBalancer, seed: int) -> None:
    walk = Walk(spec, seed)
    full = [invoker.slots.free_mb for invoker in walk.controller.cluster.invokers]
    walk.run(STEPS)
    walk.settle_all()
    assert [invoker.slots.free_mb for invoker in walk.controller.cluster.invokers] == full
    again = Walk(spec, seed)
    again.run(STEPS)
    assert again.said == walk.said
    assert 0 < walk.overflows < len(walk.said), "the walk never came to both sides"


def test_sharding_overflows_only_where_its_whole_part_is_full() -> None:
    draw = random.Random(5)
    controller = Controller(Sharding(managed_fraction=1.0))
    for index in range(7):
        controller.join(index, 1024)
    overflows = 0
    for number in range(400):
        request = Request(
            activation=ActivationId(f"a{number}"),
            namespace="ns",
            action=f"ns/{draw.randrange(30)}",
            memory_mb=draw.choice([128, 256, 512]),
            chance=draw.getrandbits(64),
        )
        room = any(invoker.slots.fits(request) for invoker in controller.cluster.invokers)
        where = controller.place(0, request)
        assert isinstance(where, Overflow) is not room
        overflows += not room
        if draw.random() < 0.8 and controller.cluster.sent:
            controller.acknowledged(0, draw.choice(list(controller.cluster.sent)))
    assert overflows

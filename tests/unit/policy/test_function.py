"""A stack of idle containers against a list."""

from __future__ import annotations

import random

import pytest

from invoker.policy.container import Container
from invoker.policy.function import IdleStack
from invoker.policy.types import ContainerId, PrewarmKey


@pytest.mark.parametrize("seed", range(5))
def test_a_stack_from_which_any_may_leave(seed: int) -> None:
    chance = random.Random(seed)
    stack, model = IdleStack(), list[Container]()
    away = [Container(ContainerId(number), PrewarmKey("k", 256), 256, 0) for number in range(8)]
    for _ in range(2000):
        what = chance.choice(("push", "push", "pop", "remove"))
        if what == "push" and away:
            container = away.pop(chance.randrange(len(away)))
            stack.push(container)
            model.append(container)
        elif what == "pop":
            container = stack.pop()
            assert container is (model.pop() if model else None)
            if container is not None:
                away.append(container)
        elif what == "remove" and model:
            container = model.pop(chance.randrange(len(model)))
            stack.remove(container)
            away.append(container)
        assert [c.id for c in stack] == [c.id for c in model]
        assert len(stack) == len(model)
        assert stack.top is (model[-1] if model else None)
        assert stack.bottom is (model[0] if model else None)
        assert all(c.below is None and c.above is None for c in away)

"""◇ What the heart keeps by identity: a record for each warm key, and one for each prewarm key.

Records and containers are written to in every step, so they are plain objects with slots: setting an attribute of a
msgspec.Struct takes several times as long as making one saves.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from invoker.policy.container import Container
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey


def _empty() -> OrderedDict[Any, Any]:
    return OrderedDict()


class Invocation(msgspec.Struct, eq=False):
    """An activation that the pool accepted and has not settled. `since_ns` is when it arrived.

    `rank` is its place among those who wait (`invoker.policy.queueing`), given once when it begins to.
    """

    activation: ActivationId
    function: Function
    since_ns: int
    rank: int = 0


@dataclass(slots=True, eq=False)
class Stem:
    """One prewarm key. `ready` is oldest first; `starting` counts starts that will end in `ready`;
    `failures` counts the starts for stock that failed in a row. `wanted` are what the prewarm policy wishes to stand
    ready, `foreseen` what the keep-alive policy wishes beside them."""

    key: PrewarmKey
    wanted: int = 0
    foreseen: int = 0
    starting: int = 0
    failures: int = 0
    retry_at_ns: int = 0
    ready: OrderedDict[ContainerId, Container] = field(default_factory=_empty)

    @property
    def target(self) -> int:
        """How many should stand ready in all."""
        return self.wanted + self.foreseen


@dataclass(slots=True, eq=False)
class Function:
    """One warm key: its containers, and what was learnt about it. Dropped when it has no container and no activation.

    `idle` is in the order of becoming idle: the last is the most recently used. `roomy` containers have activations and
    take more. `active` counts the activations inside containers; `run_ns` is how long one usually stays, a mean that
    the last weighs on with 1/8. `starting` maps the activations that wait for a cold start to their containers, oldest
    first.
    """

    key: WarmKey
    stem: Stem
    memory_mb: int
    concurrency: int
    containers: int = 0
    active: int = 0
    idle: dict[ContainerId, Container] = field(default_factory=lambda: {})
    roomy: dict[ContainerId, Container] = field(default_factory=lambda: {})
    waiting: OrderedDict[ActivationId, Invocation] = field(default_factory=_empty)
    starting: OrderedDict[ActivationId, Container] = field(default_factory=_empty)
    uses: int = 0
    cost_ns: int = 0
    run_ns: int = 0
    gap_ns: int = -1
    rank: tuple[int, int] | None = None

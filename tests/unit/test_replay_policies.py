"""A decision log replays identically with every keep-alive policy: its header and its lines are all that decides."""

from __future__ import annotations

import pathlib
import random

import msgspec
import pytest

from invoker.io.decision_log import DecisionLog
from invoker.policy import PolicySet
from invoker.policy.policyset import AnyKeepAlive
from invoker.replay import replay
from tests.property.policy.test_keep_alive_walk import walk
from tests.support.keep_alives import KEEP_ALIVES
from tests.support.pool_world import World


@pytest.mark.parametrize("keep_alive", KEEP_ALIVES, ids=lambda policy: msgspec.json.encode(policy)[:50].decode())
def test_a_log_replays_with_the_policy(keep_alive: AnyKeepAlive, tmp_path: pathlib.Path) -> None:
    world = World(PolicySet("charged", 1024, keep_alive=keep_alive))
    walk(world, random.Random(11), 500)
    log = DecisionLog(tmp_path, world.pool.policies, 1, file_bytes=1 << 30, files_max=10)
    for number, entry in enumerate(world.steps):
        log.append(*entry)
        if number % 50 == 0:
            log.flush()
    log.close()
    report = replay([log.path])
    assert report.difference is None
    assert report.steps == len(world.steps)

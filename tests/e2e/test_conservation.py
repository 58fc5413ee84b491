"""Nothing is lost and nothing is made up: as many answers, log lines, records and settled arrivals as were accepted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from invoker.policy.actions import Refuse
from invoker.policy.events import InvocationArrived, RunFinished
from invoker.replay import read
from tests.e2e.load import TIGHT_MB, Load, judge, put_actions
from tests.support.node import NAMESPACE, Machine, serving

TOTAL = 120


@pytest.mark.contract("14", "16")
async def test_what_goes_in_comes_out(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path, USER_MEMORY=f"{TIGHT_MB} MB", PAUSE_GRACE="20ms") as node:
        await put_actions(node.put)
        load = Load(node.port, TOTAL, seed=3)
        await load.run()
        sent = {each.activation: each for each in load.sent}
        for activation, each in sent.items():
            judge(each, (await node.stored(activation)).record)
        stored = await node.dev.store.records(NAMESPACE, limit=2 * TOTAL)
        path = node.dev.decision_log.path
    assert len(sent) == len(load.answers) == TOTAL
    assert Counter(each.activation_id for each in stored) == Counter(list(sent))
    assert Counter(line["aid"] for line in node.log_lines("invocation completed")) == Counter(list(sent))
    arrived, settled = Counter[str](), Counter[str]()
    for decision in read(path):
        if isinstance(decision.event, InvocationArrived):
            arrived[decision.event.activation] += 1
        elif isinstance(decision.event, RunFinished):
            settled[decision.event.activation] += 1
        settled.update(action.activation for action in decision.actions if isinstance(action, Refuse))
    assert arrived == settled == Counter(list(sent))

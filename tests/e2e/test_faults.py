"""Every row of the contract's section 14, on real containers of both engines: status, exact message, and whether the
container is used again or really gone."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from invoker.policy import PolicySet, policyset
from invoker.policy.outcome import TOLD_CHARACTERS_MAX
from invoker.policy.pausing import NeverPause
from tests.e2e.fault_table import ACTION, INIT_LIMIT_MS, OUTCOMES, ROWS, Row
from tests.support.machines import ENGINES, make_machine
from tests.support.node import NAMESPACE, PYTHON, Ended, Node, eventually, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNNER = {"init_limit_min_ms": INIT_LIMIT_MS}
CAPACITY_MB = 4096
_names = itertools.count(1)
_instances = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Node]:
    """The node that runs most rows, one for each engine."""
    directory = tmp_path_factory.mktemp("node")
    machine = make_machine(request.param, request, directory)
    async with serving(machine, directory, runner=RUNNER, PAUSING="never") as node:
        yield node


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture
def report(row: Row, node: Node) -> None:
    """Note for the table at the end that the row was tried; `test_row` says so when it has passed."""
    OUTCOMES[row.name, node.machine.name] = "FAILED"


@pytest.mark.contract("14")
async def test_row(row: Row, node: Node, report: None, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if row.policies == "default, never pausing":
        await play(row, node)
    else:
        machine = make_machine(node.machine.name, request, tmp_path, 1 + next(_instances) % 2)
        async with serving(machine, tmp_path, policies=policies(row), runner=RUNNER) as other:
            await play(row, other)
    OUTCOMES[row.name, node.machine.name] = "ok"


def policies(row: Row) -> PolicySet:
    """The row's policy set."""
    found = policyset.default(CAPACITY_MB) if row.policies == "default" else policyset.reference(CAPACITY_MB)
    return msgspec.structs.replace(found, pausing=NeverPause()) if "never" in row.policies else found


async def play(row: Row, node: Node) -> None:
    """Provoke the fault, look at what came of it, and at what becomes of the container."""
    name = f"row{next(_names)}"
    if row.before == "no document":
        await node.dev.store.put_action(NAMESPACE, name, b'{"name":"broken"}')
    elif row.before != "no action":
        kind = "cobol:60" if row.before == "unknown kind" else row.kind
        code = ACTION if kind == PYTHON else "{}"
        await node.put(name, code, kind, timeout=row.timeout_ms)
    former = await prepare(row, node, name)
    content = {**(row.run or {})} | ({"AT_INIT": row.at_init} if row.at_init else {})
    ended = await node.call(name, content, init_args=("AT_INIT",) if row.at_init else ())
    judge(row, ended)
    if row.before == "died idle":
        assert (ended.kind, ended.container == former) == ("cold", False)
    elif former is not None:
        assert ended.facts.get("cid", former) == former
    await judge_fate(row, node, name, ended, former)


async def prepare(row: Row, node: Node, name: str) -> str | None:
    """What happens before the invocation; the container that it happened to."""
    if row.before not in ("killed paused", "exited idle", "oom idle", "died idle"):
        return None
    first = await node.call(name, {"do": "hog later"} if row.before == "oom idle" else {})
    assert (first.status, first.kind) == (0, "cold"), first
    if row.before == "killed paused":
        await node.until_state(first.container, "paused")
        node.machine.kill(first.container)
    elif row.before == "died idle":
        node.machine.kill(first.container)
        await node.until_state(first.container, "gone")
    else:
        if row.before == "exited idle":
            node.machine.kill(first.container)
        await node.until_dead(first.container)
        assert node.state(first.container) == "idle"  # the pool of this policy set has not noticed
    return first.container


def judge(row: Row, ended: Ended) -> None:
    """The record has to be the table's."""
    assert ended.status == row.status
    result = {"error": row.error} if row.error is not None else row.result
    assert ended.result == result
    assert set(row.log) <= set(ended.texts), ended.texts
    limit_hit = "exceeded its time limits" in (row.error or "")
    assert {"key": "timeout", "value": limit_hit} in ended.record["annotations"]
    if row.status in (2, 3):
        unquoted = re.sub(r"((valid JSON response|truncated response was):).*", r"\1", row.error or "", flags=re.DOTALL)
        assert ended.facts["activationResponse"] == unquoted[:TOLD_CHARACTERS_MAX]
    else:
        assert "activationResponse" not in ended.facts
    if row.error is not None:
        assert ended.record["response"]["size"] == len(
            json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode()
        )


async def judge_fate(row: Row, node: Node, name: str, ended: Ended, former: str | None) -> None:
    """The next invocation tells whether the container was kept; the machine, whether it is gone."""
    container = ended.facts.get("cid", former)
    if row.fate == "none":
        assert container is None
        return
    assert container is not None
    next_one = await node.call(name)
    assert next_one.status == 0, next_one
    if row.fate == "kept":
        assert (next_one.kind, next_one.container) == ("warm", container)
    else:
        assert next_one.kind == "cold"
        assert next_one.container != container
        await eventually(lambda: container not in node.machine.standing(), "it is gone from the machine")
    if row.policies == "default, never pausing":  # the node serves other rows: nothing of this one stays
        node.machine.kill(next_one.container)
        await node.until_state(next_one.container, "gone")
        await eventually(lambda: node.machine.standing() == [], "the next one is gone too")

"""The other runtime that ships with the project, in every engine: enough to see that the engine serves it as well."""

from __future__ import annotations

import json
import shutil

import pytest

from invoker.ports import Container
from tests.contract.engine.lab import LIMIT_S, LOG_LIMIT_BYTES, Deaths, Lab, result, run, spec

CODE = """
const act = {
  echo: (args) => args,
  say: ({ out, err }) => { out.forEach((x) => console.log(x)); err.forEach((x) => console.error(x)); return {}; },
  fail: () => { throw new Error('no such luck'); },
  leave: () => process.exit(3),
};
async function main(args) { return act[args.do](args); }
"""


async def javascript(lab: Lab, died: Deaths) -> Container:
    """A container of nodejs:default that has taken the action."""
    if lab.name == "process" and shutil.which("node") is None:
        pytest.skip("there is no node on this machine's PATH")
    engine = await lab.engine()
    container = await engine.start(spec(lab, kind="nodejs:default", memory_mb=256), died)
    container.arm_logs(LOG_LIMIT_BYTES)
    value = {"name": "act", "main": "main", "code": CODE, "binary": False, "env": {}}
    assert (await container.init(json.dumps({"value": value}).encode(), LIMIT_S)).status == 200
    return container


@pytest.mark.contract("12")
async def test_javascript_runs_logs_fails_and_is_frozen(lab: Lab) -> None:
    container = await javascript(lab, Deaths())
    result(await run(container, "say", out=["one"], err=["two"]))
    log = await container.collect_logs(LIMIT_S)
    assert log.complete
    assert sorted(line[31:] for line in log.lines) == ["stderr: two", "stdout: one"]
    await container.pause()
    await container.unpause()
    assert result(await run(container, x=[1, "ü", None])) == {"do": "echo", "x": [1, "ü", None]}
    failed = await run(container, "fail")
    assert failed.status == 502
    assert b"no such luck" in failed.body


async def test_javascript_may_end_its_process(lab: Lab) -> None:
    deaths = Deaths()
    container = await javascript(lab, deaths)
    reply = await run(container, "leave")
    assert reply.status is None
    assert reply.condition == "exited"
    assert await deaths.first() is False

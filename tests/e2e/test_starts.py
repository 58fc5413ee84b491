"""The ways in which an invocation comes by its container, on real containers: stock, sharing, and many at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.node import PYTHON, Machine, eventually, serving

MEET = """
import threading
meeting = threading.Barrier(2)
def main(args):
    if args.get("meet"):
        meeting.wait(timeout=30)
    return {"x": args.get("x")}
"""


def with_stock(manifest: str) -> str:
    """The manifest with one prewarmed container wanted of python:3."""
    read = json.loads(manifest)
    for entry in read["runtimes"]["python"]:
        if entry["kind"] == PYTHON:
            entry["stemCells"] = [{"count": 1, "memory": "128 MB"}]
    return json.dumps(read)


@pytest.mark.contract("11", "13")
async def test_from_stock_and_the_stock_is_filled_again(machine: Machine, tmp_path: Path) -> None:
    manifest = with_stock(machine.manifest())
    async with serving(machine, tmp_path, RUNTIMES_MANIFEST=manifest, PAUSING="never") as node:
        await node.put("act", MEET)
        await eventually(lambda: node.containers("prewarm"), "the stock stands")
        (stem,) = node.containers("prewarm")
        ended = await node.call("act", {"x": 1})
        assert (ended.kind, ended.container, ended.result) == ("prewarm", stem, {"x": 1})
        assert {"key": "initTime", "value": round(ended.facts["initTime"] // 1)} in ended.record["annotations"]
        await eventually(lambda: node.containers("prewarm"), "there is another")
        assert (await node.call("act")).kind == "warm"


@pytest.mark.contract("12")
async def test_several_activations_share_a_container(machine: Machine, tmp_path: Path) -> None:
    """They wait for each other, so they can only end if they run at once in the same one."""
    async with serving(machine, tmp_path, USER_MEMORY="128 MB", PAUSING="never") as node:
        await node.put("act", MEET, concurrency=4)
        await node.call("act")
        both = await asyncio.gather(*(node.call("act", {"meet": True, "x": x}) for x in range(2)))
        assert [ended.result for ended in both] == [{"x": 0}, {"x": 1}]
        assert both[0].container == both[1].container

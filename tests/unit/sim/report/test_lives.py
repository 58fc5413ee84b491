"""The lives of containers are drawn from what a heart was told, and follow it through every state."""

from __future__ import annotations

from pathlib import Path

import msgspec

from invoker import replay
from invoker.policy import policyset
from invoker.policy.decision import Header
from invoker.policy.types import MILLISECOND_NS
from sim import ListWorkload, Node, SimFunction, simulate
from sim.latency import Constant
from sim.report.lives import lives, lives_picture

STEP_NS = 10 * MILLISECOND_NS
NODE = Node(
    cold=Constant(10 * STEP_NS),
    init=Constant(0),
    run=Constant(20 * STEP_NS),
    logs=Constant(0),
    pause=Constant(0),
    thaw=Constant(0),
    remove=Constant(5 * STEP_NS),
    slowdown=(),
)


def test_each_stretch_of_a_life_is_a_row(tmp_path: Path) -> None:
    functions = (SimFunction(name="ns/a", memory_mb=256), SimFunction(name="ns/b", memory_mb=512))
    workload = ListWorkload(functions, [(0, 0, -1), (60 * STEP_NS, 1, -1)])
    log = tmp_path / "decisions.jsonl"
    simulate(workload, NODE, policyset.default(512), 1, decision_log=log)
    header = msgspec.json.decode(log.read_bytes().splitlines()[0], type=Header)
    frame = lives(header.policies, replay.read(log))
    first = frame[frame["container"] == 1]
    assert list(first["state"]) == ["starting", "busy", "idle", "paused", "removing"]
    assert list(first["begin_ns"] // STEP_NS) == [0, 10, 30, 45, 60]
    assert list(first["end_ns"] // STEP_NS) == [10, 30, 45, 60, 65]
    assert list(first["function"]) == ["", "a", "a", "a", ""]
    second = frame[frame["container"] == 2]
    assert list(second["begin_ns"] // STEP_NS)[:2] == [65, 75]
    picture = lives_picture(frame)
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ["a 1", "b 2"]
    assert "2 containers over 0.9" in picture.alt

"""A live invoker's decision log, measured: its spans are those that the invoker itself told of the same run, and the
run simulated on them comes to what really happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sim.fit import fit
from sim.recorder import COLD, KINDS, PREWARM
from sim.traces.decisions import policies
from sim.traces.recorded import recorded
from sim.whatif import variants, what_if
from tests.e2e.load import TIGHT_MB, Load, put_actions
from tests.support.node import ProcessMachine, serving

ACTIVATIONS = 160
LAG_MS = 25.0
"""What may lie between two looks at the clock, on the average: the loop of a busy machine's invoker."""


async def live_run(directory: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The decision log of a small node under load, and what its log told of each activation (contract, section 16)."""
    machine = ProcessMachine(directory / "data" / "containers")
    async with serving(machine, directory, USER_MEMORY=f"{TIGHT_MB} MB", PAUSE_GRACE="5ms") as node:
        await put_actions(node.put)
        load = Load(node.port, ACTIVATIONS, in_flight=4)
        await load.run()
        assert len(load.answers) == ACTIVATIONS
        log = node.dev.decision_log.path
    return log, node.log_lines("invocation completed")


def agree(spans_ns: Sequence[int], told_ms: Sequence[float]) -> None:
    """As many spans as were told, none shorter than told, and on the average hardly longer."""
    assert len(spans_ns) == len(told_ms) > 0
    longer_ms = sum(spans_ns) / 1e6 - sum(told_ms)
    assert -0.1 <= longer_ms / len(told_ms) <= LAG_MS


async def test_a_live_run_is_measured_and_simulated(tmp_path: Path) -> None:
    log, told = await live_run(tmp_path)
    run = recorded(log)
    columns = run.columns
    assert len(columns) == len(told) == ACTIVATIONS

    kinds = Counter(KINDS[kind] for kind in columns.kind)
    assert kinds["cold"] + kinds["prewarm"] == sum("initTime" in line for line in told)
    assert kinds["thawed"] == sum("unpauseTime" in line for line in told)
    agree(run.run_ns, [line["runTime"] + line["logTime"] for line in told])
    new = [row for row, kind in enumerate(columns.kind) if kind in (COLD, PREWARM)]
    inits_ns = [columns.began_ns[row] - columns.dispatched_ns[row] for row in new]
    agree(inits_ns, [line["initTime"] for line in told if "initTime" in line])
    thaws_ms = [line["unpauseTime"] for line in told if "unpauseTime" in line]
    assert sum(run.spans_ns["thaw"]) / 1e6 == pytest.approx(sum(thaws_ms), abs=LAG_MS * len(thaws_ms))

    profile = fit([log], "samples").profile
    assert profile.stages["run"].n == ACTIVATIONS
    assert profile.stages["cold"].n == len(run.starts)

    roomy = variants(policies(log), memory_mb=[4 * TIGHT_MB])
    really, simulated, larger = (column.figures for column in what_if(log, roomy).columns)
    assert really["cold"] == kinds["cold"]
    assert simulated["starts"] == pytest.approx(really["starts"], rel=0.4)
    assert simulated["mean_memory_mb"] == pytest.approx(really["mean_memory_mb"], rel=0.2)
    assert larger["starts"] < really["starts"]
    assert msgspec.json.encode(profile) == msgspec.json.encode(fit([log], "samples").profile)

"""Written, then read: the same workload, as far as the format can hold it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sim.generator.azurelike import AzureLike
from sim.generator.compose import Head
from sim.latency import Constant
from sim.traces import (
    TraceError,
    TraceFunction,
    azure2019,
    azure2021,
    huawei2023,
    huawei2025,
    iluvatar,
    opendc,
    writers,
)
from sim.workload import Block, SimFunction, Workload

MINUTE_NS = 60_000_000_000
WORKLOAD = AzureLike(functions=60, duration_s=7200, load=1.0, seed=5).build()


def rows(workload: Workload) -> list[tuple[int, str, int]]:
    """All invocations: instant, function's name, run."""
    names = [function.name for function in workload.functions]
    return [
        (at, names[function], run)
        for block in workload.blocks()
        for at, function, run in zip(block.at_ns, block.function, block.run_ns, strict=True)
    ]


def by_minute(workload: Workload) -> Counter[tuple[int, str]]:
    """How often each function is called in each minute, by the last of its ids."""
    return Counter((at // MINUTE_NS, name.rsplit("/", 1)[-1]) for at, name, _ in rows(workload))


def test_azure_2021_holds_every_nanosecond(tmp_path: Path) -> None:
    assert writers.write_azure2021(WORKLOAD, tmp_path / "trace.csv") == len(rows(WORKLOAD)) > 1000
    with azure2021.read(tmp_path / "trace.csv") as trace:
        assert not trace.report.dropped
        assert not trace.report.mended
        assert rows(trace) == rows(WORKLOAD)


def test_huawei_2025_holds_every_nanosecond_and_the_memory(tmp_path: Path) -> None:
    writers.write_huawei2025(WORKLOAD, tmp_path / "requests.csv")
    with huawei2025.read_requests(tmp_path / "requests.csv") as trace:
        short = [(at, name.rsplit("/", 1)[1], run) for at, name, run in rows(trace)]
        assert short == [(at, name.rsplit("/", 1)[1], run) for at, name, run in rows(WORKLOAD)]
        memory = {one.name.rsplit("/", 1)[1]: one.memory_mb for one in WORKLOAD.functions}
        assert all(memory[one.name.rsplit("/", 1)[1]] == one.memory_mb for one in trace.functions)


def test_iluvatar_holds_instants_means_memory_and_init(tmp_path: Path) -> None:
    class Two:
        functions = (
            SimFunction(name="iluvatar/a", memory_mb=64, init=Constant(2_000_000)),
            SimFunction(name="iluvatar/b", memory_mb=96, init=Constant(0)),
        )

        def blocks(self) -> list[Block]:
            from array import array

            return [Block(array("q", [0, 5, 1_000_007]), array("I", [0, 1, 0]), array("q", [10, 7, 30]))]

    two = Two()
    writers.write_iluvatar(two, tmp_path / "trace.csv", tmp_path / "metadata.csv")  # type: ignore[arg-type]
    with iluvatar.read(tmp_path / "trace.csv", tmp_path / "metadata.csv") as trace:
        assert rows(trace) == [(0, "iluvatar/a", 20), (5, "iluvatar/b", 7), (1_000_007, "iluvatar/a", 20)]
        assert [(one.name, one.memory_mb, one.init) for one in trace.functions] == [
            (one.name, one.memory_mb, one.init) for one in two.functions
        ]


def test_azure_2019_holds_minutes_memory_triggers_and_the_range_of_runs(tmp_path: Path) -> None:
    writers.write_azure2019(WORKLOAD, tmp_path)
    with azure2019.read(tmp_path) as trace:
        assert not trace.report.dropped
        assert not trace.report.mended
        assert by_minute(trace) == by_minute(WORKLOAD)
        known = {one.name: one for one in WORKLOAD.functions}
        for one in trace.functions:
            assert isinstance(one, TraceFunction)
            assert one == known[one.name]
        spans: dict[str, list[int]] = {}
        for _, name, run in rows(WORKLOAD):
            spans.setdefault(name, []).append(run)
        for _, name, run in rows(trace):
            assert min(spans[name]) <= run <= max(spans[name])


def test_azure_2019_writes_a_day_after_another(tmp_path: Path) -> None:
    days = AzureLike(functions=12, duration_s=2.5 * 86_400, load=0.1, seed=11).build()
    writers.write_azure2019(days, tmp_path)
    assert len(list(tmp_path.glob("invocations*"))) == 3
    with azure2019.read(tmp_path) as trace:
        assert by_minute(trace) == by_minute(days)


def test_opendc_and_huawei_2023_hold_minutes_and_their_mean_runs(tmp_path: Path) -> None:
    writers.write_opendc(WORKLOAD, tmp_path / "opendc")
    writers.write_huawei2023(WORKLOAD, tmp_path / "huawei")
    wanted: Counter[tuple[int, str]] = Counter()
    for at, name, run in rows(WORKLOAD):
        wanted[at // MINUTE_NS, name.rsplit("/", 1)[-1].rsplit("_", 1)[-1]] += run
    count = by_minute(WORKLOAD)
    with opendc.read(tmp_path / "opendc") as one, huawei2023.read(tmp_path / "huawei") as other:
        for trace in (one, other):
            assert not trace.report.dropped
            found: Counter[tuple[int, str]] = Counter()
            counted: Counter[tuple[int, str]] = Counter()
            for at, name, run in rows(trace):
                key = (at // MINUTE_NS, name.rsplit("/", 1)[-1].rsplit("_", 1)[-1])
                found[key] += run
                counted[key] += 1
            assert counted == count
            assert all(abs(found[key] - total) <= 2 * count[key] for key, total in wanted.items())


def test_a_drawn_run_can_not_be_written_where_runs_are_told(tmp_path: Path) -> None:
    with (
        azure2019.read(Path(__file__).parents[3] / "data" / "traces" / "azure2019") as trace,
        pytest.raises(TraceError, match="drawn"),
    ):
        writers.write_azure2021(Head(trace, duration_s=120), tmp_path / "trace.csv")

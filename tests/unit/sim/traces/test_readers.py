"""Each format's made sample, dirty rows included: what is read, and what the report says of the rest."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from invoker.policy import PolicySet
from invoker.policy.events import InvocationArrived
from sim.latency import Constant
from sim.traces import (
    Choices,
    Trace,
    TraceError,
    azure2019,
    azure2021,
    decisions,
    huawei2023,
    huawei2025,
    iluvatar,
    opendc,
)
from sim.traces.rows import LINE_CHARS_MAX
from sim.workload import DRAWN
from tests.support.pool_world import World

SAMPLES = Path(__file__).parents[3] / "data" / "traces"
MINUTE_NS = 60_000_000_000
SECOND_NS = 1_000_000_000
MS_NS = 1_000_000


def rows(trace: Trace) -> list[tuple[int, str, int]]:
    """All invocations: instant, function's name, run."""
    names = [function.name for function in trace.functions]
    return [
        (at, names[function], run)
        for block in trace.blocks()
        for at, function, run in zip(block.at_ns, block.function, block.run_ns, strict=True)
    ]


def test_azure_2021_is_ordered_by_its_begins() -> None:
    with azure2021.read(SAMPLES / "azure2021") as trace:
        assert rows(trace) == [
            (0, "a1/f1", 2_500_000_000),
            (3 * SECOND_NS, "a1/f2", 250_000_000),
            (4 * SECOND_NS, "a2/f1", 0),
            (10 * SECOND_NS, "a1/f1", 500_000_000),
        ]
        report = trace.report
    assert (report.rows, report.kept) == (9, 4)
    assert report.mended == {"began before the trace": 1}
    assert report.dropped == {
        "no instant": 1,
        "no duration": 2,
        "not 4 columns": 1,
        "no app or function": 1,
    }
    assert report.examples["no duration"] == ["trace.csv:7", "trace.csv:10"]


def test_azure_2021_reads_clean_and_dirty_batches_alike(tmp_path: Path) -> None:
    clean = "app,func,end_timestamp,duration\na,f,2.000000001,0.5\na,g,1.5,0.000000001\n"
    (tmp_path / "clean.csv").write_text(clean)
    (tmp_path / "dirty.csv").write_text(clean + "broken\n")
    with azure2021.read(tmp_path / "clean.csv") as one, azure2021.read(tmp_path / "dirty.csv") as other:
        assert rows(one) == rows(other) == [(1_499_999_999, "a/g", 1), (1_500_000_001, "a/f", 500_000_000)]


def test_iluvatar_joins_its_metadata() -> None:
    with iluvatar.read(SAMPLES / "iluvatar" / "trace.csv", SAMPLES / "iluvatar" / "metadata.csv") as trace:
        assert rows(trace) == [
            (0, "iluvatar/pyaes-0", 300 * MS_NS),
            (12_500_000, "iluvatar/hello-1", 10 * MS_NS),
            (40 * MS_NS, "iluvatar/pyaes-0", 300 * MS_NS),
            (45 * MS_NS, "iluvatar/hello-1", 10 * MS_NS),
        ]
        assert [(one.memory_mb, one.init) for one in trace.functions] == [
            (256, Constant(1200 * MS_NS)),
            (128, Constant(0)),
        ]
        assert trace.report.mended == {"cold duration below the warm one": 1}
        assert trace.report.dropped == {
            "metadata told twice": 1,
            "metadata without a name, durations or memory": 1,
            "function without metadata": 1,
            "no instant": 1,
        }


def test_azure_2019_joins_three_files_of_each_day() -> None:
    with azure2019.read(SAMPLES / "azure2019", choices=Choices(spread="start", memory_mb=99)) as trace:
        found = rows(trace)
        assert [(at, name) for at, name, _ in found] == [
            (0, "o1/a1/f1"),
            (0, "o1/a1/f2"),
            (20 * SECOND_NS, "o1/a1/f1"),
            (40 * SECOND_NS, "o1/a1/f1"),
            (MINUTE_NS, "o1/a1/f2"),
            (MINUTE_NS, "o2/a2/f3"),
            (MINUTE_NS + 30 * SECOND_NS, "o2/a2/f3"),
            (2 * MINUTE_NS, "o1/a1/f1"),
            (2 * MINUTE_NS, "o1/a1/f2"),
            (5 * MINUTE_NS, "o1/a1/f1"),
            *((1440 * MINUTE_NS + at * 15 * SECOND_NS, "o2/a2/f3") for at in range(4)),
        ]
        for _, name, run in found:
            assert {"o1/a1/f1": 50 * MS_NS <= run <= 200 * MS_NS, "o1/a1/f2": run == 0, "o2/a2/f3": run == DRAWN}[name]
        known = {one.name: (one.memory_mb, getattr(one, "trigger", None)) for one in trace.functions}
        assert known == {"o1/a1/f1": (151, "http"), "o1/a1/f2": (151, "timer"), "o2/a2/f3": (99, "storage")}
        assert trace.report.dropped == {
            "not 1444 columns": 1,
            "a count that is no whole number": 1,
            "a count below 0": 1,
            "durations that are no numbers": 1,
            "memory that is no number": 1,
        }
        assert trace.report.mended == {
            "a function twice in a day": 1,
            "a changed trigger": 1,
            "percentiles out of order": 1,
            "function without durations": 1,
            "function of an app without memory": 1,
        }
    with azure2019.read(SAMPLES / "azure2019", range(2, 3)) as second:
        assert [at // MINUTE_NS for at, _, _ in rows(second)] == [0, 0, 0, 0]


def test_opendc_reads_a_file_a_function() -> None:
    with opendc.read(SAMPLES / "opendc", Choices(spread="start", memory_mb=64)) as trace:
        assert rows(trace) == [
            (0, "opendc/steady", 150 * MS_NS),
            (30 * SECOND_NS, "opendc/steady", 150 * MS_NS),
            (MINUTE_NS, "opendc/once", 20 * MS_NS),
            (2 * MINUTE_NS, "opendc/steady", 100_500_000),
        ]
        assert [one.memory_mb for one in trace.functions] == [64, 512]
        assert trace.report.dropped == {"a number that is none": 1}
        assert trace.report.mended == {"no memory provisioned": 1}


def test_huawei_2023_takes_each_minutes_delay() -> None:
    with huawei2023.read(SAMPLES / "huawei2023", Choices(spread="start")) as trace:
        assert rows(trace) == [
            (0, "huawei2023/0", 25_500_000),
            (30 * SECOND_NS, "huawei2023/0", 25_500_000),
            (MINUTE_NS, "huawei2023/1", 40 * MS_NS),
            (3 * MINUTE_NS, "huawei2023/0", DRAWN),
            (3 * MINUTE_NS, "huawei2023/1", 10 * MS_NS),
            (3 * MINUTE_NS + 20 * SECOND_NS, "huawei2023/1", 10 * MS_NS),
            (3 * MINUTE_NS + 40 * SECOND_NS, "huawei2023/1", 10 * MS_NS),
        ]
        assert trace.report.mended == {"a count that is not whole": 1, "requests without a delay": 1}
        assert trace.report.dropped == {"other columns than the header's, or no time": 1}


def test_huawei_2025_requests_begin_before_their_stamps() -> None:
    with huawei2025.read_requests(SAMPLES / "huawei2025" / "requests.csv") as trace:
        assert rows(trace) == [
            (0, "9/pool1-100-64/7", SECOND_NS),
            (3 * SECOND_NS, "224/pool22-300-128/296", 200 * MS_NS),
            (4 * SECOND_NS, "9/no-pool/7", SECOND_NS),
            (10 * SECOND_NS, "224/pool22-300-128/296", 400 * MS_NS),
        ]
        assert [one.memory_mb for one in trace.functions] == [128, 256, 64]
        assert trace.report.mended == {"no pool in the pod's name": 1, "began before day 0": 1}


def test_huawei_2025_cold_starts_give_the_functions_latencies() -> None:
    with huawei2025.read_cold_starts(SAMPLES / "huawei2025" / "cold.csv") as trace:
        assert rows(trace) == [(at * SECOND_NS, "224/pool22-300-128/296", DRAWN) for at in (2, 5)]
        (function,) = trace.functions
        assert (function.cold, function.init) == (Constant(2 * SECOND_NS), Constant(SECOND_NS))


def test_a_trace_can_be_read_twice_and_by_two_at_once() -> None:
    with azure2019.read(SAMPLES / "azure2019", choices=Choices(seed=5)) as trace:
        assert rows(trace) == rows(trace)
        one, other = trace.blocks(), trace.blocks()
        assert next(one) == next(other)


def test_reports_and_choices_are_repeatable() -> None:
    def read(seed: int) -> tuple[str, list[tuple[int, str, int]]]:
        with azure2019.read(SAMPLES / "azure2019", choices=Choices(seed=seed)) as trace:
            return trace.report.text(), rows(trace)

    assert read(1) == read(1)
    assert read(1)[1] != read(2)[1]
    assert "dropped 1: a count below 0 (invocations_per_function_md.anon.d01.csv:8)" in read(1)[0]


@pytest.mark.parametrize("name", ["nothing.csv", "other.csv", "cut.csv.gz"])
def test_files_that_are_no_trace_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08\x00\x00")
    with pytest.raises(TraceError, match=name):
        azure2021.read(tmp_path / name)


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("app,func,end_timestamp,duration\n" + "x" * (LINE_CHARS_MAX + 1))
    with pytest.raises(TraceError, match="more than"):
        azure2021.read(tmp_path / "long.csv")


def test_a_decision_log_gives_its_arrivals_and_runs(tmp_path: Path) -> None:
    key = '["ns","path","%s","1","r",""]'
    arrival = '[%d,["InvocationArrived","%s",' + key + ',["python:3",128]],[%s]]'
    (tmp_path / "decisions-7-0001.jsonl").write_text(
        "\n".join(
            [
                '{"decisions":1,"run":"7","part":1,"started_ns":5,"policies":{}}',
                arrival % (1000, "a1", "f", '["Start",1,["python:3",128],"a1"]'),
                arrival % (1500, "a2", "g", '["Enqueue","a2"]'),
                '[2000,["ContainerStarted",1],[["Dispatch","a1",1,"cold"]]]',
                '[2300,["ContainerInitialized",1,200],[]]',
                '[2700,["RunFinished",1,"a1",true],[["Dispatch","a2",1,"warm"]]]',
                arrival % (2800, "a3", "f", '["Refuse","a3","queue full"]'),
                '[3000,["RunFinished",1,"a2",true],[]]',
                arrival % (4000, "a4", "f", ""),
                '[4001,["Run',
            ]
        )
    )
    with decisions.read(tmp_path / "decisions-7-0001.jsonl") as trace:
        assert rows(trace) == [
            (0, "ns/path/f@1", 400),
            (500, "ns/path/g@1", 300),
            (1800, "ns/path/f@1", DRAWN),
            (3000, "ns/path/f@1", DRAWN),
        ]
        assert [(one.kind, one.memory_mb, one.concurrency) for one in trace.functions] == [("python:3", 128, 1)] * 2
        assert trace.report.mended == {"refused: its run is drawn": 1, "no end in the log: its run is drawn": 1}
        assert trace.report.dropped == {"an incomplete last line": 1}


def test_every_arrival_of_a_long_walk_is_read(tmp_path: Path) -> None:
    world = World(PolicySet("charged", 1024))
    source = random.Random(11)
    for _ in range(400):
        world.now_ns += source.randrange(3) * MS_NS
        if source.random() < 0.4:
            world.arrive(source.randrange(len(world.functions)))
        elif world.pending:
            world.answer(source.randrange(len(world.pending)), 0)
    world.settle()
    header = {"decisions": 1, "run": "8", "part": 1, "started_ns": 0, "policies": world.pool.policies}
    lines = b"".join(msgspec.json.encode(line) + b"\n" for line in [header, *world.steps])
    (tmp_path / "decisions-8-0001.jsonl").write_bytes(lines)
    came = [(now_ns, event.activation) for now_ns, event, _ in world.steps if isinstance(event, InvocationArrived)]
    with decisions.read(tmp_path / "decisions-8-0001.jsonl") as trace:
        found = rows(trace)
        assert [at for at, _, _ in found] == [now_ns - came[0][0] for now_ns, _ in came]
        assert len(found) > 100
        assert trace.report.mended.keys() <= {"refused: its run is drawn"}
        assert sum(run >= 0 for _, _, run in found) == len(found) - sum(trace.report.mended.values())

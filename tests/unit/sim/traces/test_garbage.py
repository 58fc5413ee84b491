"""Whatever a file holds, a reader ends with a workload in order of time and a report that adds up, or a TraceError."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.traces import Choices, TraceError, azure2019, decisions, formats, huawei2023

HEADERS = {
    "azure2021": ["app,func,end_timestamp,duration"],
    "huawei2025": ["time_worker,funcName,userID,podID,totalCost_worker,runtimeCost"],
    "huawei2025-cold": [
        "time,funcName,userID,podID,podAllocationCost,schedulingCost,deployCodeCost,deployDependencyCost"
    ],
    "opendc": ["Timestamp [ms],Invocations,Avg Exec,Provisioned Memory"],
}
CELLS = st.sampled_from(
    [
        "0",
        "1",
        "2.5",
        "61000",
        "1e300",
        "-3",
        "nan",
        "inf",
        "",
        "x",
        '"',
        '"a,b"',
        "pool1-1-64-9",
        "1e11",
        "9" * 30,
        "é\0",
    ]
)
LINES = st.lists(st.lists(CELLS, max_size=9).map(",".join), max_size=30)


def ends_well(name: str, path: Path, rule: str = "uniform") -> None:
    try:
        trace = formats.read(name, path, Choices(spread=rule, seed=3))  # type: ignore[arg-type]
    except TraceError:
        return
    with trace:
        report = trace.report
        assert report.kept >= 0
        last = 0
        for block in trace.blocks():
            assert len(block.at_ns) == len(block.function) == len(block.run_ns) > 0
            assert last <= block.at_ns[0]
            assert list(block.at_ns) == sorted(block.at_ns)
            assert max(block.function) < len(trace.functions)
            assert min(block.run_ns) >= -1
            last = block.at_ns[-1]
        assert len({function.name for function in trace.functions}) == len(trace.functions)


@pytest.mark.parametrize("name", list(HEADERS))
@given(lines=LINES)
@settings(max_examples=30, deadline=None)
def test_rows_of_garbage(name: str, lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trace.csv")
        path.write_text("\n".join(HEADERS[name] + lines), "utf-8")
        ends_well(name, path)


@given(lines=LINES, delays=LINES)
@settings(max_examples=30, deadline=None)
def test_wide_tables_of_garbage(lines: list[str], delays: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for folder, rows in (("requests_minute", lines), ("function_delay_minute", delays)):
            Path(directory, folder).mkdir()
            Path(directory, folder, "day_000.csv").write_text("\n".join(["day,time,a,b", *rows]), "utf-8")
        ends_well("huawei2023", Path(directory), "even")


@given(lines=LINES, measured=LINES)
@settings(max_examples=15, deadline=None)
def test_azure_2019_of_garbage(lines: list[str], measured: list[str]) -> None:
    header = ",".join([*azure2019.HEADER, *map(str, range(1, 1441))])
    padded = [line + ",1" * (1444 - line.count(",") - 1) for line in lines]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, azure2019.INVOCATIONS.replace("*", "01") + ".gz")
        path.write_bytes(gzip.compress("\n".join([header, *padded]).encode()))
        table = "\n".join([",".join(azure2019.DURATION_COLUMNS), *measured])
        Path(directory, azure2019.DURATIONS.format(day="01")).write_text(table, "utf-8")
        ends_well("azure2019", Path(directory), "start")


@given(data=st.binary(max_size=300), reader=st.sampled_from(list(formats.READERS)))
@settings(max_examples=40, deadline=None)
def test_bytes_of_garbage(data: bytes, reader: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trace.csv.gz" if len(data) % 2 else "trace.csv")
        path.write_bytes(data)
        ends_well(reader, path)


@pytest.mark.parametrize("read", [huawei2023.read, azure2019.read, decisions.read])
def test_a_place_without_files_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(TraceError, match="nowhere"):
        read(tmp_path / "nowhere")

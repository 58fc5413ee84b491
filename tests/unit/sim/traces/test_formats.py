"""Formats by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.generator.azurelike import AzureLike
from sim.traces import TraceError, formats


@pytest.mark.parametrize("name", list(formats.WRITERS))
def test_what_is_written_under_a_name_is_read_under_it(tmp_path: Path, name: str) -> None:
    workload = AzureLike(functions=30, duration_s=1200, seed=5).build()
    formats.write(name, workload, tmp_path / "made.csv")
    with formats.read(name, tmp_path / "made.csv") as trace:
        assert not trace.report.dropped
        wanted = sum(len(block.at_ns) for block in workload.blocks())
        assert sum(len(block.at_ns) for block in trace.blocks()) == wanted > 100


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="azure2019, azure2021"):
        formats.read("azure2020", tmp_path)
    with pytest.raises(TraceError, match="azure2019, azure2021"):
        formats.write("decisions", AzureLike(functions=1).build(), tmp_path)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nowhere/trace.csv can't be written"):
        formats.write("azure2021", AzureLike(functions=1).build(), tmp_path / "nowhere" / "trace.csv")

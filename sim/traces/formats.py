"""◆ The formats by name, for command lines: one path in, whatever the number of files that the format has."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from sim.traces import azure2019, azure2021, decisions, huawei2023, huawei2025, iluvatar, opendc, writers
from sim.traces.rows import TraceError
from sim.traces.trace import Choices, Trace
from sim.workload import Workload

ILUVATAR_TRACE, ILUVATAR_METADATA = "trace.csv", "metadata.csv"


def _read_iluvatar(directory: pathlib.Path, choices: Choices) -> Trace:
    return iluvatar.read(directory / ILUVATAR_TRACE, directory / ILUVATAR_METADATA, choices)


def _write_iluvatar(workload: Workload, directory: pathlib.Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    return writers.write_iluvatar(workload, directory / ILUVATAR_TRACE, directory / ILUVATAR_METADATA)


READERS: dict[str, Callable[[pathlib.Path, Choices], Trace]] = {
    "azure2019": lambda path, choices: azure2019.read(path, choices=choices),
    "azure2021": azure2021.read,
    "decisions": decisions.read,
    "huawei2023": huawei2023.read,
    "huawei2025": huawei2025.read_requests,
    "huawei2025-cold": huawei2025.read_cold_starts,
    "iluvatar": _read_iluvatar,
    "opendc": opendc.read,
}
"""For each format what reads it. A directory of its files; a file where the format has one (azure2021, huawei2025,
decisions: the run's first file). Ilúvatar's directory holds `trace.csv` and `metadata.csv`."""

WRITERS: dict[str, Callable[[Workload, pathlib.Path], int]] = {
    "azure2019": writers.write_azure2019,
    "azure2021": writers.write_azure2021,
    "huawei2023": writers.write_huawei2023,
    "huawei2025": writers.write_huawei2025,
    "iluvatar": _write_iluvatar,
    "opendc": writers.write_opendc,
}
"""For each format what writes it: to a file (azure2021, huawei2025) or into a directory."""


def read(name: str, path: pathlib.Path, choices: Choices | None = None) -> Trace:
    """The trace of the named format. Raises TraceError where there is no such format, or the files are none of it."""
    if name not in READERS:
        raise TraceError(f"there is no trace format {name!r}; those that are read: {', '.join(READERS)}")
    return READERS[name](path, choices or Choices())


def write(name: str, workload: Workload, path: pathlib.Path) -> int:
    """Write the workload in the named format; the number of rows or invocations. Raises TraceError as `read` does, and
    where the files can't be written."""
    if name not in WRITERS:
        raise TraceError(f"there is no trace format {name!r} to write; those that are written: {', '.join(WRITERS)}")
    try:
        return WRITERS[name](workload, path)
    except OSError as error:
        raise TraceError(f"{path} can't be written: {error.strerror}") from error

"""◆ Azure Functions 2019: for each day a file of invocations per minute, one of durations, one of memory, joined here.

    invocations_per_function_md.anon.dNN.csv     HashOwner,HashApp,HashFunction,Trigger,1..1440
    function_durations_percentiles.anon.dNN.csv  HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,
                                                 percentile_Average_{0,1,25,50,75,99,100}    (ms)
    app_memory_percentiles.anon.dNN.csv          HashOwner,HashApp,SampleCount,AverageAllocatedMb,...

The first read day begins at instant 0. A function's durations are those of the day on which it was counted most, and
its memory the app's average (what one worker of the app holds) of the day with most samples.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import msgspec
import numpy as np

from sim.traces.chance import Whole
from sim.traces.report import CleaningReport
from sim.traces.rows import TraceError, batches, cells_of, files_of, number, text_rows
from sim.traces.spool import Spool
from sim.traces.spread import QUANTILES
from sim.traces.trace import COUNT_MAX, Choices, Trace, TraceFunction
from sim.workload import DRAWN

MINUTES = 1440
MINUTE_NS = 60 * 1_000_000_000
INVOCATIONS = "invocations_per_function_md.anon.d*.csv"
DURATIONS = "function_durations_percentiles.anon.d{day}.csv"
MEMORY = "app_memory_percentiles.anon.d{day}.csv"
HEADER = ["HashOwner", "HashApp", "HashFunction", "Trigger"]
DURATION_COLUMNS = ["HashOwner", "HashApp", "HashFunction", "Count", "Average"] + [
    f"percentile_Average_{percent}" for percent in QUANTILES
]
MEMORY_COLUMNS = ["HashOwner", "HashApp", "SampleCount", "AverageAllocatedMb"]
_DAY = re.compile(r"\.d(\d+)\.csv")
_MEMORY_MB_MAX = 1 << 20
_COUNT_MAX = 1e15
_DURATION_MS_MAX = 1e10


class _Measured(msgspec.Struct, gc=False):
    """What was seen of a function or an app on its best day."""

    count: float
    values: tuple[int, ...]


Best = dict[tuple[str, ...], _Measured]


def read(directory: pathlib.Path, days: range | None = None, choices: Choices | None = None) -> Trace:
    """The days in the directory (or those of `days`, numbered from 1), `.csv` or `.csv.gz`.

    Mended: a function twice in a day (both counted), a changed trigger (the later one, unless `others`), percentiles
    out of order (sorted), a function without durations (drawn from the node's own), an app without memory, a count
    above COUNT_MAX. Dropped: rows of other length, counts that are none. A file of durations or memory may be missing.
    """
    choices = choices or Choices()
    report = CleaningReport()
    files = [path for path in files_of(directory, INVOCATIONS) if days is None or _day(path) in days]
    if not files:
        raise TraceError(f"{directory} has no day of {days}")
    durations: Best = {}
    memory: Best = {}
    for path in files:
        _durations(path, durations, report)
        _memory(path, memory, report)
    spool = Spool()
    triggers: dict[tuple[str, str, str], str] = {}
    try:
        for path in files:
            _invocations(path, (_day(path) - _day(files[0])) * MINUTES, triggers, spool, report)
    except BaseException:
        spool.close()
        raise
    return _joined(triggers, durations, memory, spool, report, choices)


def _joined(
    triggers: dict[tuple[str, str, str], str],
    durations: Best,
    memory: Best,
    spool: Spool,
    report: CleaningReport,
    choices: Choices,
) -> Trace:
    quantiles_ns = np.full((len(triggers), len(QUANTILES)), DRAWN, np.int64)
    functions: list[TraceFunction] = []
    for at, (key, trigger) in enumerate(triggers.items()):
        name = "/".join(key)
        if key in durations:
            quantiles_ns[at] = durations[key].values
        else:
            report.mend("function without durations", name)
        if key[:2] in memory:
            memory_mb = memory[key[:2]].values[0]
        else:
            memory_mb = choices.memory_mb
            report.mend("function of an app without memory", name)
        functions.append(TraceFunction(name=name, memory_mb=memory_mb, trigger=trigger))
    return Trace(tuple(functions), spool, report, choices, width_ns=MINUTE_NS, quantiles_ns=quantiles_ns)


def _day(path: pathlib.Path) -> int:
    return int(_day_text(path))


def _day_text(path: pathlib.Path) -> str:
    found = _DAY.search(path.name)
    if not found:
        raise TraceError(f"{path} tells no day: its name should end in .dNN.csv")
    return found[1]


def _beside(path: pathlib.Path, pattern: str) -> Iterator[pathlib.Path]:
    name = pattern.format(day=_day_text(path))
    yield from (beside for ending in ("", ".gz") if (beside := path.parent / f"{name}{ending}").exists())


def _durations(invocations: pathlib.Path, best: Best, report: CleaningReport) -> None:
    for path in _beside(invocations, DURATIONS):
        for first, rows, places in batches(path, DURATION_COLUMNS):
            report.rows += len(rows)
            for at, row in enumerate(rows, first):
                place = f"{path.name}:{at}"
                cells = [row[column] for column in places] if len(row) > max(places) else []
                numbers = [number(cell, _DURATION_MS_MAX) for cell in cells[5:]]
                count = number(cells[3], _COUNT_MAX) if cells else None
                known = [value for value in numbers if value is not None]
                if count is None or len(known) < len(QUANTILES):
                    report.drop("durations that are no numbers", place)
                    continue
                if known != sorted(known):
                    report.mend("percentiles out of order", place)
                _keep_best(best, tuple(cells[:3]), count, tuple(round(value * 1e6) for value in sorted(known)))


def _memory(invocations: pathlib.Path, best: Best, report: CleaningReport) -> None:
    for path in _beside(invocations, MEMORY):
        for first, rows, places in batches(path, MEMORY_COLUMNS):
            report.rows += len(rows)
            for at, row in enumerate(rows, first):
                cells = [row[column] for column in places] if len(row) > max(places) else []
                samples = number(cells[2], _COUNT_MAX) if cells else None
                megabytes = number(cells[3], _MEMORY_MB_MAX) if cells else None
                if samples is None or not megabytes:
                    report.drop("memory that is no number", f"{path.name}:{at}")
                    continue
                _keep_best(best, tuple(cells[:2]), samples, (max(1, round(megabytes)),))


def _keep_best(best: Best, key: tuple[str, ...], count: float, values: tuple[int, ...]) -> None:
    held = best.get(key)
    if held is None or count > held.count:
        best[key] = _Measured(count, values)


def _invocations(
    path: pathlib.Path,
    first_minute: int,
    triggers: dict[tuple[str, str, str], str],
    spool: Spool,
    report: CleaningReport,
) -> None:
    ids = {key: at for at, key in enumerate(triggers)}
    today: set[int] = set()
    rows = text_rows(path)
    header = cells_of(next(rows, (1, ""))[1])
    if header[:4] != HEADER or len(header) != 4 + MINUTES:
        raise TraceError(f"{path} is no file of invocations per minute: its header is {','.join(header[:6])}...")
    for at, line in rows:
        report.rows += 1
        place = f"{path.name}:{at}"
        cells = cells_of(line, 4)
        counts = _counts(cells, report, place)
        if counts is None:
            continue
        minutes = np.flatnonzero(counts)
        key = (cells[0], cells[1], cells[2])
        function = ids.setdefault(key, len(ids))
        if function in today:
            report.mend("a function twice in a day", place)
        today.add(function)
        _note_trigger(triggers, key, cells[3], report, place)
        spool.add(
            (minutes + first_minute) * MINUTE_NS,
            np.full(len(minutes), function, np.int64),
            counts[minutes],
            np.full(len(minutes), DRAWN, np.int64),
        )


def _counts(cells: list[str], report: CleaningReport, place: str) -> Whole | None:
    """The minutes' counts that follow the row's four ids; None, and a note, where they are no such thing."""
    if len(cells) < 5:
        report.drop("not 1444 columns", place)
        return None
    try:
        counts = np.fromstring(",".join(cells[4:]), np.int64, sep=",")
    except ValueError:
        report.drop("a count that is no whole number", place)
        return None
    if len(counts) != MINUTES:
        report.drop("not 1444 columns", place)
        return None
    if counts.min() < 0:
        report.drop("a count below 0", place)
        return None
    if counts.max() > COUNT_MAX:
        report.mend("a count above the most that a minute may have", place)
        return np.minimum(counts, COUNT_MAX)
    return counts


def _note_trigger(
    triggers: dict[tuple[str, str, str], str],
    key: tuple[str, str, str],
    trigger: str,
    report: CleaningReport,
    place: str,
) -> None:
    known = triggers.setdefault(key, trigger)
    if known != trigger:
        report.mend("a changed trigger", place)
        if trigger != "others":
            triggers[key] = trigger

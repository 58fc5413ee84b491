"""◆ `sim capacity`: how much is enough?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from cyclopts import Parameter

from invoker.commands.exit_codes import ExitCode
from sim.commands import present
from sim.commands.effort import Effort, seeds_from, value, with_interval
from sim.commands.given import Given
from sim.commands.present import JsonFlag
from sim.errors import SimulationError
from sim.planning.capacity import SOME_SEEDS

if TYPE_CHECKING:
    from sim.planning import Capacity, Probe, Target

_DEFAULT, _EFFORT = Given(), Effort()
_WRITERS: Final = {".parquet": "to_parquet", ".csv": "to_csv"}
_VERDICTS: Final = {"met": "yes", "missed": "no", "unclear": "can't be told"}


def capacity(
    scenario: Path | None = None,
    /,
    *,
    target: Annotated[tuple[str, ...], Parameter(negative_iterable="")],
    parameter: str = "policy.memory",
    between: str = "1GB..64GB",
    step: str = "",
    largest: bool = False,
    seeds: int = 8,
    out: Path | None = None,
    given: Given = _DEFAULT,
    effort: Effort = _EFFORT,
    json: JsonFlag = False,
) -> int:
    """Find the smallest memory, or whatever, that is enough for what is wanted; tell what was tried, with intervals.

    A value is enough where the 99 % interval of every target's figure is. The exit code is 1 where none is.

    Parameters
    ----------
    scenario
        A scenario's file: .yaml, .toml or .json (docs/scenarios.md).
    target
        What is wanted, as "cold_share<=1%" or "p99_ms<=250"; may be repeated, and then all must hold.
    parameter
        The setting that is searched.
    between
        The range to search, as 1GB..64GB or 1..32.
    step
        Its step; a 128th of the range or so where it is not given.
    largest
        Find the largest value that will do, of a setting of which less is better, as workload.load.
    seeds
        How many seeds a value at the edge gets, from the scenario's own on; 3 at least.
    out
        File for a table of what was tried, .parquet or .csv.
    given
        Settings for all.
    effort
        Who computes.
    json
        Print the answer as JSON.
    """
    from sim.planning import capacity as search
    from sim.planning import parse_range, parse_targets

    asked = given.scenario(scenario)
    searched = parse_range(parameter, between, step, largest=largest)
    targets = parse_targets(target)
    if out is not None and out.suffix not in _WRITERS:
        raise SimulationError(f"{out}: a table's name ends in {' or '.join(_WRITERS)}")

    def told(probe: Probe) -> None:
        under = f"{probe.seeds} seed{'s' if probe.seeds > 1 else ''}"
        present.tell(f"tried {searched.named(probe.value)}, {under}: {_means(probe, targets)}")

    with effort.workers(effort.measure(asked)) as workers:
        found = search(workers, searched, targets, seeds_from(asked.seed, seeds), told=told)
    if out is not None:
        _write(found, out)
    if json:
        present.say_json(_facts(asked.settings, found))
    else:
        for line in _lines(found):
            present.say(line)
    if found.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if found.answer is not None else ExitCode.APPLICATION_ERROR


def _means(probe: Probe, targets: Sequence[Target]) -> str:
    told = zip(targets, probe.intervals, strict=True)
    return ", ".join(f"{target.figure} {value(target.figure, each.mean)}" for target, each in told)


def _lines(found: Capacity) -> Iterator[str]:
    searched, answer = found.range, found.answer
    bounds = [f"{each.figure} {each.relation} {value(each.figure, each.bound)}" for each in found.targets]
    wanted = " and ".join(bounds)
    if answer is not None:
        which = "largest" if searched.largest else "smallest"
        yield f"{searched.named(answer.value)} is the {which} {searched.parameter} with {wanted}."
    elif found.interrupted:
        yield f"Stopped before it was found which {searched.parameter} has {wanted}."
    else:
        ends = f"{searched.named(searched.low)} to {searched.named(searched.high)}"
        yield f"No {searched.parameter} from {ends} surely has {wanted}."
    yield ""
    rows = [[searched.named(probe.value), str(probe.seeds), *_figures(found, probe)] for probe in found.probes]
    heads = [searched.parameter, "seeds", *(target.figure for target in found.targets), "enough?"]
    yield from present.table(heads, rows)
    yield ""
    yield f"Means of {found.runs} runs, with 99 % intervals near the answer; what is far from it got fewer seeds."
    yield from (f"Note: {note}." for note in found.notes)


def _figures(found: Capacity, probe: Probe) -> Iterator[str]:
    """The cells of a probe: each target's figure, and whether that is enough."""
    near = probe.seeds >= SOME_SEEDS
    for target, of in zip(found.targets, probe.intervals, strict=True):
        yield with_interval(target.figure, of.mean, of.low if near else nan, of.high if near else nan)
    if near:
        yield _VERDICTS[probe.verdict] + (", the answer" if probe is found.answer else "")
    else:
        yield "yes" if probe.holds(found.targets) else "no"


def _facts(scenario: dict[str, Any], found: Capacity) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "parameter": found.range.parameter,
        "unit": found.range.unit,
        "targets": [str(target) for target in found.targets],
        "answer": found.answer.value if found.answer is not None else None,
        "runs": found.runs,
        "notes": found.notes,
        "interrupted": found.interrupted,
        "tried": cast("list[dict[str, Any]]", found.frame().to_dict("records")),
    }


def _write(found: Capacity, path: Path) -> None:
    try:
        getattr(found.frame(), _WRITERS[path.suffix])(path, index=False)
    except OSError as problem:
        raise SimulationError(f"{path}: can't be written: {problem.strerror}") from problem

"""◆ `sim sweep`: a scenario under every combination of some settings, and several seeds."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from cyclopts import Parameter

from invoker.commands.exit_codes import ExitCode
from sim.commands import present
from sim.commands.effort import Effort, chosen, counted, seeds_from, with_interval
from sim.commands.given import Given
from sim.commands.present import JsonFlag

if TYPE_CHECKING:
    import pandas as pd

    from sim.planning import Sweep

_DEFAULT, _EFFORT = Given(), Effort()
_FIGURES: Final = ("cold_share", "refused_share", "mean_ms", "p99_ms", "mean_memory_mb")
_ROWS_MAX: Final = 60
"""More configurations than this are not printed, only written."""


def sweep(
    scenario: Path | None = None,
    /,
    *,
    grid: Annotated[tuple[str, ...], Parameter(negative_iterable="")] = (),
    seeds: int = 5,
    out: Path | None = None,
    figures: str = ",".join(_FIGURES),
    given: Given = _DEFAULT,
    effort: Effort = _EFFORT,
    json: JsonFlag = False,
) -> int:
    """Run a scenario under every combination of some settings, and several seeds; tell the means with 99 % intervals.

    All combinations see the same seeds. With --out, Ctrl-C keeps what is done, and the same command goes on from there.

    Parameters
    ----------
    scenario
        A scenario's file: .yaml, .toml or .json (docs/scenarios.md).
    grid
        A setting and its values, as policy.memory=4GB,8GB,16GB or node.cpus=1..4; once for each setting.
    seeds
        How many seeds each combination gets, from the scenario's own on; 5 or more make useful intervals.
    out
        Directory for the tables: runs and means, as parquet and CSV (docs/planning.md); and for what is done so far.
    figures
        Which figures are printed; all are written.
    given
        Settings for all.
    effort
        Who computes.
    json
        Print the means as JSON.
    """
    from sim.planning import parse_grid
    from sim.planning import sweep as run_sweep
    from sim.planning.grid import configurations
    from sim.planning.journal import Journal

    asked = given.scenario(scenario)
    values = parse_grid(grid)
    wanted = seeds_from(asked.seed, seeds)
    measure = effort.measure(asked)
    with ExitStack() as opened:
        journal = opened.enter_context(Journal(out / "journal.jsonl", measure)) if out is not None else None
        if journal is not None and journal.strangers:
            present.tell(
                f"{journal.strangers:,} runs in {out} are of another scenario or version, and don't count here"
            )
        workers = opened.enter_context(effort.workers(measure))
        with counted(len(configurations(values)) * len(wanted)) as told:
            found = run_sweep(workers, values, wanted, journal=journal, told=told)
    means = found.means()
    if json:
        present.say_json(_facts(asked.settings, found, means))
    else:
        for line in _lines(found, means, chosen(figures, _FIGURES)):
            present.say(line)
    if out is not None:
        files = ", ".join(path.name for path in found.write(out))
        reused = f" ({found.reused:,} of the runs were there before)" if found.reused else ""
        present.tell(f"written to {out}: {files}{reused}")
    if found.interrupted:
        present.tell(f"stopped with {len(found.outcomes):,} of {found.size:,} runs{_how_to_go_on(out)}")
        return ExitCode.INTERRUPTED
    return ExitCode.APPLICATION_ERROR if found.failures else ExitCode.OK


def _how_to_go_on(out: Path | None) -> str:
    return "; with --out they would be kept" if out is None else "; the same command goes on from there"


def _facts(scenario: dict[str, Any], found: Sweep, means: pd.DataFrame) -> dict[str, Any]:
    failures = [{"run": each.task.name, "failure": each.failure} for each in found.failures]
    return {
        "scenario": scenario,
        "seeds": found.seeds,
        "interrupted": found.interrupted,
        "failures": failures,
        "means": cast("list[dict[str, Any]]", means.to_dict("records")),
    }


def _lines(found: Sweep, means: pd.DataFrame, figures: list[str]) -> list[str]:
    from sim.planning.targets import check_known

    if not len(means):
        return ["There is no run to tell of."]
    check_known(figures, [name for name in means.columns if f"{name}_low" in means.columns])
    rows = [
        [*(str(row[path]) for path in found.paths), str(row["seeds"])]
        + [with_interval(name, row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in figures]
        for row in cast("list[dict[str, Any]]", means.head(_ROWS_MAX).to_dict("records"))
    ]
    lines = present.table([*found.paths, "seeds", *figures], rows, left=len(found.paths))
    if len(means) > _ROWS_MAX:
        lines.append(f"... and {len(means) - _ROWS_MAX:,} more, which --out writes")
    return [*lines, "", "Means over the seeds, with 99 % intervals where there is more than one seed."]

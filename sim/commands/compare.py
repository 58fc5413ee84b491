"""◆ `sim compare`: policies, or any settings, side by side on the same luck."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from invoker.commands.exit_codes import ExitCode
from sim.commands import present
from sim.commands.effort import Effort, chosen, counted, seeds_from, value, with_interval
from sim.commands.given import Given
from sim.commands.present import JsonFlag
from sim.errors import SimulationError
from sim.planning.task import shown

if TYPE_CHECKING:
    from sim.planning import Comparison, Difference, Sweep
    from sim.planning.task import Settings
    from sim.scenario import Scenario

_DEFAULT, _EFFORT = Given(), Effort()


def compare(
    scenario: Path | None = None,
    /,
    *,
    vary: str = "",
    seeds: int = 10,
    figures: str = "",
    oracle_figure: str = "cold_share",
    out: Path | None = None,
    given: Given = _DEFAULT,
    effort: Effort = _EFFORT,
    json: JsonFlag = False,
) -> int:
    """Run a scenario under several policies, or other settings, on the same seeds; tell how they differ from the first.

    Differences are paired, seed by seed, with 99 % intervals. Where `oracle` is among the policies, it is told which
    part of its gain each has: the oracle knows the future. With --out, Ctrl-C keeps what is done.

    Parameters
    ----------
    scenario
        A scenario's file: .yaml, .toml or .json (docs/scenarios.md).
    vary
        A setting and its values, the first to be held against, as policy.pausing.grace="10 s,50 ms".
    seeds
        How many seeds, from the scenario's own on.
    figures
        Which figures are compared, as cold_share,p99_ms.
    oracle_figure
        Of which figure's gain the oracle's share is told.
    out
        Directory for the tables: runs, means and differences, as parquet and CSV; and for what is done so far.
    given
        Settings for all; without --vary, --keep-alive names the policies to compare: lru-ttl,greedy-dual,oracle.
    effort
        Who computes.
    json
        Print the differences as JSON.
    """
    from sim.planning import compare as held_against
    from sim.planning import sweep
    from sim.planning.compare import FIGURES
    from sim.planning.journal import Journal

    names = given.keep_alive if not vary else None
    asked = (given if names is None else replace(given, keep_alive=None)).scenario(scenario)
    variants = _variants(asked, names, vary)
    wanted = seeds_from(asked.seed, seeds)
    measure = effort.measure(asked)
    with ExitStack() as opened:
        journal = opened.enter_context(Journal(out / "journal.jsonl", measure)) if out is not None else None
        workers = opened.enter_context(effort.workers(measure))
        with counted(len(variants) * len(wanted)) as told:
            found = sweep(workers, [settings for _, settings in variants], wanted, journal=journal, told=told)
    if out is not None:
        found.write(out)
    if found.interrupted:
        present.tell(f"stopped with {len(found.outcomes)} of {found.size} runs")
        if not found.whole_seeds:
            return ExitCode.INTERRUPTED
    compared = held_against(found, [name for name, _ in variants], chosen(figures, FIGURES), oracle_figure)
    if out is not None:
        compared.write(out)
    if json:
        present.say_json(_facts(asked.settings, found, compared))
    else:
        for line in _lines(compared):
            present.say(line)
    if found.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.APPLICATION_ERROR if found.failures else ExitCode.OK


def _variants(scenario: Scenario, names: str | None, vary: str) -> list[tuple[str, Settings]]:
    from sim.planning import keep_alive_variants, parse_grid

    if vary:
        grid = parse_grid([vary])
        made: list[tuple[str, Settings]] = [
            (shown(each), ((path, each),)) for path, values in grid.items() for each in values
        ]
    elif names is not None:
        own = str(scenario.policy.keep_alive.__struct_config__.tag)
        made = keep_alive_variants([name.strip() for name in names.split(",")], own)
    else:
        made = []
    if len(made) < 2:
        raise SimulationError("name two at least: --keep-alive lru-ttl,greedy-dual, or --vary SETTING=VALUE,VALUE")
    for _, settings in made:
        scenario.altered(dict(settings))  # what can't be is told before anything runs
    return made


def _lines(compared: Comparison) -> Iterator[str]:
    first, many = compared.variants[0], compared.seeds > 1
    figures = list(dict.fromkeys(each.figure for each in compared.differences))
    for figure in figures:
        of = [each for each in compared.differences if each.figure == figure]
        rows = [[first, value(figure, of[0].first), "", "", ""]]
        rows += [[each.variant, value(figure, each.mean), *_told(each), ""] for each in of]
        head = [figure, "mean", f"against {first}", "", ""]
        if figure == compared.oracle_figure and compared.oracle_share:
            head[-1] = "of the oracle's gain"
            for row in rows:
                share = compared.oracle_share[row[0]]
                row[-1] = with_interval("of_it_share", share.mean, share.low, share.high)
        yield from present.table(head, rows)
        yield ""
    if not many:
        yield "One seed: nothing can be said about what is luck. Give --seeds 10."
        return
    yield f"{compared.seeds} seeds, the same for all; differences are paired, with 99 % intervals. `no difference"
    yield "seen` means that the interval has 0 in it: there may be one that is smaller than the interval."
    if "oracle" in compared.variants and not compared.oracle_share:
        yield f"The oracle gains nothing in {compared.oracle_figure} that could be seen, so there are no shares of it."


def _told(of: Difference) -> list[str]:
    """The difference, and what to make of it."""
    less_or_more = of.mean - of.first
    sign = "+" if less_or_more > 0 else "-" if less_or_more < 0 else ""
    interval = of.interval
    half = (interval.high - interval.low) / 2 if interval else float("nan")
    size = abs(less_or_more)
    return [sign + with_interval(of.figure, size, size - half, size + half), of.outlook if interval else ""]


def _facts(scenario: dict[str, Any], found: Sweep, compared: Comparison) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "variants": compared.variants,
        "seeds": compared.seeds,
        "interrupted": found.interrupted,
        "failures": [{"run": each.task.name, "failure": each.failure} for each in found.failures],
        "differences": cast("list[dict[str, Any]]", compared.frame().to_dict("records")),
        "oracle_figure": compared.oracle_figure,
        "oracle_share": {
            name: {"mean": each.mean, "low": each.low, "high": each.high}
            for name, each in compared.oracle_share.items()
        },
    }

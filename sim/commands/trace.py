"""◆ `sim trace`: traces described, cleaned, converted, and made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cyclopts import App, Group, Parameter

from invoker.commands.exit_codes import ExitCode
from sim import Workload
from sim.commands import present
from sim.commands.given import Given
from sim.commands.present import JsonFlag
from sim.errors import SimulationError
from sim.scenario import Scenario, of_settings

if TYPE_CHECKING:
    from sim.description import Description, Quantiles

app = App(name="trace", help="Describe, clean, convert and generate traces.", help_format="plaintext")

_CHOICES: Final = Group("What a trace doesn't tell, and how much of it is taken", sort_key=1)
_UNWRITABLE: Final = {"decisions": "a log is written by the invoker alone", "huawei2025-cold": "it is of cold starts"}


@Parameter(name="*", group=_CHOICES)
@dataclass(frozen=True)
class Taken:
    """How a trace is read, and which part of it."""

    spread: str | None = None
    """Where in its minute an invocation lies: uniform, even or start (docs/traces.md)."""
    memory: str | None = None
    """The memory of functions whose trace tells none, as "256 MB"."""
    seed: int | None = None
    """Of what the reader must draw."""
    busiest: int | None = None
    """Only so many functions, those with most invocations."""
    faster: float | None = None
    """Time runs at this factor; runs last as long as before."""
    head: str | None = None
    """Only the beginning, as "2 h"."""

    def scenario(self, source: str) -> Scenario:
        """A scenario whose workload is the source: a scenario's file, or `FORMAT:PATH`. Raises ScenarioError."""
        form, colon, path = source.partition(":")
        given: dict[str, Any] = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name))}
        if self.seed is not None:
            given["seed"] = self.seed
        if Path(source).suffix in (".yaml", ".yml", ".toml", ".json") and Path(source).exists():
            changes = {f"workload.{name}": value for name, value in given.items() if name != "seed"}
            return Given(seed=self.seed).scenario(Path(source)).altered(changes)
        if not colon or not path:
            raise SimulationError(
                f"{source}: write a trace as FORMAT:PATH, as azure2021:trace.csv, or a scenario's file"
            )
        workload = {"type": "trace", "format": form, "path": str(Path(path).absolute()), **given}
        return of_settings({"workload": workload, "policy": {"memory": "1 GB"}}, source)


_ALL: Final = Taken()


@app.command
def describe(source: str, /, *, taken: Taken = _ALL, json: JsonFlag = False) -> int:
    """Tell what a trace, or a scenario's workload, is like: rates, popularity, durations, memory, the day, the gaps.

    Parameters
    ----------
    source
        FORMAT:PATH, as azure2021:trace.csv (docs/traces.md lists the formats), or a scenario's file.
    taken
        How it is read.
    json
        Print the figures, and what the reader changed, as JSON.
    """
    from sim.description import describe as described
    from sim.scenario.views import Watched

    scenario = taken.scenario(source)
    workload, report = scenario.read()
    with present.watch("read", scenario.workload.length_s) as watch:
        found = described(Watched(workload, watch.passed))
    if json:
        cleaning = None if report is None else {"kept": report.kept, **msgspec.structs.asdict(report)}
        present.say_json({**msgspec.structs.asdict(found), "cleaning": cleaning})
    else:
        for line in _lines(found):
            present.say(line)
        if report is not None:
            present.say(f"\n{report.text()}")
    return _code(watch)


@app.command
def clean(source: str, target: str | None = None, /, *, taken: Taken = _ALL, json: JsonFlag = False) -> int:
    """Tell what is wrong with a trace; with a target, write it again without that.

    Parameters
    ----------
    source
        FORMAT:PATH, as azure2021:trace.csv.
    target
        Where to: a path (the format stays), or FORMAT:PATH.
    taken
        How it is read.
    json
        Print the report as JSON.
    """
    scenario = taken.scenario(source)
    workload, report = scenario.read()
    if report is None:
        raise SimulationError(f"{source}: is a workload that is made, and has nothing to be cleaned")
    if json:
        present.say_json({"kept": report.kept, **msgspec.structs.asdict(report)})
    else:
        present.say(report.text())
    if target is None:
        return ExitCode.OK
    return _written(scenario, workload, target if ":" in target else f"{source.partition(':')[0]}:{target}")


@app.command
def convert(source: str, target: str, /, *, taken: Taken = _ALL) -> int:
    """Write a trace in another format, or a part of it in the same. What the other can't hold is lost.

    Parameters
    ----------
    source
        FORMAT:PATH, as decisions:logs/run-1-1.log.
    target
        FORMAT:PATH, as azure2021:mine.csv.
    taken
        How it is read, and which part.
    """
    scenario = taken.scenario(source)
    workload, report = scenario.read()
    if report is not None:
        present.tell(report.text())
    return _written(scenario, workload, target)


@app.command
def generate(target: str, scenario: Path | None = None, /, *, given: Given | None = None) -> int:
    """Write a generated workload as a trace: an Azure-like hour, or what a scenario or the options say.

    Parameters
    ----------
    target
        FORMAT:PATH, as azure2021:made.csv.
    scenario
        A scenario's file, whose workload is written.
    given
        Settings of the workload.
    """
    from sim.scenario.views import Told

    asked = (given or Given()).scenario(scenario)
    return _written(asked, Told(asked.build(), asked.node, asked.seed), target)


def _written(scenario: Scenario, workload: Workload, target: str) -> int:
    from sim.scenario.views import Watched
    from sim.traces import formats

    form, colon, path = target.partition(":")
    if not colon or not path:
        raise SimulationError(f"{target}: write where to as FORMAT:PATH, as azure2021:{target}")
    if form in _UNWRITABLE:
        raise SimulationError(f"{form} can't be written: {_UNWRITABLE[form]}; there are {', '.join(formats.WRITERS)}")
    with present.watch("written", scenario.workload.length_s) as watch:
        rows = formats.write(form, Watched(workload, watch.passed), Path(path))
    present.tell(f"{rows:,} rows or invocations written to {path}")
    return _code(watch)


def _code(watch: present.Watch) -> ExitCode:
    if watch.cut_short_ns is None:
        return ExitCode.OK
    present.tell(f"cut short at {present.span(watch.cut_short_ns / 1e6)}")
    return ExitCode.INTERRUPTED


def _lines(found: Description) -> Iterator[str]:
    span_words = present.span(found.length_s * 1e3)
    yield (
        f"{found.functions:,} functions, {found.called:,} of them called; {found.invocations:,} invocations "
        f"in {span_words}, {found.rate_per_s:,.3g} a second"
    )
    if not found.invocations:
        return
    busiest = [f"{int(size):,}: {present.share(part)}" for size, part in found.busiest_share.items()]
    yield f"of the invocations, those of the busiest functions: {', '.join(busiest) or 'all of one'}"
    yield ""
    rows = [
        _row(
            "invocations of a function",
            found.invocations_of_function,
            lambda number: f"{number:,.{0 if number >= 100 else 1}f}",
        ),
        _row("run", found.run_ms, present.span),
        _row("memory of a function", found.memory_mb, present.memory),
        _row("variation of its gaps", found.gap_cv, lambda number: f"{number:.2f}"),
    ]
    yield from present.table(["", "10 %", "half", "90 %", "99 %", "mean", "largest"], [row for row in rows if row])
    if found.drawn_share:
        yield f"runs that the simulated node draws: {present.share(found.drawn_share)}"
    if found.triggers:
        yield ""
        table = [
            [trigger, present.share(of_functions), present.share(of_invocations)]
            for trigger, (of_functions, of_invocations) in found.triggers.items()
        ]
        yield from present.table(["trigger", "of functions", "of invocations"], table)
    if found.hour_share:
        yield ""
        yield from _day(found)


def _row(name: str, quantiles: Quantiles, words: Callable[[float], str]) -> list[str]:
    return [name, *(words(value) for value in quantiles.values())] if quantiles else []


_BARS: Final = " ▁▂▃▄▅▆▇█"


def _day(found: Description) -> Iterator[str]:
    """The day in a line of bars, an hour each."""
    top = max(found.hour_share)
    bars = "".join(_BARS[round(8 * part / top)] for part in found.hour_share)
    swing = "" if found.swing is None else f", {found.swing:.2f} times the quietest"
    yield f"the day   {bars}  busiest hour {found.hour_share.index(top)}:00{swing}"

"""◆ `sim run`: simulate a scenario, and tell what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from invoker.commands.exit_codes import ExitCode
from sim import Result, frames, kept
from sim.commands import present
from sim.commands.given import Given
from sim.commands.outcome import outcome
from sim.commands.present import JsonFlag
from sim.scenario import Scenario

_SAMPLE_NS = 1_000_000_000
_DEFAULT = Given()


def run(
    scenario: Path | None = None,
    /,
    *,
    given: Given = _DEFAULT,
    out: Path | None = None,
    streaming: bool = False,
    decision_log: Annotated[Path | None, Parameter(show_default=False)] = None,
    json: JsonFlag = False,
) -> int:
    """Simulate a scenario, and tell what came of it.

    Without a scenario's file, 200 functions of an Azure-like cloud call for an hour; options alter either. Ctrl-C ends
    the arrivals, finishes what is under way, and tells and keeps what there is; once more ends it without.

    Parameters
    ----------
    scenario
        A scenario's file: .yaml, .toml or .json (docs/scenarios.md).
    given
        Settings.
    out
        Directory for the result: parquet files of invocations, functions, figures and memory over time.
    streaming
        Keep sums instead of a row for each invocation: for runs of any length. Quantiles are then right to 3 %.
    decision_log
        Write what was decided to this file, as the invoker does: for `invoker replay` and `sim replay`.
    json
        Print the figures as JSON.
    """
    asked = given.scenario(scenario)
    options: dict[str, Any] = {"streaming": streaming, "decision_log": decision_log}
    if out is not None and asked.cluster is None:
        options["sample_every_ns"] = _SAMPLE_NS
    began_s = time.perf_counter()
    result, cut_short_ns = _simulated(asked, options)
    took_s = time.perf_counter() - began_s
    if json:
        facts = kept.facts(result, cut_short_ns)
        told = {"scenario": asked.settings, "summary": frames.summary(result), **msgspec.structs.asdict(facts)}
        present.say_json(told)
    else:
        for line in outcome(asked, result, cut_short_ns):
            present.say(line)
    present.tell(f"simulated in {present.span(took_s * 1e3)}: {result.invocations / took_s:,.0f} invocations a second")
    if out is not None:
        present.tell(f"kept in {out}: {', '.join(kept.write(out, asked, result, cut_short_ns))}")
    return ExitCode.OK if cut_short_ns is None else ExitCode.INTERRUPTED


def _simulated(scenario: Scenario, options: dict[str, Any]) -> tuple[Result, int | None]:
    """The result, and the simulated instant at which Ctrl-C ended it."""
    workload, report = scenario.read()
    if report is not None and (report.mended or report.dropped):
        present.tell(f"{report.text().splitlines()[0]}; `sim trace clean` tells why")
    with present.watch("simulated", scenario.workload.length_s) as watch:
        result = scenario.simulate(workload=workload, passed=watch.passed, **options)
    return result, watch.cut_short_ns

"""◇ What a report knows of one simulation, wherever it comes from: a result in hand, or files of one that was kept."""

# Matplotlib's and pandas' own types leave much open, which would be reported at nearly every line here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from invoker.policy import PolicySet
from sim import frames, kept
from sim.errors import SimulationError
from sim.report.style import span_words
from sim.result import Result
from sim.timeline import STATES

SAMPLES_MAX: Final = 600
"""More than a picture can show."""


@dataclass(frozen=True)
class Run:
    """One simulation. `label` tells it from those it is compared with, `policy` its policies in words.

    `invocations` and `summary` are those of `sim.frames`; `capacity_mb` is of all nodes; `samples` has a row for
    each sample of the timeline (`at_ns`, `waiting`, and the memory in MB in each of `sim.timeline.STATES`), None where
    nothing was sampled. `made_by` says what makes it again: seed, versions, decision hash; `note` what is to be known
    before the rest.
    """

    label: str
    policy: str
    invocations: pd.DataFrame
    summary: dict[str, float]
    ended_ns: int
    capacity_mb: int
    samples: pd.DataFrame | None = None
    made_by: dict[str, str] = field(default_factory=dict[str, str])
    note: str = ""

    @property
    def sampled_every_ns(self) -> int:
        """The interval of the timeline; 0 where there is none."""
        return 0 if self.samples is None or len(self.samples) < 2 else int(self.samples["at_ns"].iloc[1])


def run_of(label: str, result: Result, cut_short_ns: int | None = None) -> Run:
    """A result in hand. Raises SimulationError where it kept no rows."""
    timeline = None if result.timeline is None else kept.timeline(result)
    facts = kept.facts(result, cut_short_ns)
    return _run(label, facts, frames.summary(result), frames.invocations(result), timeline)


def run_kept(label: str, found: kept.Kept) -> Run:
    """A result that was kept. Raises SimulationError where its rows were not."""
    return _run(label, found.facts, found.summary, found.invocations, found.timeline)


def _run(
    label: str,
    facts: kept.Facts,
    summary: dict[str, float],
    invocations: pd.DataFrame | None,
    timeline: pd.DataFrame | None,
) -> Run:
    if invocations is None:
        raise SimulationError(f"{label}: a report needs a row for each invocation: simulate without `streaming`")
    return Run(
        label,
        policy_words(facts.policy),
        invocations,
        summary,
        facts.ended_ns,
        _capacity_mb(facts.policy, summary),
        None if timeline is None else timeline.iloc[:: -(-len(timeline) // SAMPLES_MAX)],
        made_by(facts),
        "" if facts.cut_short_ns is None else f"It was cut short at {span_words(facts.cut_short_ns / 1e6)}.",
    )


def _capacity_mb(policy: PolicySet, summary: dict[str, float]) -> int:
    """That of all nodes, where there are several."""
    share = summary["memory_share"]
    return round(summary["mean_memory_mb"] / share) if share else policy.capacity_mb


def policy_words(policy: PolicySet) -> str:
    """The policies by name, with what was set otherwise than by default."""
    parts = [f"{policy.capacity_mb / 1024:g} GB"]
    if policy.accounting != "charged":
        parts.append("memory accounted as the reference system does")
    for what, chosen in (("keep-alive", policy.keep_alive), ("pausing", policy.pausing), ("queue", policy.queueing)):
        parts.append(f"{what} {_spec_words(chosen)}")
    return ", ".join(parts)


def _spec_words(spec: msgspec.Struct) -> str:
    set_otherwise = [
        f"{f.name.removesuffix('_ns')} {span_words(value / 1e6) if f.name.endswith('_ns') else value}"
        for f in msgspec.structs.fields(spec)
        if (value := getattr(spec, f.name)) != f.default
    ]
    name = str(spec.__struct_config__.tag)
    return f"{name} ({', '.join(set_otherwise)})" if set_otherwise else name


def made_by(facts: kept.Facts) -> dict[str, str]:
    """What a run can be made again with, and known again by."""
    return {
        "seed": str(facts.seed),
        "decision hash": facts.decision_hash or "not taken",
        "steps of the heart": f"{facts.steps:,}",
        "simulator": facts.simulator,
        "Python": facts.python,
    }


def memory_gb(samples: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Memory by state in GB, of the states that occur."""
    return {state: samples[state].to_numpy() / 1024 for state in STATES if samples[state].any()}

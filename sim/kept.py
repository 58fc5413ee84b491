"""◆ Results on disk: a directory with a result's frames as parquet, the scenario that made it, and what else is known.

Every column of the files says in its metadata what it is, beside docs/scenarios.md.
"""

from __future__ import annotations

import pathlib
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import msgspec

from invoker import __version__
from invoker.policy import PolicySet
from sim import frames
from sim.errors import SimulationError
from sim.result import Result
from sim.timeline import STATES

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario import Scenario

INVOCATIONS, FUNCTIONS, SUMMARY, TIMELINE = (
    f"{name}.parquet" for name in ("invocations", "functions", "summary", "timeline")
)
SCENARIO, FACTS = "scenario.yaml", "facts.json"
TIMELINE_COLUMNS: Final = {
    "at_ns": "int64: the sample's instant",
    "waiting": "int64: invocations that wait for memory or a container",
    **{state: f"int64: MB taken by containers in the state {state!r}" for state in STATES},
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a result is besides its frames. `cut_short_ns`: the instant at which somebody stopped it, None for a whole
    one: it is then as if the workload had ended there. `policy` is the one that ran, without an oracle's future."""

    seed: int
    policy: PolicySet
    decision_hash: str
    steps: int
    ended_ns: int
    cut_short_ns: int | None
    simulator: str
    python: str


@dataclass(frozen=True)
class Kept:
    """A result that was read back. `invocations` and `functions` are None where only sums were kept, `timeline` where
    nothing was sampled."""

    scenario: str
    facts: Facts
    summary: dict[str, float]
    invocations: pd.DataFrame | None
    functions: pd.DataFrame | None
    timeline: pd.DataFrame | None


def facts(result: Result, cut_short_ns: int | None = None) -> Facts:
    """Those of a result."""
    policy = result.policy
    if policy.keep_alive.__struct_config__.tag == "oracle":
        policy = msgspec.structs.replace(policy, keep_alive=type(policy.keep_alive)())
    return Facts(
        seed=result.seed,
        policy=policy,
        decision_hash=result.decision_hash,
        steps=result.steps,
        ended_ns=result.ended_ns,
        cut_short_ns=cut_short_ns,
        simulator=__version__,
        python=".".join(map(str, sys.version_info[:3])),
    )


def write(directory: pathlib.Path, scenario: Scenario, result: Result, cut_short_ns: int | None = None) -> list[str]:
    """Keep the result; the names of the files. Files of an older result there are replaced, or removed where this one
    has none such. Raises SimulationError where that can't be."""
    import pandas as pd

    summary = pd.DataFrame([frames.summary(result)])
    made: list[tuple[str, pd.DataFrame, dict[str, str]]] = [
        (SUMMARY, summary, frames.SUMMARY_FIGURES | frames.CLUSTER_FIGURES)
    ]
    if result.columns is not None:
        made.append((INVOCATIONS, frames.invocations(result), frames.INVOCATION_COLUMNS | frames.CLUSTER_COLUMNS))
        made.append((FUNCTIONS, frames.functions(result), frames.FUNCTION_COLUMNS))
    if result.timeline is not None:
        made.append((TIMELINE, timeline(result), TIMELINE_COLUMNS))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in (INVOCATIONS, FUNCTIONS, TIMELINE):
            (directory / name).unlink(missing_ok=True)
        for name, frame, columns in made:
            _parquet(directory / name, frame, columns)
        (directory / SCENARIO).write_text(scenario.as_yaml(), "utf-8")
        text = msgspec.json.format(msgspec.json.encode(facts(result, cut_short_ns)), indent=2)
        (directory / FACTS).write_bytes(text + b"\n")
    except OSError as error:
        raise SimulationError(f"{directory} can't be written: {error.strerror or error}") from error
    return [*(name for name, _, _ in made), SCENARIO, FACTS]


def read(directory: pathlib.Path) -> Kept:
    """A result that was kept. Raises SimulationError where the directory holds none."""
    import pandas as pd

    def frame(name: str) -> pd.DataFrame | None:
        return pd.read_parquet(directory / name) if (directory / name).exists() else None

    try:
        summary = pd.read_parquet(directory / SUMMARY).iloc[0].to_dict()
        return Kept(
            scenario=(directory / SCENARIO).read_text("utf-8"),
            facts=msgspec.json.decode((directory / FACTS).read_bytes(), type=Facts),
            summary={str(name): value for name, value in summary.items()},
            invocations=frame(INVOCATIONS),
            functions=frame(FUNCTIONS),
            timeline=frame(TIMELINE),
        )
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise SimulationError(f"{directory} holds no result of `sim run --out`: {error}") from error


def timeline(result: Result) -> pd.DataFrame:
    """A row for each sample of a result's timeline, with the columns TIMELINE_COLUMNS."""
    import numpy as np
    import pandas as pd

    line = result.timeline
    if line is None:
        raise SimulationError("there is no timeline: simulate with `sample_every_ns`")
    columns: dict[str, Any] = {"at_ns": line.at_ns, "waiting": line.waiting, **line.memory_mb}
    return pd.DataFrame({name: np.frombuffer(column, np.int64) for name, column in columns.items()})


def _parquet(path: pathlib.Path, frame: pd.DataFrame, columns: dict[str, str]) -> None:
    """Written so that an interrupted write leaves the name free."""
    pa: Any = import_module("pyarrow")  # it has no types
    parquet: Any = import_module("pyarrow.parquet")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    told = [field.with_metadata({"description": columns[field.name]}) for field in table.schema]
    table = table.cast(pa.schema(told, metadata=table.schema.metadata))
    unfinished = path.with_suffix(".unfinished")
    parquet.write_table(table, unfinished)
    unfinished.replace(path)

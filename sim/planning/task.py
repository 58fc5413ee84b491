"""◇ What is computed: settings and a seed in, figures by name out; what went wrong is an answer, too."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from hashlib import blake2b
from typing import Protocol, TypeAlias

import msgspec

from sim.errors import SimulationError

Setting: TypeAlias = str | int | float | bool | None
"""The value of one setting."""
Settings: TypeAlias = tuple[tuple[str, Setting], ...]
"""Dotted paths of a scenario, and their values, in the order in which they are set."""
Figures: TypeAlias = dict[str, int | float]
"""What came out, by name; units end names, shares run from 0 to 1."""


class Measure(Protocol):
    """Who answers: a scenario (`ScenarioMeasure`), or a callable of your own that can be pickled.

    Its `fingerprint`, where it has one, is text that changes whenever its answers may: a journal knows by it whether
    what is written there still holds.
    """

    def __call__(self, settings: Mapping[str, Setting], seed: int) -> Mapping[str, int | float]:
        """The figures under these settings, with this seed. Always the same for the same."""
        ...


class Task(msgspec.Struct, frozen=True):
    """One run: the settings of configuration `number` (from 0) under one seed."""

    number: int
    settings: Settings
    seed: int

    @property
    def name(self) -> str:
        """As it is told to people: `policy.memory=8192, seed 3`."""
        return ", ".join([*(f"{path}={shown(value)}" for path, value in self.settings), f"seed {self.seed}"])


class Outcome(msgspec.Struct, frozen=True):
    """What became of a task: its figures, or in `failure` why there are none."""

    task: Task
    figures: Figures | None
    failure: str = ""


def carry_out(measure: Measure, task: Task) -> Outcome:
    """Compute one task. Whatever goes wrong is told in the outcome, so that no other task is lost by it."""
    try:
        figures = {name: _plain(value) for name, value in measure(dict(task.settings), task.seed).items()}
    except (SimulationError, ValueError) as problem:
        return Outcome(task, None, str(problem) or type(problem).__name__)
    except Exception as problem:  # noqa: BLE001 - a defect of a measure is the answer for its settings, not for all
        place = traceback.extract_tb(problem.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        return Outcome(task, None, f"{type(problem).__name__}: {problem} (a defect, at {where})")
    return Outcome(task, figures)


def _plain(value: int | float) -> int | float:
    """A number as JSON keeps it: numpy's are not."""
    return int(value) if isinstance(value, int) else float(value)


def fingerprint(measure: Measure) -> str:
    """The measure's own fingerprint, or its name where it has none."""
    own = getattr(measure, "fingerprint", None)
    return own if isinstance(own, str) else getattr(measure, "__qualname__", type(measure).__qualname__)


def key(measure_fingerprint: str, task: Task) -> str:
    """32 hex digits that name a run wherever it is computed: of the measure, the settings (in any order), the seed."""
    parts = [measure_fingerprint, sorted(task.settings), task.seed]
    return blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def shown(value: Setting) -> str:
    """A setting's value as people write it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)

"""◇ Targets: what a figure must come to, `cold_share<=1%` or `throughput_per_s>=500`, and whether it does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from sim.errors import SimulationError

_TARGET: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=)\s*([-+0-9.e]+)\s*(%?)\s*", re.IGNORECASE)

Verdict: TypeAlias = Literal["met", "missed", "unclear"]
"""Of an interval: it lies on the good side of the bound, on the bad one, or across it."""


class Target(msgspec.Struct, frozen=True):
    """A figure (of `sim.frames.SUMMARY_FIGURES`, or what else is measured) and its bound."""

    figure: str
    relation: Literal["<=", ">="]
    bound: float

    def __str__(self) -> str:
        return f"{self.figure} {self.relation} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether the value is on the good side of the bound, or on it."""
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def verdict(self, low: float, high: float) -> Verdict:
        """What an interval says."""
        good, bad = (high, low) if self.relation == "<=" else (low, high)
        return "met" if self.holds(good) else "unclear" if self.holds(bad) else "missed"


def parse_targets(texts: Iterable[str]) -> list[Target]:
    """Targets as people write them. Raises SimulationError where a text is none, or there are none at all."""
    made: list[Target] = []
    for text in texts:
        found = _TARGET.fullmatch(text)
        try:
            bound = float(found[3]) if found else None
        except ValueError:
            bound = None
        if found is None or bound is None:
            raise SimulationError(f"{text!r} is no target: write FIGURE<=NUMBER or FIGURE>=NUMBER, as cold_share<=1%")
        made.append(Target(found[1], "<=" if found[2] == "<=" else ">=", bound / 100 if found[4] else bound))
    if not made:
        raise SimulationError("there is no target: name one at least, as cold_share<=1%")
    return made


def check_known(figures: Iterable[str], known: Iterable[str]) -> None:
    """Raises SimulationError where a figure is none of those known."""
    known = list(known)
    for figure in figures:
        if figure not in known:
            near = difflib.get_close_matches(figure, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise SimulationError(f"there is no figure {figure!r}; {hint}")

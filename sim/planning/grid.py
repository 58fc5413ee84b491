"""◇ A grid of settings: every combination of the values that are to be tried."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from sim.errors import SimulationError
from sim.planning.task import Setting, Settings, Task

Grid: TypeAlias = Mapping[str, Sequence[Setting]]
"""For each dotted path the values that are tried."""
CONFIGURATIONS_MAX = 100_000


def parse_grid(texts: Iterable[str]) -> dict[str, list[Setting]]:
    """Grids as people write them: `policy.memory_mb=4096,8192`, also as a range `node.cpus=1..4` or `0..100..25`.

    Numbers, `true`, `false` and `none` are what they look like, everything else is text (`16 GB`, `lru-ttl`). Raises
    SimulationError where a text is no such grid, or two are of the same path.
    """
    grid: dict[str, list[Setting]] = {}
    for text in texts:
        path, equals, written = text.partition("=")
        if not path.strip() or not equals:
            raise SimulationError(f"{text!r} is no grid: write PATH=VALUE,VALUE,..., as policy.memory_mb=4096,8192")
        values = [value for part in written.split(",") for value in _values(part.strip(), text)]
        if path.strip() in grid:
            raise SimulationError(f"{path.strip()} has two grids; write all its values into one")
        if len(set(map(repr, values))) < len(values):
            raise SimulationError(f"{text!r} has a value twice")
        grid[path.strip()] = values
    return grid


def parse_setting(text: str) -> Setting:
    """One value as people write it; see `parse_grid`."""
    words: dict[str, Setting] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _values(part: str, text: str) -> list[Setting]:
    ends = [parse_setting(end.strip()) for end in part.split("..")]
    if len(ends) == 1:
        if part == "":
            raise SimulationError(f"{text!r} has an empty value")
        return ends
    whole = [end for end in ends if isinstance(end, int) and not isinstance(end, bool)]
    if len(whole) < len(ends) or len(ends) > 3 or whole[1] < whole[0] or whole[-1] < 1:
        raise SimulationError(f"{part!r} is no range: write whole numbers, as 2..8 or 2..8..2 (by a step)")
    return list(range(whole[0], whole[1] + 1, whole[2] if len(whole) == 3 else 1))


def configurations(grid: Grid) -> list[Settings]:
    """All combinations, the last path changing fastest; one without settings where the grid is empty."""
    combinations = itertools.islice(itertools.product(*grid.values()), CONFIGURATIONS_MAX + 1)
    made = [tuple(zip(grid, values, strict=True)) for values in combinations]
    if len(made) > CONFIGURATIONS_MAX:
        raise SimulationError(f"the grid has more than {CONFIGURATIONS_MAX:,} configurations; leave some values out")
    return made


def tasks(of: Sequence[Settings], seeds: Sequence[int]) -> list[Task]:
    """Each configuration under each seed. All of the first seed come first: after a part of the time there is a part
    of the precision for all of them, and processes keep one seed's workload for long."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise SimulationError("seeds must be one or more, and no two the same")
    return [Task(number, settings, seed) for seed in seeds for number, settings in enumerate(of)]

"""Grids as people write them, and the tasks they make."""

from __future__ import annotations

import pytest

from sim import SimulationError
from sim.planning import grid


def test_values_are_what_they_look_like() -> None:
    parsed = grid.parse_grid(["policy.memory=4 GB, 8GB", "node.cpus=1..3", "x=0..100..50", "y=1.5,true,none,lru-ttl"])
    assert parsed == {
        "policy.memory": ["4 GB", "8GB"],
        "node.cpus": [1, 2, 3],
        "x": [0, 50, 100],
        "y": [1.5, True, None, "lru-ttl"],
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("policy.memory", "is no grid: write PATH=VALUE"),
        ("=1,2", "is no grid"),
        ("x=", "has an empty value"),
        ("x=1,,2", "has an empty value"),
        ("x=1,2,1", "has a value twice"),
        ("x=5..1", "is no range"),
        ("x=1..2..0", "is no range"),
        ("x=1.5..3", "is no range"),
        ("x=1..2..3..4", "is no range"),
    ],
)
def test_what_is_no_grid_is_told(text: str, told: str) -> None:
    with pytest.raises(SimulationError, match=told):
        grid.parse_grid([text])


def test_two_grids_of_a_path_are_told() -> None:
    with pytest.raises(SimulationError, match="x has two grids"):
        grid.parse_grid(["x=1", "x=2"])


def test_all_combinations_the_last_changing_fastest() -> None:
    made = grid.configurations({"a": [1, 2], "b": ["u", "v"]})
    assert made == [(("a", x), ("b", y)) for x in (1, 2) for y in ("u", "v")]
    assert grid.configurations({}) == [()]


def test_a_grid_has_a_limit() -> None:
    with pytest.raises(SimulationError, match="more than 100,000 configurations"):
        grid.configurations({"a": list(range(1000)), "b": list(range(1000))})


def test_all_of_a_seed_come_before_the_next() -> None:
    made = grid.tasks([(("a", 1),), (("a", 2),)], [7, 8])
    assert [(task.seed, task.number) for task in made] == [(7, 0), (7, 1), (8, 0), (8, 1)]
    assert made[1].name == "a=2, seed 7"
    for seeds in ([], [1, 1]):
        with pytest.raises(SimulationError, match="seeds must be one or more"):
            grid.tasks([()], seeds)

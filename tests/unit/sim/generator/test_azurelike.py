"""Another seed of the arrivals is another day of the same functions."""

from __future__ import annotations

from sim.generator.azurelike import AzureLike


def _instants(workload: AzureLike) -> list[int]:
    return [at_ns for block in workload.build().blocks() for at_ns in block.at_ns]


def test_the_arrivals_seed_moves_the_arrivals_alone() -> None:
    day = AzureLike(functions=50, duration_s=3600.0, load=0.1, seed=4)
    other = AzureLike(functions=50, duration_s=3600.0, load=0.1, seed=4, arrivals_seed=5)
    assert other.drawn() == day.drawn()
    assert other.build().functions == day.build().functions
    assert _instants(other) != _instants(day)
    assert 0.5 < len(_instants(other)) / len(_instants(day)) < 2.0


def test_without_one_the_seed_is_that_of_both() -> None:
    day = AzureLike(functions=50, duration_s=3600.0, load=0.1, seed=4)
    assert _instants(day) == _instants(AzureLike(functions=50, duration_s=3600.0, load=0.1, seed=4, arrivals_seed=4))

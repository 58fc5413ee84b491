"""The life of a container is its table, and the picture shows the table."""

from __future__ import annotations

import itertools
import pathlib
import runpy
from typing import get_args

import pytest

from invoker.policy.container import TRANSITIONS, Container, Input, PolicyError, State
from invoker.policy.types import ContainerId, PrewarmKey

ROOT = pathlib.Path(__file__).parents[3]
INPUTS: tuple[Input, ...] = get_args(Input)


@pytest.mark.parametrize(("state", "by"), list(itertools.product(State, INPUTS)))
def test_a_container_moves_by_the_table_and_not_otherwise(state: State, by: Input) -> None:
    container = Container(ContainerId(1), PrewarmKey("k", 256), 256, 0, state=state)
    target = TRANSITIONS[state].get(by)
    if target is None:
        with pytest.raises(PolicyError, match=f"container 1 is {state.value}: '{by}' can't happen to it"):
            container.move(by)
        assert container.state is state
    else:
        container.move(by)
        assert container.state is target


def test_every_state_can_be_reached_and_left_for_good() -> None:
    reached, edge = {State.STARTING}, [State.STARTING]
    while edge:
        for target in TRANSITIONS[edge.pop()].values():
            if target not in reached:
                reached.add(target)
                edge.append(target)
    assert reached == set(State)
    ends = {state for state in State if all(target is state for target in TRANSITIONS[state].values())}
    assert ends == {State.GONE, State.QUARANTINED}


def test_every_input_is_used() -> None:
    used = {by for rows in TRANSITIONS.values() for by in rows}
    assert used == set(INPUTS)


def test_the_picture_shows_the_table() -> None:
    draw = runpy.run_path(str(ROOT / "scripts" / "draw_container_life.py"))["draw"]
    assert (ROOT / "docs" / "container-life.svg").read_text() == draw(), "run `make picture`"

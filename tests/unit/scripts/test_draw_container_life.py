"""The committed picture of a container's life is the one that the table of transitions gives today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from invoker.policy.container import TRANSITIONS, State

ROOT = Path(__file__).parents[3]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_container_life", ROOT / "scripts" / "draw_container_life.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_up_to_date(script: ModuleType) -> None:
    assert script.PICTURE.read_text("utf-8") == script.draw(), "the table changed: make picture"


def test_every_row_of_the_table_is_in_the_picture(script: ModuleType) -> None:
    texts = [element.text or "" for element in ElementTree.fromstring(script.draw()).iter() if element.text]
    for state, moves in TRANSITIONS.items():
        assert state.name in texts
        for by in moves:
            assert any(by in text for text in texts)


def test_a_row_without_an_arrow_stops_the_drawing(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSITIONS[State.GONE], "started", State.BUSY)
    with pytest.raises(ValueError, match="gone -> busy"):
        script.draw()


def test_an_arrow_without_a_row_stops_the_drawing(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TRANSITIONS[State.STARTING], "start leaked")
    with pytest.raises(ValueError, match="starting -> quarantined"):
        script.draw()

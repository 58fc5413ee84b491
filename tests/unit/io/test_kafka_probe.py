"""The test action is the database's where it has it, and one like upstream's where it doesn't."""

from __future__ import annotations

import pytest

from invoker.errors import ActionNotFound
from invoker.io.kafka.probe import ProbeActions
from invoker.protocol.document import InlineCode
from tests.support.body import Store, document

PATH, NAME = "whisk.system", "invokerHealthTestAction0"


def actions(store: Store, *kinds: str) -> ProbeActions:
    return ProbeActions(store, {kind: kind for kind in kinds}.get, 128)


@pytest.mark.contract("3")
@pytest.mark.parametrize(
    ("kinds", "chosen", "code"),
    [
        (("python:default", "nodejs:default"), "nodejs:default", "function main"),
        (("python:default",), "python:default", "def main"),
    ],
)
async def test_the_missing_document_is_made_up(kinds: tuple[str, ...], chosen: str, code: str) -> None:
    found = await actions(Store(), *kinds).get(PATH, NAME, None)
    assert (found.path, found.name, found.kind, found.memory_mb) == (PATH, NAME, chosen, 128)
    assert isinstance(found.code, InlineCode)
    assert found.code.text.startswith(code)
    assert not found.provide_api_key


async def test_the_databases_own_goes_before_it() -> None:
    store = Store()
    store.actions[PATH, NAME] = document(NAME, PATH, memory=256)
    assert (await actions(store, "nodejs:default").get(PATH, NAME, None)).memory_mb == 256


@pytest.mark.parametrize(("path", "name"), [("whisk.system", "other"), ("guest", NAME)])
async def test_no_other_action_is_made_up(path: str, name: str) -> None:
    with pytest.raises(ActionNotFound):
        await actions(Store(), "nodejs:default").get(path, name, None)


async def test_without_a_runtime_for_it_there_is_none() -> None:
    with pytest.raises(ActionNotFound):
        await actions(Store(), "go:default").get(PATH, NAME, None)

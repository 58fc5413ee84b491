"""What the door answers where an activation does not end as it should, and to whom it talks."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from invoker.errors import PlatformFault
from loadtest import controller as controller_module
from loadtest.door import Door
from loadtest.messages import Identity
from tests.unit.loadtest.scripted import Behaviour, FakeTopics, Scene, scene

OWNER = Identity("guest", "guest", "u-1", "secret")
ACT = "/api/v1/namespaces/_/actions/act"


class Asked:
    """A user who asks the door."""

    def __init__(self, stage: Scene, door: Door, session: aiohttp.ClientSession) -> None:
        self.stage = stage
        self._door = door
        self._session = session

    async def __call__(self, method: str, path: str, user: str = "u-1:secret", **more: Any) -> tuple[int, Any]:
        headers = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}
        url = f"http://127.0.0.1:{self._door.port}{path}"
        async with self._session.request(method, url, headers=headers, **more) as answer:
            return answer.status, json.loads(await answer.read())


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    monkeypatch.setattr(controller_module, "Topics", FakeTopics)
    async with scene(head_timeout_s=1.0) as stage, aiohttp.ClientSession() as session:

        async def user(authorization: str) -> Identity | None:
            return OWNER if base64.b64decode(authorization.partition(" ")[2]) == b"u-1:secret" else None

        monkeypatch.setattr(stage.controller.catalogue, "user", user)
        door = Door(stage.controller)
        await door.open("127.0.0.1", 0)
        yield Asked(stage, door, session)
        await door.close()


async def test_a_whole_record_or_the_result_alone(asked: Asked) -> None:
    status, record = await asked("POST", f"{ACT}?blocking=true", json={"x": 1})
    assert (status, record["response"]["result"]) == (200, {"x": 1})
    assert await asked("POST", f"{ACT}?blocking=true&result=true", json={"x": 1}) == (200, {"x": 1})


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [("cut", 500, "broke off"), ("silent", 500, "has not said"), ("reject", 400, "answered 400")],
)
async def test_a_fate_that_is_no_end_is_an_error(asked: Asked, behaviour: Behaviour, status: int, words: str) -> None:
    for each in asked.stage.invokers:
        each.behaviours.append(behaviour)
    answered, body = await asked("POST", f"{ACT}?blocking=true")
    assert answered == status
    assert words in body["error"]
    activation = next(iter(asked.stage.controller._remembered))  # pyright: ignore[reportPrivateUsage]
    answered, body = await asked("GET", f"/api/v1/namespaces/_/activations/{activation}")
    assert answered == 404
    assert words in body["error"], "why there is no record"


async def test_who_is_not_known_gets_nowhere(asked: Asked) -> None:
    for user in ("u-1:wrong", ""):
        assert (await asked("GET", ACT, user=user))[0] == 401
    assert (await asked("GET", "/api/v1/namespaces/other/actions/act"))[0] == 403
    assert (await asked("GET", "/api/v1/namespaces/guest/actions/act"))[0] == 200


async def test_invokers_are_shown_to_anybody(asked: Asked) -> None:
    assert await asked("GET", "/invokers", user="") == (200, {"invoker0": "up", "invoker1": "up"})


async def test_a_port_that_is_taken_is_told(asked: Asked) -> None:
    second = Door(asked.stage.controller)
    with pytest.raises(PlatformFault, match="take another --port"):
        await second.open("127.0.0.1", asked._door.port)  # pyright: ignore[reportPrivateUsage]

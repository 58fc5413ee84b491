"""The intake: what is promised and what is refused, and that a promise is kept whatever becomes of the caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from invoker import intake as intake_module
from invoker.errors import CallerFault
from invoker.intake import Intake
from invoker.io.containers.fake import Moment
from invoker.io.http.server import Router
from invoker.ports import ContainerSpec
from invoker.protocol.secrets import KeyRing
from tests.support.body import Body, document
from tests.support.node import message
from tests.support.raw_http import Served, post, serving, until

ACTIVATION = "cd" * 16


class Door:
    """Lets nothing start before it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def gate(self, moment: Moment, _: ContainerSpec) -> None:
        if moment == "start":
            await self.opened.wait()


@asynccontextmanager
async def taking(door: Door) -> AsyncGenerator[tuple[Body, Intake, Served]]:
    """A body behind an intake behind a server."""
    async with Body(gate=door.gate, store_blocking=True) as body:
        body.store.actions["guest", "act"] = document()
        intake = Intake(body.runner, KeyRing())
        router = Router()
        router.add("POST", "/invoke", intake.handle)
        async with serving(router) as served:
            yield body, intake, served
            door.opened.set()
            intake.close()
            await intake.finished()


@pytest.mark.contract("4")
async def test_the_head_is_the_promise_and_the_body_the_end() -> None:
    door = Door()
    async with taking(door) as (body, intake, served), served.peer() as peer:
        peer.send(post(message("act", {"x": 1})))
        status, fields = await peer.head()
        assert (status, intake.in_flight, body.store.records) == (200, 1, {})
        door.opened.set()
        told = json.loads(await peer.body(fields))
        assert told["response"]["response"]["result"] == {"x": 1}
        await until(lambda: intake.in_flight == 0)


@pytest.mark.contract("4")
@pytest.mark.parametrize("blocking", [True, False])
async def test_a_caller_who_has_gone_changes_nothing(blocking: bool) -> None:
    door = Door()
    async with taking(door) as (body, intake, served):
        async with served.peer() as peer:
            peer.send(post(message("act", {"x": 1}, activation=ACTIVATION, blocking=blocking)))
            await peer.head()
            peer.reset()
        await until(lambda: served.server.connections == 0)
        door.opened.set()
        await until(lambda: intake.in_flight == 0)
        assert body.store.records[f"guest/{ACTIVATION}"][0]["response"]["statusCode"] == 0
        assert served.errors == []


@pytest.mark.contract("4")
async def test_what_can_not_be_read_is_refused_with_the_reason() -> None:
    async with taking(Door()) as (body, intake, served), served.peer() as peer:
        answer = await peer.ask(post(b'{"transid": 5}'))
        assert answer.status == 400
        assert "activationId" in json.loads(answer.body)["error"] or "transid" in json.loads(answer.body)["error"]
        assert (intake.in_flight, body.lines.completed) == (0, [])


@pytest.mark.contract("4")
async def test_a_closed_intake_sends_callers_elsewhere() -> None:
    async with taking(Door()) as (_, intake, served), served.peer() as peer:
        intake.close()
        answer = await peer.ask(post(message("act")))
        assert (answer.status, answer.fields["retry-after"]) == (503, "1")
        assert "stopping" in json.loads(answer.body)["error"]
        with pytest.raises(CallerFault, match="stopping"):
            await intake.invoke(message("act"))


@pytest.mark.contract("4")
async def test_too_many_at_once_are_refused_before_anything_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "IN_FLIGHT_MAX", 2)
    door = Door()
    async with taking(door) as (_, intake, served), served.peer() as one, served.peer() as two, served.peer() as three:
        for peer in (one, two):
            peer.send(post(message("act")))
            assert (await peer.head())[0] == 200
        answer = await three.ask(post(message("act")))
        assert answer.status == 503
        assert "too many" in json.loads(answer.body)["error"]
        assert intake.in_flight == 2


async def test_by_the_inner_door_the_record_is_stored_at_the_end() -> None:
    door = Door()
    async with taking(door) as (body, intake, _):
        asked = asyncio.create_task(intake.invoke(message("act", activation=ACTIVATION)))
        await until(lambda: intake.in_flight == 1)
        door.opened.set()
        assert json.loads(await asked)["response"]["activationId"] == ACTIVATION
        assert f"guest/{ACTIVATION}" in body.store.records


async def test_who_asked_at_the_inner_door_may_leave_too() -> None:
    door = Door()
    async with taking(door) as (body, intake, _):
        asked = asyncio.create_task(intake.invoke(message("act", activation=ACTIVATION)))
        await until(lambda: intake.in_flight == 1)
        asked.cancel()
        door.opened.set()
        await until(lambda: intake.in_flight == 0)
        assert f"guest/{ACTIVATION}" in body.store.records


async def test_what_is_abandoned_ends() -> None:
    async with taking(Door()) as (body, intake, served), served.peer() as peer:
        peer.send(post(message("act")))
        await peer.head()
        intake.abandon()
        await intake.finished()
        assert (intake.in_flight, body.store.records) == (0, {})

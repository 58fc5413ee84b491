"""Blocked namespaces: read at the start and again, the last good set kept when a read fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from invoker.errors import PlatformFault
from invoker.io.couchdb.blocked import BlockedNamespaces
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from tests.support.couch_fake import PASSWORD, USER, FakeCouch, Passing, Standing, fake_couch, status, until

pytestmark = pytest.mark.contract("5", "8")


class Lab:
    """The set, its time in the test's hand; the client's waits are over at once."""

    def __init__(self, server: FakeCouch) -> None:
        settings = CouchDbSettings(url=server.url, username=USER, password=PASSWORD)
        self.server = server
        self.pace = Standing()
        self.metrics = Metrics()
        self.client = CouchClient(settings, Passing())
        self.blocked = BlockedNamespaces(self.client, settings, self.metrics, self.pace)

    async def read_again(self, times: int, after_s: float) -> None:
        """Let `after_s` pass and see it read for the `times`-th time."""
        await until(lambda: self.pace.waiting)
        self.pace.advance(after_s)
        await until(lambda: len(self.server.requests) >= times and self.pace.waiting)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with fake_couch() as server:
        made = Lab(server)
        await made.client.open()
        yield made
        await made.blocked.close()
        await made.blocked.close()
        await made.client.close()


async def test_it_is_read_at_the_start_and_every_five_minutes(lab: Lab) -> None:
    lab.server.blocked = ["alice", "bob", 7, None]
    assert "alice" not in lab.blocked
    await lab.blocked.open()
    assert lab.server.requests == [
        "GET /subjects/_design/namespaceThrottlings/_view/blockedNamespaces?reduce=false",
    ]
    assert "alice" in lab.blocked
    assert "carol" not in lab.blocked
    assert lab.metrics.registry.get_sample_value("invoker_blocked_namespaces") == 2
    lab.server.blocked = ["carol"]
    await lab.read_again(2, 300)
    assert lab.blocked.names == {"carol"}


async def test_a_failed_read_keeps_the_last_set_and_is_told_once(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.server.blocked = ["alice"]
    await lab.blocked.open()
    lab.server.faults += [status(500), lambda _: web.Response(body=b"no JSON"), status(404)]
    for times in (2, 3, 4):
        await lab.read_again(times, 300)
        assert "alice" in lab.blocked
    assert caplog.text.count("the last set stays in force") == 1
    with caplog.at_level(logging.INFO):
        await lab.read_again(5, 300)
    assert "can be read again" in caplog.text


async def test_without_a_first_set_it_is_tried_again_soon(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.server.blocked = ["alice"]
    lab.server.faults += [status(500)]
    await lab.blocked.open()
    assert "alice" not in lab.blocked
    assert "nobody is blocked until then" in caplog.text
    await lab.read_again(2, 5)
    assert "alice" in lab.blocked


async def test_a_read_says_what_is_wrong(lab: Lab) -> None:
    lab.server.faults.append(status(404, {"error": "not_found", "reason": "missing"}))
    with pytest.raises(PlatformFault, match="invoker couchdb init"):
        await lab.blocked.read()

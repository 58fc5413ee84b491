"""Actions out of CouchDB: five forms of code, revisions, and whose fault it is when there is none."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from invoker.errors import ActionNotFound, PlatformFault
from invoker.io.action_cache import CachedActions
from invoker.io.couchdb.actions import CouchActions
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.protocol.document import InlineCode
from tests.support.couch_fake import PASSWORD, USER, FakeCouch, Passing, fake_couch, status
from tests.support.couch_upload import FORMS, prepare

pytestmark = pytest.mark.contract("8", "19")

TEXT, BYTES = "def main(args):\n    return {'ü': 1}\n".encode(), bytes(range(256))


class Lab:
    def __init__(self, server: FakeCouch, client: CouchClient) -> None:
        self.server = server
        self.metrics = Metrics()
        self.actions = CouchActions(client, "whisks", self.metrics)

    def put(self, form: str, code: bytes, name: str = "hello", **given: Any) -> str:
        prepared = prepare("guest", name, form, code, **given)
        attachments = {attachment: data for attachment, _, data in prepared.attachments}
        return self.server.put("whisks", prepared.document, attachments)

    def shown(self, metric: str) -> float:
        return self.metrics.registry.get_sample_value(metric) or 0.0


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with fake_couch() as server:
        settings = CouchDbSettings(url=server.url, username=USER, password=PASSWORD, body_limit_bytes=10_000)
        client = CouchClient(settings, Passing())
        await client.open()
        yield Lab(server, client)
        await client.close()


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_of_code(lab: Lab, form: str) -> None:
    binary = form.endswith("bytes")
    revision = lab.put(form, BYTES if binary else TEXT)
    for asked in (revision, None):
        action = await lab.actions.get("guest", "hello", asked)
        assert action.code == InlineCode(base64.b64encode(BYTES).decode() if binary else TEXT.decode())
        assert action.binary == binary
        assert action.revision == revision


@pytest.mark.parametrize("form", FORMS)
async def test_empty_code(lab: Lab, form: str) -> None:
    lab.put(form, b"")
    assert (await lab.actions.get("guest", "hello", None)).code == InlineCode("")


async def test_code_and_limits_are_of_one_revision(lab: Lab) -> None:
    old = lab.put("attached text", b"old")
    new = lab.put("attached text", b"new")
    assert (await lab.actions.get("guest", "hello", old)).code == InlineCode("old")
    assert (await lab.actions.get("guest", "hello", None)).code == InlineCode("new")
    assert lab.server.requests[-2:] == [
        "GET /whisks/guest%2Fhello",
        f"GET /whisks/guest%2Fhello/a1-b2?rev={new}",
    ]


async def test_names_are_one_segment_of_the_path(lab: Lab) -> None:
    lab.put("attached text", b"code", name="we?ird/näme &c", attachment="a/b c")
    assert (await lab.actions.get("guest", "we?ird/näme &c", None)).code == InlineCode("code")
    assert lab.server.requests[0] == "GET /whisks/guest%2Fwe%3Fird%2Fn%C3%A4me%20%26c"


async def test_what_is_not_there_is_the_callers_error(lab: Lab) -> None:
    with pytest.raises(ActionNotFound, match="there is no action guest/none"):
        await lab.actions.get("guest", "none", None)
    lab.put("string", b"code")
    with pytest.raises(ActionNotFound, match="at revision 7-abc"):
        await lab.actions.get("guest", "hello", "7-abc")
    lab.put("attached text", b"code")
    lab.server.attachments.clear()
    with pytest.raises(ActionNotFound, match="no attachment a1-b2 of action guest/hello"):
        await lab.actions.get("guest", "hello", None)
    assert lab.shown("counter_database_getDocument_start_total") == 3
    assert lab.shown("counter_database_getDocument_error_total") == 0
    assert lab.shown("histogram_database_getDocumentAttachment_finish_seconds_count") == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401, {"error": "unauthorized"}), "COUCH_PASSWORD"),
        (status(500), "answered 500 .* for action guest/hello"),
        (status(400, {"error": "bad_request", "reason": "Invalid rev format"}), "Invalid rev format"),
        (status(404, {"error": "not_found", "reason": "Database does not exist."}), "invoker couchdb init"),
        (lambda _: web.Response(body=b"<html>no JSON</html>"), "document can't be read"),
        (lambda _: web.Response(body=b"\xff\xfe"), "not UTF-8"),
        (lambda _: web.Response(body=b"x" * 10_001), "longer than 10000 B"),
        (status(200, {"_id": "guest/hello", "name": "hello"}), "document can't be read"),
    ],
)
async def test_every_other_failure_is_the_platforms(lab: Lab, fault: Any, words: str) -> None:
    lab.server.faults.append(fault)
    with pytest.raises(PlatformFault, match=words):
        await lab.actions.get("guest", "hello", "1-a")
    assert lab.shown("counter_database_getDocument_error_total") == 1


async def test_an_attachment_over_the_cap_or_of_no_text_is_the_platforms(lab: Lab) -> None:
    lab.put("attached bytes", b"x" * 10_001)
    with pytest.raises(PlatformFault, match="COUCH_BODY_LIMIT"):
        await lab.actions.get("guest", "hello", None)
    lab.put("attached text", b"\xff\xfe")
    with pytest.raises(PlatformFault, match="isn't UTF-8"):
        await lab.actions.get("guest", "hello", None)
    assert lab.shown("counter_database_getDocumentAttachment_error_total") == 2


async def test_a_moment_of_trouble_is_waited_out(lab: Lab) -> None:
    lab.put("string", b"code")
    lab.server.faults += [status(503)] * 5
    assert (await lab.actions.get("guest", "hello", None)).code == InlineCode("code")


async def test_concurrent_misses_make_one_read(lab: Lab) -> None:
    revision = lab.put("attached text", b"code")
    cached = CachedActions(lab.actions)
    found = await asyncio.gather(*(cached.get("guest", "hello", revision) for _ in range(50)))
    assert len({id(each) for each in found}) == 1
    assert len(lab.server.requests) == 2
    await cached.close()

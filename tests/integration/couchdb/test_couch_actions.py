"""Actions out of a real CouchDB, in each form of code."""

from __future__ import annotations

import base64

import pytest

from invoker.errors import ActionNotFound
from invoker.io.couchdb.actions import CouchActions
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.protocol.document import InlineCode
from tests.support.couch_server import CouchServer
from tests.support.couch_upload import FORMS, prepare, upload

pytestmark = [pytest.mark.docker, pytest.mark.contract("8")]

TEXT, BYTES = "def main(args):\n    return {'ü': 1}\n".encode(), bytes(range(256))


@pytest.fixture
def actions(couch_client: CouchClient, couch_databases: CouchDbSettings) -> CouchActions:
    return CouchActions(couch_client, couch_databases.actions_database, Metrics())


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_of_code_at_each_revision(
    actions: CouchActions, couchdb: CouchServer, couch_databases: CouchDbSettings, form: str
) -> None:
    code = BYTES if form.endswith("bytes") else TEXT
    text = base64.b64encode(code).decode() if form.endswith("bytes") else code.decode()
    database = couch_databases.actions_database
    first = prepare("guest/package", "hällo wörld", form, code, main="begin")
    old = upload(couchdb, database, first)
    second = prepare("guest/package", "hällo wörld", "attached text", b"new", attachment="other", _rev=old)
    new = upload(couchdb, database, second)
    action = await actions.get("guest/package", "hällo wörld", old)
    assert (action.revision, action.main, action.code) == (old, "begin", InlineCode(text))
    for asked in (new, None):
        action = await actions.get("guest/package", "hällo wörld", asked)
        assert (action.revision, action.main, action.code) == (new, "main", InlineCode("new"))


async def test_a_large_attachment_comes_whole(
    actions: CouchActions, couchdb: CouchServer, couch_databases: CouchDbSettings
) -> None:
    code = bytes(range(256)) * 20_000  # 5 MB
    revision = upload(couchdb, couch_databases.actions_database, prepare("guest", "large", "attached bytes", code))
    action = await actions.get("guest", "large", revision)
    assert isinstance(action.code, InlineCode)
    assert base64.b64decode(action.code.text) == code


async def test_what_is_not_there(actions: CouchActions, couchdb: CouchServer, couch_databases: CouchDbSettings) -> None:
    with pytest.raises(ActionNotFound):
        await actions.get("guest", "none", None)
    upload(couchdb, couch_databases.actions_database, prepare("guest", "hello", "string", TEXT))
    with pytest.raises(ActionNotFound):
        await actions.get("guest", "hello", "9-00000000000000000000000000000000")
    without = prepare("guest", "without", "attached text", TEXT)
    upload(couchdb, couch_databases.actions_database, without._replace(attachments=[]))
    with pytest.raises(ActionNotFound, match="attachment"):
        await actions.get("guest", "without", None)

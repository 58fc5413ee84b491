"""What stands in for CouchDB differs from it in what `DIFFERENCES` lists, and each of these is so."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from invoker.io.couchdb.settings import CouchDbSettings
from tests.support.couch_server import DIFFERENCES, CouchServer

pytestmark = pytest.mark.docker


def code_of(call: Callable[[], Any]) -> int:
    """The status of a call that fails, 0 of one that doesn't."""
    try:
        call()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return 0


def malformed_revision(server: CouchServer, database: str) -> tuple[object, object, object]:
    server.call("PUT", f"{database}/a", {})
    return code_of(lambda: server.call("GET", f"{database}/a?rev=none")), 400, 404


def entity_tag(server: CouchServer, database: str) -> tuple[object, object, object]:
    revision = server.call("PUT", f"{database}/b", {})["rev"]
    request = urllib.request.Request(f"{server.url}/{database}/b", headers={"Authorization": server.authorization})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return revision in (answer.headers["ETag"] or ""), True, False


def written_numbers(server: CouchServer, database: str) -> tuple[object, object, object]:
    server.call("PUT", f"{database}/c", b'{"float":1.0,"large":9007199254740993}')
    found = server.call("GET", f"{database}/c")
    return (repr(found["float"]), found["large"]), ("1.0", 2**53 + 1), ("1", 2**53)


def document_size(server: CouchServer, database: str) -> tuple[object, object, object]:
    return code_of(lambda: server.call("PUT", f"{database}/d", {"x": "x" * 9_000_000})), 413, 0


def half_a_surrogate_pair(server: CouchServer, database: str) -> tuple[object, object, object]:
    return code_of(lambda: server.call("PUT", f"{database}/e", b'{"x":"\\ud800"}')), 400, 0


def id_in_the_body(server: CouchServer, database: str) -> tuple[object, object, object]:
    code_of(lambda: server.call("PUT", f"{database}/path", json.dumps({"_id": "body"}).encode()))
    rows = server.call("GET", f"{database}/_all_docs")["rows"]
    return "body" in [row["id"] for row in rows], False, True


CHECKS = {
    check.__name__.replace("_", " "): check
    for check in (
        malformed_revision,
        entity_tag,
        written_numbers,
        document_size,
        half_a_surrogate_pair,
        id_in_the_body,
    )
}


@pytest.mark.parametrize("name", sorted({*CHECKS, *DIFFERENCES}))
def test_a_difference_is_as_listed(name: str, couchdb: CouchServer, couch_databases: CouchDbSettings) -> None:
    found, of_couchdb, of_stand_in = CHECKS[name](couchdb, couch_databases.actions_database)
    assert name in DIFFERENCES
    assert of_couchdb != of_stand_in
    assert found == (of_stand_in if couchdb.stand_in else of_couchdb)

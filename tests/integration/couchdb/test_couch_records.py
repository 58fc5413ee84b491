"""Records into a real CouchDB: batches, what it refuses, and ten minutes without it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.records import CouchRecords
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.io.spool.settings import SpoolSettings
from tests.support.couch_outage import Place, outage
from tests.support.couch_server import CouchServer, OwnCouch

pytestmark = [pytest.mark.docker, pytest.mark.contract("8", "19")]


async def test_records_arrive_once(
    couch_client: CouchClient, couch_databases: CouchDbSettings, couchdb: CouchServer, tmp_path: Path
) -> None:
    metrics = Metrics()
    records = CouchRecords(couch_client, couch_databases, SpoolSettings(str(tmp_path)), metrics)
    await records.open()
    ids = [f"guest/{number:032x}" for number in range(500)]
    for _ in range(2):  # the second time each is there already
        await asyncio.gather(*(records.put(each, b'{"logs":["a line"],"publish":false}', {}) for each in ids))
    await records.close()
    assert records.held_bytes == 0
    found = couchdb.call("GET", f"{couch_databases.records_database}/_all_docs?include_docs=true")["rows"]
    assert sorted(row["id"] for row in found) == ids
    assert {row["value"]["rev"].partition("-")[0] for row in found} == {"1"}
    assert {row["doc"]["entityType"] for row in found} == {"activation"}
    assert metrics.registry.get_sample_value("invoker_records_rejected_total") == 0


async def test_one_that_a_validation_refuses_is_set_aside(
    couch_client: CouchClient, couch_databases: CouchDbSettings, couchdb: CouchServer, tmp_path: Path
) -> None:
    function = "function (document) { if (document.bad) { throw({forbidden: 'not this one'}); } }"
    place = f"{couch_databases.records_database}/_design/guard"
    couchdb.call("PUT", place, {"_id": "_design/guard", "validate_doc_update": function})
    metrics = Metrics()
    records = CouchRecords(couch_client, couch_databases, SpoolSettings(str(tmp_path)), metrics)
    await records.open()
    for number in range(5):
        await records.put(f"guest/{number:032x}", b'{"bad":true}' if number == 3 else b'{"bad":false}', {})
    await records.close()
    rows = couchdb.call("GET", f"{couch_databases.records_database}/_all_docs")["rows"]
    assert len([row for row in rows if row["id"].startswith("guest/")]) == 4
    assert metrics.registry.get_sample_value("invoker_records_rejected_total") == 1
    assert "not this one" in (tmp_path / "rejected.jsonl").read_text()


async def test_ten_minutes_without_couchdb_and_kill_9_in_between(
    own_couchdb: OwnCouch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = own_couchdb.server
    settings = CouchDbSettings(url=server.url, username=server.user, password=server.password)
    await couch_admin.init(settings, "guest")

    async def records() -> dict[str, int]:
        rows = server.call("GET", f"{settings.records_database}/_all_docs")["rows"]
        return {row["id"]: int(row["value"]["rev"].partition("-")[0]) for row in rows}

    async def stop() -> None:
        await asyncio.to_thread(own_couchdb.kill)

    async def start() -> None:
        await asyncio.to_thread(own_couchdb.start)

    place = Place(server.url, server.user, server.password, "", stop, start, records)
    counts = await outage(place, tmp_path / "spool")
    with capsys.disabled():
        print("\n600 s without CouchDB (container), three kills: " + ", ".join(f"{n} {w}" for w, n in counts.items()))

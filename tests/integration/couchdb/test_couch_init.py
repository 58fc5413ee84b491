"""What CouchDB has to hold: looked at at the start, told in one message, made by `invoker couchdb init`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import PlatformFault
from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.couch import Couch
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.io.spool.settings import SpoolSettings
from tests.support.couch_server import CouchServer, OwnCouch, missing

pytestmark = [pytest.mark.docker, pytest.mark.contract("8")]


def neighbour(settings: CouchDbSettings, directory: Path) -> Couch:
    return Couch(settings, SpoolSettings(str(directory)), Metrics())


def command(settings: CouchDbSettings, *arguments: str, password: str | None = None) -> Any:
    environment = {
        "COUCH_URL": settings.url,
        "COUCH_USERNAME": settings.username,
        "COUCH_PASSWORD": password or settings.password,
        "COUCH_DATABASE_PREFIX": settings.prefix,
    }
    call = [sys.executable, "-m", "invoker.cli", "couchdb", "init", *arguments]
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_what_is_missing_is_told_in_one_message(couch_settings: CouchDbSettings, tmp_path: Path) -> None:
    prefix = couch_settings.prefix
    words = (
        f"lacks database {prefix}whisks, database {prefix}activations, database {prefix}subjects, "
        f"view namespaceThrottlings/blockedNamespaces in {prefix}subjects; make it with `invoker couchdb init`"
    )
    couch = neighbour(couch_settings, tmp_path)
    with pytest.raises(PlatformFault, match=words):
        await couch.check()
    with pytest.raises(PlatformFault, match=words):
        await couch.open()
    await couch.close()


async def test_init_makes_it_and_may_be_called_again(
    couch_settings: CouchDbSettings, couchdb: CouchServer, tmp_path: Path
) -> None:
    first = command(couch_settings)
    assert first.returncode == 0, first.stderr
    assert [line.strip() for line in first.stdout.splitlines()][1:-1] == [
        f"made database {couch_settings.prefix}whisks",
        f"made database {couch_settings.prefix}activations",
        f"made database {couch_settings.prefix}subjects",
        "made view namespaceThrottlings/blockedNamespaces",
        "made subject guest",
    ]
    again = command(couch_settings)
    assert "all is there already" in again.stdout
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    identifier, key = first.stdout.splitlines()[-1].removeprefix("credentials of guest: ").split(":")
    assert len(key) == 64
    subject = couchdb.call("GET", f"{couch_settings.subjects_database}/guest")
    assert subject["namespaces"] == [{"name": "guest", "uuid": identifier, "key": key}]
    other = json.loads(command(couch_settings, "--json", "--subject", "alice").stdout)
    assert other["made"] == ["subject alice"]
    couch = neighbour(couch_settings, tmp_path)
    assert (await couch.check()).startswith("reachable, version ")
    await couch.open()
    assert couch.blocked.names == frozenset()
    await couch.close()
    await couch.close()


async def test_a_design_document_of_others_keeps_its_views(
    couch_databases: CouchDbSettings, couchdb: CouchServer
) -> None:
    place = f"{couch_databases.subjects_database}/_design/namespaceThrottlings"
    document = couchdb.call("GET", place)
    document["views"] = {"theirs": {"map": "function (doc) { emit(doc._id); }"}}
    couchdb.call("PUT", place, document)
    assert (await couch_admin.examine(couch_databases)).missing != []
    await couch_admin.init(couch_databases, "guest")
    assert sorted(couchdb.call("GET", place)["views"]) == ["blockedNamespaces", "theirs"]


async def test_the_view_tells_who_is_blocked(
    couch_databases: CouchDbSettings, couchdb: CouchServer, tmp_path: Path
) -> None:
    def put(name: str, document: dict[str, Any]) -> None:
        couchdb.call("PUT", f"{couch_databases.subjects_database}/{name.replace('/', '%2F')}", document)

    two = [{"name": "bad-one"}, {"name": "bad-two"}]
    put("mallory", {"subject": "mallory", "blocked": True, "namespaces": two})
    put("quiet/limits", {"concurrentInvocations": 0})
    put("slow/limits", {"invocationsPerMinute": 0})
    put("free/limits", {"invocationsPerMinute": 60, "concurrentInvocations": 30})
    put("odd", {"blocked": True})
    couch = neighbour(couch_databases, tmp_path)
    await couch.open()
    assert couch.blocked.names == {"bad-one", "bad-two", "quiet", "slow"}
    await couch.close()


async def test_a_wrong_password_stops_the_start_and_the_command(
    couch_databases: CouchDbSettings, tmp_path: Path
) -> None:
    wrong = CouchDbSettings(url=couch_databases.url, username=couch_databases.username, password="wr0ng")
    couch = neighbour(wrong, tmp_path)
    with pytest.raises(PlatformFault, match=r"refuses the user .* see COUCH_USERNAME and COUCH_PASSWORD"):
        await couch.open()
    await couch.close()
    told = command(couch_databases, password="wr0ng")
    assert told.returncode == 69
    assert "refuses the user" in told.stderr
    assert "wr0ng" not in told.stderr


async def test_couchdb_away_at_the_start(
    own_couchdb: OwnCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_couchdb.server
    settings = CouchDbSettings(url=server.url, username=server.user, password=server.password, retry_limit_s=0.2)
    await couch_admin.init(settings, "guest")
    own_couchdb.stop()
    couch = neighbour(settings, tmp_path)
    with pytest.raises(PlatformFault, match=r"can't be reached: .*see COUCH_URL"):
        await couch.check()
    await couch.open()
    assert "the start goes on, and CouchDB is tried again" in caplog.text
    with pytest.raises(PlatformFault):
        await couch.actions.get("guest", "hello", None)
    await couch.records.put("guest/1", b'{"logs":[]}', {})
    await couch.close()
    own_couchdb.start()
    couch = neighbour(settings, tmp_path)
    await couch.open()
    await couch.close()
    assert not missing(server, "activations/guest%2F1")

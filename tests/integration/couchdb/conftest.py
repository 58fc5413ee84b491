"""A real CouchDB, or what stands in for it, with databases of this run's own."""

from __future__ import annotations

import contextlib
import urllib.error
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.settings import CouchDbSettings
from tests.support.couch_server import *  # noqa: F403
from tests.support.couch_server import CouchServer, database_prefix


@pytest.fixture
def couch_settings(couchdb: CouchServer) -> Iterator[CouchDbSettings]:
    """Settings whose databases nobody else has; they are removed in the end."""
    settings = CouchDbSettings(
        url=couchdb.url, username=couchdb.user, password=couchdb.password, prefix=database_prefix()
    )
    yield settings
    for name in (settings.actions_database, settings.records_database, settings.subjects_database):
        with contextlib.suppress(urllib.error.HTTPError):
            couchdb.call("DELETE", name)


@pytest.fixture
async def couch_databases(couch_settings: CouchDbSettings) -> CouchDbSettings:
    """The same, its databases made."""
    await couch_admin.init(couch_settings, "guest")
    return couch_settings


@pytest.fixture
async def couch_client(couch_databases: CouchDbSettings) -> AsyncIterator[Any]:
    """A client of those."""
    client = CouchClient(couch_databases)
    await client.open()
    yield client
    await client.close()

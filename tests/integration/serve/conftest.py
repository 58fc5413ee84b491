"""One Kafka, one CouchDB and one invoker that serves, for all scenarios that don't disturb them."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.settings import CouchDbSettings
from tests.support import golden
from tests.support.authority import Authority
from tests.support.couch_server import *  # noqa: F403
from tests.support.couch_server import CouchServer, database_prefix
from tests.support.docker_fixtures import TestNetwork
from tests.support.kafka_server import *  # noqa: F403
from tests.support.kafka_server import Broker
from tests.support.serving import Place, Served, serving
from tests.support.serving_client import Client, Ended, client

BLOCKED = "blocked"
LOG_SHOWN_CHARACTERS = 4_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the invokers say of it."""
    report = yield
    if report.failed:
        for served in Served.alive:
            report.sections.append((f"log of {served.topic}", served.told()[-LOG_SHOWN_CHARACTERS:]))
    return report


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates the invokers show."""
    return Authority(tmp_path_factory.mktemp("serve-certificates"))


@pytest.fixture(scope="session")
def place(
    kafka: Broker,
    couchdb: CouchServer,
    docker_network: TestNetwork,
    docker_images: dict[str, str],
    authority: Authority,
) -> Iterator[Place]:
    """The neighbours; one namespace is blocked."""
    found = Place(kafka, couchdb, database_prefix(), docker_network, docker_images, authority)
    with databases(found):
        yield found


@contextlib.contextmanager
def databases(place: Place) -> Generator[None]:
    """What the invoker has to find in CouchDB, for as long as it is needed."""
    settings = CouchDbSettings(
        url=place.couch.url, username=place.couch.user, password=place.couch.password, prefix=place.prefix
    )
    asyncio.run(couch_admin.init(settings, "guest"))
    limits = {"concurrentInvocations": 0, "invocationsPerMinute": 0}
    place.couch.call("PUT", f"{settings.subjects_database}/{BLOCKED}%2Flimits", limits)
    try:
        yield
    finally:
        for name in (settings.actions_database, settings.records_database, settings.subjects_database):
            with contextlib.suppress(urllib.error.URLError):
                place.couch.call("DELETE", name)


@pytest.fixture(scope="session")
def served(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An invoker that serves all scenarios but those that end it or take a neighbour away."""
    with serving(place, tmp_path_factory.mktemp("served"), KAFKA_PINGS="true") as one:
        yield one


@pytest.fixture
async def peer(served: Served) -> AsyncIterator[Client]:
    """A controller of this test's own, with the shared invoker."""
    async with client(served) as made:
        yield made


@pytest.fixture
def same() -> Callable[[str, Ended], None]:
    """Compares what came of an activation with the golden file of this name."""

    def compare(name: str, ended: Ended) -> None:
        shown: dict[str, Any] = {"acknowledgement": ended.acknowledgement}
        if ended.record is not ended.acknowledgement["response"]:
            shown["record"] = ended.record
        golden.compare(Path(__file__).parent / "golden", name, shown)

    return compare

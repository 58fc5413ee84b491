"""One Kafka, one CouchDB, two invokers that serve, and controllers that send to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

import pytest

from invoker.io.couchdb import admin as couch_admin
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.kafka.settings import KafkaSettings
from loadtest.controller import Controller
from loadtest.settings import ControllerSettings, InvokerAddress
from tests.integration.serve.conftest import authority, place, pytest_runtest_makereport
from tests.support.couch_server import *  # noqa: F403
from tests.support.kafka_server import *  # noqa: F403
from tests.support.serving import Place, Served, serving

__all__ = ["authority", "place", "pytest_runtest_makereport"]

MEMORY_MB = 512
NAME = f"load{os.getpid()}"

Controllers = Callable[..., AbstractAsyncContextManager[Controller]]


@pytest.fixture(scope="session")
def pair(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """Two invokers with room for one action of MEMORY_MB each."""
    with ExitStack() as stack:
        first, second = [
            stack.enter_context(serving(place, tmp_path_factory.mktemp("load"), **serve_settings())) for _ in range(2)
        ]
        yield first, second


def serve_settings() -> dict[str, str]:
    """What an invoker of these tests is set up with beside its place."""
    return {"USER_MEMORY": f"{MEMORY_MB} MB", "KAFKA_PINGS": "true"}


def address(served: Served) -> InvokerAddress:
    """Where a controller finds an invoker. Its memory it tells itself."""
    return InvokerAddress(served.instance, f"https://127.0.0.1:{served.port}")


def couch_settings(place: Place) -> CouchDbSettings:
    """The databases."""
    couch = place.couch
    return CouchDbSettings(url=couch.url, username=couch.user, password=couch.password, prefix=place.prefix)


@pytest.fixture
def controllers(place: Place) -> Controllers:
    """Makes a controller of these invokers, which can be sent to when it is entered."""

    @asynccontextmanager
    async def make(*served: Served, **changes: Any) -> AsyncGenerator[Controller]:
        given: dict[str, Any] = {
            "name": NAME,
            "kafka": KafkaSettings(hosts=(place.kafka.bootstrap,), tls=False, fetch_wait_ms=50),
            "couch": couch_settings(place),
            "invokers": tuple(address(each) for each in served),
            "authority": str(place.authority.file),
            "tls_server_name": "localhost",
            "ping_every_s": 0.2,
        }
        async with Controller(ControllerSettings(**(given | changes))) as controller:
            await controller.until_healthy()
            yield controller

    return make


@pytest.fixture(scope="session")
def credentials(place: Place) -> str:
    """The guest's, `uuid:key`."""
    return asyncio.run(couch_admin.init(couch_settings(place), "guest")).credentials

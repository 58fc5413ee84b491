"""The client of CouchDB: what it tries again and for how long, what it takes, how long a connection lives."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from invoker.errors import PlatformFault, SettingsError
from invoker.io.couchdb.client import AnswerTooLarge, CouchClient, CouchUnreachable, segment, told, trust
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.http.tls import server_context
from tests.support.authority import Authority
from tests.support.couch_fake import PASSWORD, USER, FakeCouch, Passing, cut, fake_couch, status

pytestmark = pytest.mark.contract("8", "19")


@pytest.fixture
async def server() -> AsyncIterator[FakeCouch]:
    async with fake_couch() as fake:
        yield fake


def settings(server: FakeCouch, **given: Any) -> CouchDbSettings:
    return CouchDbSettings(url=server.url, username=USER, password=PASSWORD, **given)


@pytest.fixture
def pace() -> Passing:
    return Passing()


@pytest.fixture
async def client(server: FakeCouch, pace: Passing) -> AsyncIterator[CouchClient]:
    made = CouchClient(settings(server, body_limit_bytes=1000), pace)
    await made.open()
    yield made
    await made.close()
    await made.close()


async def test_an_answer_of_any_status_is_an_answer(client: CouchClient, server: FakeCouch) -> None:
    server.put("whisks", {"_id": "guest/hello"})
    assert (await client.read(f"whisks/{segment('guest/hello')}")).status == 200
    assert (await client.read("whisks/none")).status == 404
    server.faults.append(status(500))
    assert (await client.read("whisks/none")).status == 500
    assert server.requests == ["GET /whisks/guest%2Fhello", "GET /whisks/none", "GET /whisks/none"]


async def test_connection_trouble_is_tried_again(client: CouchClient, server: FakeCouch, pace: Passing) -> None:
    server.faults += [status(503), status(502), status(504), status(429)]
    assert (await client.read("")).status == 200
    assert pace.waited_s == [0.1, 0.2, 0.4, 0.8]


async def test_a_cut_connection_is_trouble(client: CouchClient, server: FakeCouch, pace: Passing) -> None:
    server.faults += [cut, cut, cut]
    assert (await client.read("")).status == 200
    assert 1 <= len(pace.waited_s) <= 3  # the transport tries a fresh connection once by itself


async def test_after_two_minutes_in_all_it_gives_up(client: CouchClient, server: FakeCouch, pace: Passing) -> None:
    await server.stop()
    with pytest.raises(CouchUnreachable, match=r"no answer from CouchDB at http://127\.0\.0\.1"):
        await client.read("")
    assert pace.waited_s[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert set(pace.waited_s[6:]) == {5.0}
    assert 115 < sum(pace.waited_s) <= 120


async def test_a_closed_client_waits_for_nothing(server: FakeCouch) -> None:
    class Never(Passing):
        async def wait(self, event: asyncio.Event, timeout_s: float) -> bool:
            began.set()
            return await event.wait()

    began = asyncio.Event()
    client = CouchClient(settings(server), Never())
    await client.open()
    await server.stop()
    reading = asyncio.create_task(client.read(""))
    async with asyncio.timeout(10):
        await began.wait()
        await client.close()
        with pytest.raises(CouchUnreachable):
            await reading
    with pytest.raises(CouchUnreachable, match="closed"):
        await client.once("GET", "")


@pytest.mark.parametrize("told_length", [True, False])
async def test_an_answer_over_the_cap_is_not_taken(client: CouchClient, server: FakeCouch, told_length: bool) -> None:
    async def body() -> Any:
        for _ in range(11):
            yield b"x" * 100

    server.faults.append(lambda _: web.Response(body=b"x" * 1100 if told_length else body()))
    with pytest.raises(AnswerTooLarge, match=r"longer than 1000 B; .* COUCH_BODY_LIMIT"):
        await client.read("")
    server.faults.append(lambda _: web.Response(body=b"x" * 1000))
    assert len((await client.read("")).body) == 1000


async def test_a_connection_lives_fifteen_seconds(client: CouchClient, server: FakeCouch, pace: Passing) -> None:
    for now_s in (0, 5, 14.9):
        pace.now_ns = int(now_s * 1e9)
        await client.read("")
    assert len(server.connections) == 1
    pace.now_ns = int(15 * 1e9)
    await client.read("")
    assert len(server.connections) == 2
    pace.now_ns = int(29.9 * 1e9)
    await client.read("")
    assert len(server.connections) == 2


async def test_a_request_under_way_outlives_its_generation(server: FakeCouch, pace: Passing) -> None:
    """A new generation begins while one is being answered: that one is not cut off."""
    client = CouchClient(settings(server), pace)
    await client.open()
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        begun.set()
        await go.wait()
        yield b"late"

    server.faults.append(lambda _: web.Response(body=slow()))
    slowly = asyncio.create_task(client.read("x"))
    async with asyncio.timeout(10):
        await begun.wait()
        pace.now_ns += 16_000_000_000
        assert (await client.read("")).status == 200
        go.set()
        assert (await slowly).body == b"late"
    await client.close()


async def test_a_server_that_never_answers_takes_no_longer_than_all_tries_may(server: FakeCouch) -> None:
    client = CouchClient(settings(server, retry_limit_s=0.3, request_timeout_s=60))
    await client.open()
    go = asyncio.Event()

    async def never() -> Any:
        await go.wait()
        yield b""

    server.faults += [lambda _: web.Response(body=never())] * 10
    async with asyncio.timeout(10):
        with pytest.raises(CouchUnreachable, match="none came in time"):
            await client.read("")
    go.set()
    await client.close()


async def test_a_redirect_is_not_followed_with_our_password(client: CouchClient, server: FakeCouch) -> None:
    server.faults.append(lambda _: web.Response(status=302, headers={"Location": f"{server.url}/elsewhere"}))
    assert (await client.read("")).status == 302
    assert server.requests == ["GET /"]


def test_what_is_told_names_the_way_out() -> None:
    def text(code: int, body: bytes) -> str:
        from invoker.io.couchdb.client import Answer

        return told(Answer(code, body), "GET x")

    assert text(401, b'{"error":"unauthorized","reason":"no"}') == (
        "CouchDB answered 401 to GET x: unauthorized: no; see COUCH_USERNAME and COUCH_PASSWORD"
    )
    assert text(404, b'{"reason":"Database does not exist."}').endswith("`invoker couchdb init` makes the databases")
    assert text(500, b"<html>") == "CouchDB answered 500 to GET x"
    assert len(text(500, msgspec.json.encode({"error": "e" * 10_000}))) < 300


def test_a_password_is_in_no_text() -> None:
    made = CouchDbSettings(url="http://x", username="u", password="correct horse")
    assert "correct" not in repr(made)
    assert "correct" not in f"{made}"


def test_the_cluster_authority_is_trusted_beside_the_systems(tmp_path: Path) -> None:
    def of(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
        return trust(CouchDbSettings(url=url, username="u", password="p", ca_file=ca_file and str(ca_file)))

    assert of("http://couchdb:5984", tmp_path / "none") is None
    context = of("https://couchdb:6984", None)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    with pytest.raises(SettingsError, match=r"none, can't be read: No such file .*CLUSTER_CA_FILE"):
        of("https://couchdb:6984", tmp_path / "none")
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(SettingsError, match="can't be read"):
        of("https://couchdb:6984", tmp_path / "ca.crt")


async def test_a_server_of_the_clusters_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with fake_couch(server_context(*authority.issue("localhost"))) as server:
        for ca_file, trusted in ((str(authority.file), True), (None, False)):
            client = CouchClient(settings(server, ca_file=ca_file, retry_limit_s=0.0), Passing())
            await client.open()
            if trusted:
                assert (await client.read("")).status == 200
            else:
                with pytest.raises(CouchUnreachable, match="certificate"):
                    await client.read("")
            await client.close()


async def test_everything_raised_is_ours(client: CouchClient, server: FakeCouch) -> None:
    server.faults += [lambda _: web.Response(headers={"Content-Encoding": "gzip"}, body=b"no gzip")] * 100
    with pytest.raises(PlatformFault):
        await client.once("GET", "")

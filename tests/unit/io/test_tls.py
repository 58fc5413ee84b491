"""TLS: what is served and refused, and that a wrong file is told with its path and a remedy."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from invoker.errors import SettingsError
from invoker.io.http.server import Exchange, Limits, Request, Router
from invoker.io.http.tls import server_context
from tests.support.authority import Authority
from tests.support.raw_http import post, serving, until

EACH_LOOP = True


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def routes() -> Router:
    async def invoke(request: Request, exchange: Exchange) -> None:
        exchange.begin()
        await asyncio.sleep(0)
        names = ",".join(sorted(request.peer.names))
        exchange.finish(f"{request.peer_subject}:{len(request.body)}:{names}".encode())

    router = Router()
    router.add("POST", "/invoke", invoke)
    return router


@pytest.mark.contract("4")
async def test_invocations_over_tls(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    client = authority.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(routes(), tls=tls) as served, served.peer(client) as peer:
        for size in (10, 100_000, 2_000_000):
            assert (await peer.ask(post(b"x" * size))).body == f"None:{size}:".encode()
        assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        peer.send(post(b"1") + post(b"22"))
        assert [(await peer.answer()).body for _ in range(2)] == [b"None:1:", b"None:2:"]


async def test_a_flood_over_tls_is_served_in_order(authority: Authority) -> None:
    """What arrives while a request is served is held back and lost nowhere, also between TLS records."""
    release = asyncio.Event()

    async def wait(request: Request, exchange: Exchange) -> None:
        exchange.begin()
        await release.wait()
        exchange.finish(str(len(request.body)).encode())

    router = Router()
    router.add("POST", "/invoke", wait)
    tls = server_context(*authority.issue("localhost"))
    async with serving(router, tls=tls) as served, served.peer(authority.client()) as peer:
        sizes = [5, *range(1_000_000, 1_000_010)]
        for size in sizes:
            peer.send(post(b"x" * size))
        status, fields = await peer.head()
        assert status == 200
        release.set()
        assert await peer.body(fields) == b"5"
        assert [(await peer.answer()).body for _ in sizes[1:]] == [str(size).encode() for size in sizes[1:]]


def test_a_named_pipe_in_place_of_a_file_blocks_nothing(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("localhost")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    for path, words in ((tmp_path / "pipe", "no regular file"), (tmp_path / "large", "more than 1048576 bytes")):
        with pytest.raises(SettingsError, match=words):
            server_context(path, key)
        with pytest.raises(SettingsError, match=words):
            server_context(certificate, path)


async def test_refusals_over_tls(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    limits = Limits(body_bytes=10, linger_timeout_s=0.1)
    async with serving(routes(), limits, tls) as served, served.peer(authority.client()) as peer:
        assert (await peer.ask(post(b"x" * 11))).status == 413
        await until(lambda: served.server.connections == 0)


async def test_a_client_certificate_is_asked_for_and_its_names_known(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"), authority.file)
    alternatives = [
        x509.DNSName("controller.example"),
        x509.UniformResourceIdentifier("spiffe://example/controller"),
        x509.RFC822Name("ops@example.com"),
    ]
    async with serving(routes(), tls=tls) as served:
        async with served.peer(authority.client("controller", alternatives)) as peer:
            names = "controller,controller.example,ops@example.com,spiffe://example/controller"
            assert (await peer.ask(post(b"x"))).body == f"CN=controller,O=tests:1:{names}".encode()
        async with served.peer(authority.client()) as peer:  # for probes; who may call what, `access` says
            assert (await peer.ask(post(b"x"))).body == b"None:1:"


async def test_a_certificate_of_another_authority_is_no_certificate(authority: Authority, tmp_path: Path) -> None:
    tls = server_context(*authority.issue("localhost"), authority.file)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "another authority").client("controller")
    stranger.load_verify_locations(authority.file)
    failed: list[str] = []
    async with serving(routes(), tls=tls, on_handshake_failed=failed.append) as served:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with served.peer(stranger) as peer:
                await peer.ask(post(b"x"))
        await until(lambda: failed == ["refused"])


@pytest.mark.contract("4")
async def test_tls_1_2_is_spoken(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    client = authority.client()
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(routes(), tls=tls) as served, served.peer(client) as peer:
        assert (await peer.ask(post(b"x"))).status == 200
        assert peer.writer.get_extra_info("ssl_object").version() == "TLSv1.2"


@pytest.mark.contract("4")
@pytest.mark.parametrize("version", [b"\x03\x01", b"\x03\x02"], ids=["TLS 1.0", "TLS 1.1"])
async def test_what_is_older_is_refused(authority: Authority, version: bytes) -> None:
    """By a hello written by hand, for the test's own OpenSSL may not speak these any more."""
    hello = version + bytes(32) + b"\0" + b"\0\x04\xc0\x09\xc0\x13" + b"\x01\0" + b"\0\x08\0\x0a\0\x04\0\x02\0\x17"
    message = b"\x01" + len(hello).to_bytes(3, "big") + hello
    tls = server_context(*authority.issue("localhost"))
    failed: list[str] = []
    async with serving(routes(), tls=tls, on_handshake_failed=failed.append) as served, served.peer() as peer:
        peer.send(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
        alert = await peer.rest()
        assert (alert[0], alert[-2:]) == (21, b"\x02\x46"), "a fatal alert: protocol version"
        assert failed == ["refused"]


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_a_peer_that_never_shakes_hands_is_cut_off(authority: Authority, said: bytes) -> None:
    tls = server_context(*authority.issue("localhost"))
    failed: list[str] = []
    async with (
        serving(routes(), Limits(handshake_timeout_s=0.1), tls, on_handshake_failed=failed.append) as served,
        served.peer() as peer,
    ):
        peer.send(said)
        assert await peer.rest() == b""
        assert failed == ["timeout"]


@pytest.mark.parametrize(
    "said",
    [
        post(b"plain"),
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x2e\x01\x00\x02" + bytes(60),
    ],
    ids=["plain HTTP", "a record too long", "no hello", "SSL 2"],
)
async def test_what_is_no_handshake_ends_the_connection(authority: Authority, said: bytes) -> None:
    tls = server_context(*authority.issue("localhost"))
    failed: list[str] = []
    async with serving(routes(), tls=tls, on_handshake_failed=failed.append) as served, served.peer() as peer:
        peer.send(said)
        assert b"HTTP" not in await peer.rest()
        assert failed == ["refused"]
        assert served.errors == []
        async with served.peer(authority.client()) as good:
            assert (await good.ask(post(b"x"))).status == 200


async def test_handshakes_are_bounded_and_the_oldest_makes_room(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    failed: list[str] = []
    limits = Limits(handshakes=2, handshake_timeout_s=60)
    async with serving(routes(), limits, tls, on_handshake_failed=failed.append) as served:
        async with served.peer() as first, served.peer() as second:
            await until(lambda: served.server.connections == 2)
            async with served.peer(authority.client()) as peer:
                assert (await peer.ask(post(b"x"))).status == 200
            assert await first.rest() == b""
            assert failed == ["crowded"]
            second.abort()
            await until(lambda: failed == ["crowded", "left"])
        async with served.peer() as stalled:
            await until(lambda: served.server.connections == 1)
            await served.server.close(1.0)
            assert await stalled.rest() == b""
        assert failed[-1] == "closing"


async def test_a_refusal_reaches_a_peer_that_goes_on_sending_over_tls(authority: Authority) -> None:
    """The connection is half closed, so that what comes on can be read and dropped."""
    tls = server_context(*authority.issue("localhost"))
    async with serving(routes(), Limits(body_bytes=1000), tls) as served, served.peer(authority.client()) as peer:
        peer.send(b"POST /invoke HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
        assert (await peer.answer()).status == 413


async def test_a_peer_that_never_reads_is_cut_off_over_tls(authority: Authority) -> None:
    def large(_request: Request, exchange: Exchange) -> None:
        exchange.respond(200, b"x" * 50_000_000)

    router = Router()
    router.add("POST", "/invoke", large)
    tls = server_context(*authority.issue("localhost"))
    async with serving(router, Limits(idle_timeout_s=0.2), tls) as served, served.peer(authority.client()) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(post(b"{}"))
        await until(lambda: served.server.connections == 1)
        await until(lambda: served.server.connections == 0)


async def test_a_record_that_was_changed_ends_the_connection(authority: Authority) -> None:
    handled: list[bytes] = []
    router = Router()
    router.add("POST", "/invoke", lambda request, exchange: (handled.append(request.body), exchange.respond(200))[1])
    tls = server_context(*authority.issue("localhost"))
    async with serving(router, tls=tls) as served, served.peer() as peer:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        async with asyncio.timeout(5):
            while True:
                try:
                    client.do_handshake()
                except ssl.SSLWantReadError:
                    peer.send(outgoing.read())
                    incoming.write(await peer.reader.read(65536))
                else:
                    break
        client.write(post(b"secret"))
        sealed = bytearray(outgoing.read())
        sealed[-1] ^= 1
        peer.send(bytes(sealed))
        await peer.rest()
        await until(lambda: served.server.connections == 0)
    assert handled == []
    assert served.errors == []


async def test_sessions_are_not_resumed(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    async with serving(routes(), tls=tls) as served, served.peer(authority.client()) as peer:
        await peer.ask(post(b"x"))
        session = peer.writer.get_extra_info("ssl_object").session
        assert session is None or not session.has_ticket


def test_wrong_files_are_told(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("localhost")
    _, other_key = authority.issue("other")
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"no pem")
    missing = tmp_path / "missing"
    locked_certificate, locked_key = authority.issue("locked", b"secret")
    for arguments, words in (
        ((missing, key), f"certificate, {missing}, can't be read.*TLS_CERT_FILE"),
        ((certificate, missing), f"private key, {missing}, can't be read.*TLS_KEY_FILE"),
        ((certificate, other_key), f"{other_key} is not the key of the certificate {certificate}.*give the pair"),
        ((rubbish, key), "can't be used.*PEM"),
        ((locked_certificate, locked_key), f"{locked_key} is encrypted.*without a passphrase"),
        ((certificate, key, missing), f"authority of client certificates, {missing}, can't be read"),
        ((certificate, key, rubbish), f"{rubbish} holds no certificate authority"),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            server_context(*arguments)
        assert "secret" not in str(caught.value)

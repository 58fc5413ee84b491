"""TLS: what is served and refused, and that a wrong file is told with its path and a remedy."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from invoker.errors import SettingsError
from invoker.io.http_server import Exchange, Limits, Request, Router
from invoker.io.tls import load_chain, server_context
from tests.support.raw_http import post, serving, until

EACH_LOOP = True


class Authority:
    """Makes certificates in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = self._write("ca.crt", self._certificate(self.name, self.key, authority=True))

    def issue(self, name: str, passphrase: bytes | None = None) -> tuple[Path, Path]:
        """A certificate for `name`, organisation `tests`, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests")]
        )
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        return (
            self._write(f"{name}.crt", self._certificate(subject, key, authority=False)),
            self._write(f"{name}.key", pem),
        )

    def client(self, name: str | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, with a certificate where a name is given."""
        context = ssl.create_default_context(cafile=str(self.file))
        if name is not None:
            context.load_cert_chain(*self.issue(name))
        return context

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def routes() -> Router:
    async def invoke(request: Request, exchange: Exchange) -> None:
        exchange.begin()
        await asyncio.sleep(0)
        exchange.finish(f"{request.peer_subject}:{len(request.body)}".encode())

    router = Router()
    router.add("POST", "/invoke", invoke)
    return router


async def test_invocations_over_tls(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    client = authority.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(routes(), tls=tls) as served, served.peer(client) as peer:
        for size in (10, 100_000, 2_000_000):
            assert (await peer.ask(post(b"x" * size))).body == f"None:{size}".encode()
        assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        peer.send(post(b"1") + post(b"22"))
        assert [(await peer.answer()).body for _ in range(2)] == [b"None:1", b"None:2"]


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


async def test_a_renewed_certificate_serves_new_connections(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    async with serving(routes(), tls=tls) as served:
        serials: list[str] = []
        for _ in range(2):
            async with served.peer(authority.client()) as peer:
                assert (await peer.ask(post(b"x"))).status == 200
                serials.append(peer.writer.get_extra_info("peercert")["serialNumber"])
            load_chain(tls, *authority.issue("localhost"))
        assert serials[0] != serials[1]


async def test_refusals_over_tls(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    limits = Limits(body_bytes=10, linger_timeout_s=0.1)
    async with serving(routes(), limits, tls) as served, served.peer(authority.client()) as peer:
        assert (await peer.ask(post(b"x" * 11))).status == 413
        await until(lambda: served.server.connections == 0)


async def test_a_client_certificate_is_asked_for_and_its_subject_known(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"), authority.file)
    async with serving(routes(), tls=tls) as served:
        async with served.peer(authority.client("controller")) as peer:
            assert (await peer.ask(post(b"x"))).body == b"CN=controller,O=tests:1"
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with served.peer(authority.client()) as peer:
                await peer.ask(post(b"x"))


async def test_tls_1_1_is_refused(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    assert tls.minimum_version == ssl.TLSVersion.TLSv1_2
    client = authority.client()
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(routes(), tls=tls) as served, served.peer(client) as peer:
        assert (await peer.ask(post(b"x"))).status == 200
        assert peer.writer.get_extra_info("ssl_object").version() == "TLSv1.2"


async def test_a_peer_that_never_shakes_hands_is_cut_off(authority: Authority) -> None:
    tls = server_context(*authority.issue("localhost"))
    async with serving(routes(), Limits(handshake_timeout_s=0.1), tls) as served, served.peer() as peer:
        assert await peer.rest() == b""


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

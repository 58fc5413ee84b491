"""The client's door over TLS: whom it trusts, and what it says of whom it doesn't."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from invoker.client import Client, HttpDoor, Unreachable
from invoker.errors import CallerFault
from invoker.io.dev import page as dev_file
from invoker.io.http import tls
from invoker.io.http.server import Exchange, HttpServer, Request, Router


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """An HTTPS listener that answers the door's first question."""

    def info(_request: Request, exchange: Exchange) -> None:
        exchange.respond(200, b"{}")

    router = Router()
    router.add("GET", "/api/v1/", info)
    context = tls.server_context(*self_signed(tmp_path))
    server = HttpServer(router, ssl_context=context, on_error=lambda _what, _error: None)
    await server.start("127.0.0.1", 0)
    yield f"https://127.0.0.1:{server.port}"
    await server.close(1.0)


async def test_a_certificate_that_was_given_is_trusted(url: str, tmp_path: Path) -> None:
    client = Client(HttpDoor(url, str(tmp_path / "tls.crt")))
    assert await asyncio.to_thread(client.info) == b"{}"


async def test_an_unknown_certificate_is_told_with_what_to_do(url: str) -> None:
    with pytest.raises(Unreachable, match="--ca-file"):
        await asyncio.to_thread(Client(HttpDoor(url)).info)


async def test_plain_http_finds_no_invoker_there(url: str) -> None:
    with pytest.raises(Unreachable, match="no invoker answers"):
        await asyncio.to_thread(Client(HttpDoor(url.replace("https", "http"))).info)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match=r"nowhere\.crt"):
        HttpDoor("https://127.0.0.1:1", str(tmp_path / "nowhere.crt"))


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http:///x", "http://h:port", "http://["]
)
def test_a_url_has_a_form(url: str) -> None:
    with pytest.raises(CallerFault, match="--url is something like"):
        HttpDoor(url)


def test_the_page_is_read_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    claim = dev_file.claim(Path("d"))
    claim.publish(dev_file.DevPage("https://127.0.0.1:1", 1, "process", "d/decisions", "tls.crt"))
    monkeypatch.chdir("/")
    page = dev_file.find(tmp_path / "d")
    assert page is not None
    assert (page.decision_log, page.ca_file) == (str(tmp_path / "d" / "decisions"), str(tmp_path / "tls.crt"))
    claim.release()
    assert dev_file.find(tmp_path / "d") is None

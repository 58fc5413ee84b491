"""Certificates that change while they serve: what is taken into use, what is not, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path

import pytest

from invoker.errors import PlatformFault, SettingsError
from invoker.io.http.server import Exchange, Request, Router
from invoker.io.http.tls import ServerTls, TlsFiles
from tests.support.authority import Authority
from tests.support.raw_http import Served, post, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def routes() -> Router:
    def invoke(_request: Request, exchange: Exchange) -> None:
        exchange.respond(200)

    router = Router()
    router.add("POST", "/invoke", invoke)
    return router


async def serial(served: Served, client: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection is served with."""
    async with served.peer(client) as peer:
        assert (await peer.ask(post(b"x"))).status == 200
        return str(peer.writer.get_extra_info("peercert")["serialNumber"])


class Renewing:
    """A certificate in place, and what became of each change."""

    def __init__(self, authority: Authority, look_every_s: float = 3600.0) -> None:
        self.certificate, self.key = authority.issue("localhost")
        self.reloads: list[bool] = []
        self.not_after_s: list[float] = []
        self.changed = asyncio.Event()
        files = TlsFiles(certificate=self.certificate, key=self.key, look_every_s=look_every_s)
        self.tls = ServerTls(files, on_reload=self._on_reload, on_expiry=self.not_after_s.append)

    def _on_reload(self, what: str, taken: bool) -> None:
        assert what == "tls"
        self.reloads.append(taken)
        self.changed.set()


@pytest.mark.contract("4")
async def test_a_renewed_certificate_serves_new_connections_and_the_others_go_on(authority: Authority) -> None:
    renewing = Renewing(authority, look_every_s=0.01)
    await renewing.tls.open()
    async with serving(routes(), tls=renewing.tls.current) as served, served.peer(authority.client()) as kept:
        assert (await kept.ask(post(b"1"))).status == 200
        first = await serial(served, authority.client())
        old_key = renewing.key.read_bytes()
        authority.issue("localhost")  # in place, the key after the certificate: for a moment they don't match
        async with asyncio.timeout(5):
            while True not in renewing.reloads:
                renewing.changed.clear()
                await renewing.changed.wait()
        assert renewing.key.read_bytes() != old_key
        assert await serial(served, authority.client()) != first
        assert (await kept.ask(post(b"22"))).status == 200
        assert kept.writer.get_extra_info("peercert")["serialNumber"] == first
    await renewing.tls.close()
    await renewing.tls.close()
    assert len(renewing.not_after_s) == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_pair_that_does_not_match_keeps_the_old_one(
    authority: Authority, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """Loaded into the live context, it would end every handshake from here on."""
    client = authority.client()
    client.minimum_version = client.maximum_version = version
    renewing = Renewing(authority)
    await renewing.tls.open()
    async with serving(routes(), tls=renewing.tls.current) as served:
        first = await serial(served, client)
        good = renewing.key.read_bytes()
        renewing.key.write_bytes(authority.issue("other")[1].read_bytes())
        for _ in range(3):
            assert await renewing.tls.look() is False
            assert await serial(served, client) == first
        assert renewing.reloads == [False], "told once, however often it is looked at"
        told = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(told) == 1
        assert "is not the key of the certificate" in told[0].getMessage()
        renewing.key.write_bytes(good[: len(good) // 2])
        assert await renewing.tls.look() is False
        renewing.key.unlink()
        assert await renewing.tls.look() is False
        assert await serial(served, client) == first
        renewing.key.write_bytes(good)
        assert await renewing.tls.look() is False, "as it was: nothing to take"
        assert renewing.reloads == [False, False, False]
    await renewing.tls.close()


async def test_mounted_secrets_are_swapped_by_a_link(authority: Authority, tmp_path: Path) -> None:
    """As Kubernetes does: the files are links into `..data`, which is a link to a directory that is replaced."""
    client = authority.client()
    for number in (1, 2):
        directory = tmp_path / f"..{number}"
        directory.mkdir()
        certificate, key = authority.issue("localhost")
        certificate.rename(directory / "tls.crt")
        key.rename(directory / "tls.key")
    data = tmp_path / "..data"
    data.symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    tls = ServerTls(TlsFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", look_every_s=3600))
    await tls.open()
    async with serving(routes(), tls=tls.current) as served:
        first = await serial(served, client)
        assert await tls.look() is False
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(data)
        assert await tls.look() is True
        assert await serial(served, client) != first
    await tls.close()


async def test_a_certificate_written_in_the_same_tick_of_the_clock_is_seen(authority: Authority) -> None:
    renewing = Renewing(authority)
    await renewing.tls.open()
    before = renewing.certificate.stat()
    authority.issue("localhost")
    os.utime(renewing.certificate, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await renewing.tls.look() is True
    await renewing.tls.close()


async def test_a_start_with_a_wrong_file_fails_and_a_check_says_what_would_be_served(authority: Authority) -> None:
    renewing = Renewing(authority)
    assert "certificate of CN=localhost, O=tests, valid until 20" in await renewing.tls.check()
    with pytest.raises(RuntimeError, match="open first"):
        renewing.tls.current()
    renewing.key.write_text("no key")
    with pytest.raises(SettingsError, match="can't be used"):
        await renewing.tls.open()
    with pytest.raises(PlatformFault, match="can't be used"):
        await renewing.tls.check()
    await renewing.tls.close()

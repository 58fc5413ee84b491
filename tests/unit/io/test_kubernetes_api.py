"""The way to the API server: a pod's credentials, TLS, limits, and words for what went wrong."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.x509 import IPAddress

from invoker.io.kubernetes.api import ApiFault, KubernetesApi
from invoker.io.kubernetes.settings import KubernetesSettings
from tests.support.authority import Authority
from tests.support.kubernetes_api import NODES, FakeApiServer, service_account, serving

EACH_LOOP = True

TOKEN = "e30.canary-of-the-token.sig"


@asynccontextmanager
async def client(url: str, directory: Path, **given: float) -> AsyncIterator[KubernetesApi]:
    api = KubernetesApi(KubernetesSettings(url=url, credentials_dir=str(directory), **given))
    try:
        yield api
    finally:
        await api.close()
        await api.close()


async def fails(api: KubernetesApi, path: str = "/version") -> ApiFault:
    with pytest.raises(ApiFault) as caught:
        await api.get(path, {}, "asking")
    assert "canary" not in str(caught.value)
    return caught.value


async def test_the_token_of_this_moment_is_sent(tmp_path: Path) -> None:
    async with serving(FakeApiServer()) as server, client(server.url, service_account(tmp_path, "one\n")) as api:
        await api.get("/version", {}, "asking")
        service_account(tmp_path, "two")
        await api.get("/version", {}, "asking")
        assert [asked.token for asked in server.asked] == ["one", "two"]


@pytest.mark.parametrize("text", ["", " \n", "line\nline", "t\u00f6ken", "nul\0"])
async def test_what_is_no_token_is_not_sent(tmp_path: Path, text: str) -> None:
    async with serving(FakeApiServer()) as server, client(server.url, service_account(tmp_path, text)) as api:
        assert "holds no token" in str(await fails(api))
        assert server.asked == []


async def test_missing_credentials_are_told_with_a_remedy(tmp_path: Path) -> None:
    async with client("https://127.0.0.1:1", tmp_path) as api:
        assert "token, can't be read: no such file" in str(await fails(api))
        (tmp_path / "token").write_text(TOKEN)
        fault = await fails(api)
        assert "ca.crt, can't be read: no such file" in str(fault)
        assert "KUBERNETES=off" in str(fault)
        (tmp_path / "ca.crt").write_text("none")
        assert "no certificate authority in PEM" in str(await fails(api))


async def test_refusals_carry_the_servers_words(tmp_path: Path) -> None:
    async with serving(FakeApiServer()) as server, client(server.url, service_account(tmp_path, TOKEN)) as api:
        server.tokens = {"another"}
        fault = await fails(api)
        assert (fault.status, str(fault)) == (401, "asking: 401, Unauthorized")
        server.tokens = set()
        assert (await fails(api, "/elsewhere")).status == 404


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    seen: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with plain(redirect) as url, client(url, service_account(tmp_path, TOKEN)) as api:
        assert (await fails(api)).status == 307
    assert seen == ["/version"]


async def test_answers_and_their_reasons_are_bounded(tmp_path: Path) -> None:
    async def talk(request: web.Request) -> web.Response:
        return web.Response(text="x" * 100_000, status=200 if request.path == "/long" else 500)

    async with plain(talk) as url, client(url, service_account(tmp_path, TOKEN), page_limit_bytes=99_999) as api:
        assert "longer than 99999 bytes" in str(await fails(api, "/long"))
        assert len(str(await fails(api, "/bad"))) < 500


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    async with serving(FakeApiServer()) as server:
        url = server.url
    async with client(url, service_account(tmp_path, TOKEN)) as api:
        fault = await fails(api)
        assert (fault.status, url in str(fault)) == (None, True)


async def test_only_the_clusters_authority_is_trusted_and_a_new_one_is_taken(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    account = service_account(tmp_path / "account", TOKEN, theirs.file.read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.issue("server", alternatives=[IPAddress(ip_address("127.0.0.1"))]))
    async with serving(FakeApiServer(), tls=context) as server, client(server.url, account) as api:
        assert "its certificate is not of the cluster's authority" in str(await fails(api))
        assert server.asked == [], "no token went to a stranger"
        service_account(account, TOKEN, ours.file.read_text())
        await api.get(NODES, {}, "listing")
        service_account(account, TOKEN, theirs.file.read_text())
        await api.close()  # a kept connection would need no handshake
        await fails(api)
        assert len(server.asked) == 1


@asynccontextmanager
async def plain(handler: web.RequestHandler | object) -> AsyncIterator[str]:
    """A server with one handler for all; its address."""
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

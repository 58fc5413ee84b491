"""Who may call what: certificates for /invoke, the token for what looks inside, and what stays open for probes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509

from invoker.errors import PlatformFault, SettingsError
from invoker.io.http.access import Clients, Guard, TokenSettings
from invoker.io.http.messages import Exchange, Request, Wire
from invoker.io.http.peer import UNKNOWN, Peer, identify
from invoker.io.http.server import Handler, Router
from invoker.io.http.tls import server_context
from tests.support.authority import Authority
from tests.support.raw_http import Answer, post, serving

EACH_LOOP = True
TOKEN, OTHER = "0123456789abcdef-one", "0123456789abcdef-two"


def answer(_request: Request, exchange: Exchange) -> None:
    exchange.respond(200, b"inside")


def get(path: str, *fields: str, host: str = "localhost") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


class Asked:
    """Stands in for a connection of some peer: asks one handler, and keeps what it answered."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.status = 0
        self.text = ""
        self.fields: dict[str, str] = {}

    def respond(self, status: int, body: bytes = b"", _type: str = "", headers: object = ()) -> None:
        self.status = status
        self.text = body.decode()
        self.fields = dict(cast("list[tuple[str, str]]", headers))

    def ask(self, handler: Handler, **fields: str) -> Asked:
        sent = {
            name.replace("_", "-").encode(): value.encode() for name, value in {"host": "localhost", **fields}.items()
        }
        assert handler(Request("GET", b"/debug/pool", sent, b"", cast("Wire", self)), cast("Exchange", self)) is None
        return self


LOCAL, REMOTE = Peer("127.0.0.1", on_this_machine=True), Peer("10.0.0.9")


# -- the token ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "fields", "status"),
    [
        (LOCAL, {}, 200),
        (LOCAL, {"host": "127.0.0.1:8443"}, 200),
        (LOCAL, {"host": "[::1]:8443"}, 200),
        (REMOTE, {}, 403),
        (UNKNOWN, {}, 403),
        (LOCAL, {"host": "evil.example"}, 403),  # a page whose own name was made to lead here
        (LOCAL, {"host": "localhost.evil.example:80"}, 403),
        (LOCAL, {"origin": "https://evil.example"}, 403),
        (LOCAL, {"x_forwarded_for": "10.0.0.9"}, 403),
        (LOCAL, {"forwarded": "for=10.0.0.9"}, 403),
        (LOCAL, {"via": "1.1 proxy"}, 403),
        (REMOTE, {"host": "127.0.0.1", "x_forwarded_for": "127.0.0.1"}, 403),
        (REMOTE, {"authorization": f"Bearer {TOKEN}"}, 403),
    ],
)
def test_without_a_token_only_this_machine_is_let_in(peer: Peer, fields: dict[str, str], status: int) -> None:
    refused: list[str] = []
    asked = Asked(peer).ask(Guard(TokenSettings(), on_refused=refused.append)(answer), **fields)
    assert asked.status == status
    assert refused == ([] if status == 200 else ["remote"])
    if status == 403:
        assert "ADMIN_TOKEN" in json.loads(asked.text)["error"]


@pytest.mark.parametrize("peer", [LOCAL, REMOTE])
@pytest.mark.parametrize(
    ("shown", "status", "reason"),
    [
        (f"Bearer {TOKEN}", 200, None),
        (f"bearer  {TOKEN} ", 200, None),
        (None, 401, "no_token"),
        ("", 401, "token"),
        ("Bearer", 401, "token"),
        ("Bearer ", 401, "token"),
        (f"Bearer {TOKEN[:-1]}", 401, "token"),
        (f"Bearer {TOKEN}x", 401, "token"),
        (f"Bearer {TOKEN.upper()}", 401, "token"),
        (f"Basic {TOKEN}", 401, "token"),
        (TOKEN, 401, "token"),
        (f"Bearer {OTHER}, Bearer {TOKEN}", 401, "token"),
        ("Bearer é\xff", 401, "token"),
    ],
)
def test_with_a_token_it_is_asked_of_everyone(peer: Peer, shown: str | None, status: int, reason: str | None) -> None:
    refused: list[str] = []
    guard = Guard(TokenSettings(token=TOKEN), on_refused=refused.append)
    asked = Asked(peer).ask(guard(answer), **({} if shown is None else {"authorization": shown}))
    assert asked.status == status
    assert refused == ([] if reason is None else [reason])
    if status == 401:
        assert asked.fields == {"WWW-Authenticate": 'Bearer realm="invoker"'}
        assert TOKEN not in asked.text


def test_how_long_a_token_is_compared_tells_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """All known tokens are compared, by digests of one length, also after one matched."""
    lengths: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        lengths.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("invoker.io.http.access.hmac.compare_digest", compare)
    handler = Guard(TokenSettings(token=TOKEN))(answer)
    for shown in (TOKEN, "x", TOKEN * 50):
        Asked(LOCAL).ask(handler, authorization=f"Bearer {shown}")
    assert lengths == [(32, 32)] * 3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN}\n\n  {OTHER}  \r\n")
    return path


def test_tokens_of_a_file_are_rolled_without_a_restart(file: Path) -> None:
    reloads: list[bool] = []
    settings = TokenSettings(file=file, look_every_s=3600)
    guard = Guard(settings, on_reload=lambda what, taken: reloads.append(taken))
    handler = guard(answer)

    def status(token: str) -> int:
        return Asked(REMOTE).ask(handler, authorization=f"Bearer {token}").status

    put, remove = file.write_text, file.unlink

    async def roll() -> None:
        assert Asked(LOCAL).ask(handler).status == 401, "before the file was read nobody is let in, not even from here"
        await guard.open()
        assert [status(TOKEN), status(OTHER), status("x")] == [200, 200, 401]
        put(OTHER)
        assert await guard.look() is True
        assert [status(TOKEN), status(OTHER)] == [401, 200]
        for broken in ("", "short", "a token with spaces", "é" * 20, "\n".join([TOKEN] * 17)):
            put(broken)
            assert await guard.look() is False
            with pytest.raises(PlatformFault, match="token file"):
                await guard.check()
        assert [status(TOKEN), status(OTHER)] == [401, 200]
        remove()
        assert await guard.look() is False
        assert status(OTHER) == 200
        await guard.close()
        await guard.close()

    asyncio.run(roll())
    assert reloads[0] is True
    assert not any(reloads[1:])


def test_a_fixed_token_and_those_of_the_file_are_all_good(file: Path) -> None:
    guard = Guard(TokenSettings(token="the-fixed-token-1234", file=file, look_every_s=3600))

    async def check() -> None:
        assert await guard.check() == "who shows one of 3 tokens"
        await guard.open()
        await guard.close()

    asyncio.run(check())
    for token in (TOKEN, OTHER, "the-fixed-token-1234"):
        assert Asked(REMOTE).ask(guard(answer), authorization=f"Bearer {token}").status == 200


def test_no_token_shows(file: Path) -> None:
    settings = TokenSettings(token=TOKEN, file=file)
    guard = Guard(settings)
    for text in (repr(settings), repr(guard), repr(vars(guard))):
        assert TOKEN not in text
    file.write_text(f"{TOKEN}\n{TOKEN[:9]}")
    with pytest.raises(SettingsError, match="token 2 of the token file is no token") as caught:
        asyncio.run(guard.open())
    assert TOKEN[:9] not in str(caught.value)


# -- on a listener -----------------------------------------------------------------------------------------------------


def routes(guard: Callable[[Handler], Handler], clients: Callable[[Handler], Handler]) -> Router:
    """Guards before and after the routes that they are for."""
    router = Router()
    router.add("POST", "/enable", answer)
    router.add_prefix("GET", "/debug/", answer)
    router.guard("/debug/", guard)
    router.guard("/enable", guard)
    router.guard("/invoke", clients)
    for method, path in (("GET", "/debug/pool"), ("POST", "/invoke"), ("GET", "/ping"), ("GET", "/metrics")):
        router.add(method, path, answer)
    return router


async def test_what_is_guarded_and_what_is_open(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = server_context(*authority.issue("localhost"), authority.file)
    refused: list[str] = []
    guard = Guard(TokenSettings(token=TOKEN), on_refused=refused.append)
    clients = Clients(frozenset({"controller"}), on_refused=refused.append)
    async with serving(routes(guard, clients), tls=tls) as served, served.peer(authority.client()) as peer:
        for path in ("/ping", "/metrics"):
            assert (await peer.ask(get(path))).status == 200
        for path in ("/debug/", "/debug/pool", "/debug/x/y"):
            assert (await peer.ask(get(path))).status == 401
            assert (await peer.ask(get(path, f"Authorization: Bearer {TOKEN}"))).status == 200
        assert (await peer.ask(post(b"", "/enable"))).status == 401
        assert (await peer.ask(post(b"{}"))).status == 403
        assert refused == ["no_token"] * 4 + ["no_certificate"]


@pytest.mark.parametrize(
    ("subjects", "status"),
    [
        ({"controller"}, 200),
        ({"other", "controller.example"}, 200),
        ({"spiffe://example/controller"}, 200),
        (set[str](), 200),
        ({"other"}, 403),
        ({"Controller"}, 403),
        ({"controller,O=tests"}, 403),
        ({"tests"}, 403),  # an organisation is no name
        ({"example"}, 403),
    ],
)
async def test_who_may_invoke_goes_by_the_names_of_the_certificate(
    tmp_path: Path, subjects: set[str], status: int
) -> None:
    authority = Authority(tmp_path)
    tls = server_context(*authority.issue("localhost"), authority.file)
    alternatives = [x509.DNSName("controller.example"), x509.UniformResourceIdentifier("spiffe://example/controller")]
    refused: list[str] = []
    router = routes(Guard(TokenSettings()), Clients(frozenset(subjects), on_refused=refused.append))
    client = authority.client("controller", alternatives)
    async with serving(router, tls=tls) as served, served.peer(client) as peer:
        answers: list[Answer] = [await peer.ask(post(b"{}")) for _ in range(2)]
        assert [each.status for each in answers] == [status, status]
        if status == 403:
            assert "CN=controller,O=tests" in json.loads(answers[0].body)["error"]
            assert refused == ["subject", "subject"]
        assert (await peer.ask(get("/ping"))).status == 200


@pytest.mark.parametrize(
    ("peername", "local"),
    [
        (("127.0.0.1", 5), True),
        (("127.9.9.9", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        (("::ffff:10.0.0.1", 5, 0, 0), False),
        (("fe80::1%lo", 5, 0, 0), False),
        (("10.0.0.1", 5), False),
        (("0.0.0.0", 5), False),
        ("", False),
        (None, False),
        ((), False),
        (("not an address", 1), False),
    ],
)
def test_which_addresses_are_on_this_machine(peername: object, local: bool) -> None:
    peer = identify(peername, None)
    assert peer.on_this_machine is local
    assert (peer.subject, peer.names) == (None, frozenset())


def test_names_of_other_kinds_are_no_names() -> None:
    certificate = {
        "subject": ((("commonName", "a"),), (("commonName", "b"), ("organizationName", "c"))),
        "subjectAltName": (
            ("DNS", "d"),
            ("IP Address", "10.0.0.1"),
            ("othername", "<unsupported>"),
            ("DirName", ((),)),
        ),
    }
    peer = identify(("10.0.0.1", 1), certificate)
    assert peer.subject == "CN=a,CN=b,O=c"
    assert peer.names == {"a", "b", "d", "10.0.0.1"}

"""The HTTP server with hostile and broken peers: every refusal, every limit, and nothing runs."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from invoker.io.http.server import Exchange, Limits, Request, Router
from tests.support.raw_http import Answer, Peer, Served, post, serving, until

EACH_LOOP = True
HOST = b"Host: t\r\n"
CHUNKED = b"POST /invoke HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


class Counter:
    """A handler that counts how often it ran."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, request: Request, exchange: Exchange) -> None:
        self.ran += 1
        exchange.respond(200, request.body)


def routes(handler: Counter) -> Router:
    router = Router()
    router.add("POST", "/invoke", handler)
    router.add("GET", "/ping", handler)
    return router


async def refused(served: Served, peer: Peer, data: bytes, status: int) -> Answer:
    """Send; the answer is an explained refusal, and the connection ends."""
    answer = await peer.ask(data)
    assert answer.status == status, answer.body
    assert answer.fields["connection"] == "close"
    assert answer.fields["content-type"] == "application/json"
    assert json.loads(answer.body)["error"]
    assert await peer.rest() == b""
    assert served.refused == [status]
    return answer


def head(*lines: bytes, first: bytes = b"POST /invoke HTTP/1.1", host: bytes = HOST) -> bytes:
    return first + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


MALFORMED = {
    "length and chunks": head(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks and length": head(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n",
    "two lengths": head(b"Content-Length: 4", b"Content-Length: 5") + b"abcde",
    "two equal lengths": head(b"Content-Length: 4", b"Content-Length: 4") + b"abcd",
    "a list of lengths": head(b"Content-Length: 4, 4") + b"abcd",
    "a signed length": head(b"Content-Length: +4") + b"abcd",
    "a negative length": head(b"Content-Length: -4") + b"abcd",
    "a hexadecimal length": head(b"Content-Length: 0x4") + b"abcd",
    "a length beyond 64 bits": head(b"Content-Length: 99999999999999999999999"),
    "a length with a space in it": head(b"Content-Length: 4 4") + b"abcd",
    "a length with a space before the colon": head(b"Content-Length : 4") + b"abcd",
    "a length ended by NUL": head(b"Content-Length: 4\0") + b"abcd",
    "a length with an underscore": head(b"Content-Length: 1_0") + b"abcd",
    "a length in other digits": head("Content-Length: \u0664".encode()) + b"abcd",
    "a fraction of a length": head(b"Content-Length: 4.0") + b"abcd",
    "a folded length": head(b"Content-Length:", b" 4") + b"abcd",
    "a folded coding": head(b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n",
    "a coding folded after its value": head(b"Transfer-Encoding: chunked", b" , identity") + b"0\r\n\r\n",
    "chunked, identity": head(b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "a coding ended by NUL": head(b"Transfer-Encoding: chunked\0") + b"0\r\n\r\n",
    "a coding behind a vertical tab": head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "a coding and a space before the colon": head(b"Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "NUL in a name": head(b"X\0Y: a"),
    "NUL in the path": head(first=b"GET /a\0b HTTP/1.1"),
    "a bare line feed before a length": head(b"X: a\nContent-Length: 4") + b"abcd",
    "a length and an empty coding": head(b"Content-Length: 4", b"Transfer-Encoding:") + b"abcd",
    "chunked, chunked": head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "two codings": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "an empty length": head(b"Content-Length:"),
    "an obsolete fold": head(b"X: a", b" b"),
    "a fold before the value": head(b"X:", b"\tb"),
    "a bare line feed": b"GET /ping HTTP/1.1\nHost: t\n\n",
    "a bare line feed after a field": b"GET /ping HTTP/1.1\r\nHost: t\nX: y\r\n\r\n",
    "a bare carriage return": head(b"X: a\rY: b"),
    "NUL in a value": head(b"X: a\0b"),
    "a control character in a value": head(b"X: a\x01b"),
    "a space before the colon": head(b"X : a"),
    "a field without a name": head(b": a"),
    "a space before a field": head(b" X: a"),
    "no Host": head(host=b""),
    "two Hosts": head(b"Host: u"),
    "a control character in the path": head(first=b"GET /\x01 HTTP/1.1"),
    "a space in the path": head(first=b"GET /a b HTTP/1.1"),
    "an unknown method": head(first=b"FOO /ping HTTP/1.1"),
    "a method in small letters": head(first=b"get /ping HTTP/1.1"),
    "HTTP/1.2": head(first=b"GET /ping HTTP/1.2"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "chunks in HTTP/1.0": head(b"Transfer-Encoding: chunked", first=b"POST /invoke HTTP/1.0"),
    "chunked, and then not": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "a chunk size that is no number": CHUNKED + b"zz\r\n",
    "a chunk size with 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "a chunk size and a space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\na\r\n",
    "a chunk size ended by a bare line feed": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a bare line feed in a chunk's extension": CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n",
}


@pytest.mark.contract("4")
@pytest.mark.parametrize("name", MALFORMED)
async def test_what_two_parsers_might_read_differently_is_refused(name: str) -> None:
    handler = Counter()
    async with serving(routes(handler)) as served, served.peer() as peer:
        await refused(served, peer, MALFORMED[name], 400)
    assert handler.ran == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
        (head(b"Transfer-Encoding: xchunked"), 501),
        (head(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n", 501),
        (head(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 2") + b"{}", 501),
        (head(b"Expect: a-miracle", b"Content-Length: 2") + b"{}", 417),
        (head(first=b"GET /ping HTTP/2.0"), 505),
        (b"GET /ping\r\n\r\n", 505),
    ],
)
async def test_what_is_not_offered_is_refused(data: bytes, status: int) -> None:
    handler = Counter()
    async with serving(routes(handler)) as served, served.peer() as peer:
        await refused(served, peer, data, status)
    assert handler.ran == 0


async def test_requests_before_a_malformed_one_are_served_and_it_is_refused_in_order() -> None:
    handler = Counter()
    async with serving(routes(handler)) as served, served.peer() as peer:
        peer.send(post(b"1") + post(b"2") + MALFORMED["two lengths"] + post(b"3"))
        assert [(await peer.answer()).body for _ in range(2)] == [b"1", b"2"]
        assert (await peer.answer()).status == 400
        assert await peer.rest() == b""
    assert handler.ran == 2


async def test_a_smuggled_request_never_runs() -> None:
    """The classic: a body that holds a second request, framed so that a naive parser takes it for one."""
    handler = Counter()
    smuggled = post(b"evil")
    async with serving(routes(handler)) as served, served.peer() as peer:
        attack = (
            head(b"Content-Length: %d" % (len(smuggled) + 5), b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + smuggled
        )
        await refused(served, peer, attack, 400)
    assert handler.ran == 0


async def test_an_announced_body_over_the_limit_is_refused_before_it_is_sent() -> None:
    handler = Counter()
    async with serving(routes(handler), Limits(body_bytes=1000)) as served, served.peer() as peer:
        answer = await refused(served, peer, head(b"Content-Length: 1001"), 413)
        assert b"1000 bytes" in answer.body
        assert b"BODY_LIMIT" in answer.body
    assert handler.ran == 0


async def test_a_body_of_just_the_limit_is_taken() -> None:
    async with serving(routes(Counter()), Limits(body_bytes=1000)) as served, served.peer() as peer:
        assert (await peer.ask(post(b"x" * 1000))).body == b"x" * 1000
        assert (await peer.ask(CHUNKED + b"3e8\r\n" + b"y" * 1000 + b"\r\n0\r\n\r\n")).body == b"y" * 1000


async def test_a_chunked_body_over_the_limit_is_refused_at_the_limit() -> None:
    async with serving(routes(Counter()), Limits(body_bytes=1000)) as served, served.peer() as peer:
        await refused(served, peer, CHUNKED + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501, 413)


async def test_a_refusal_reaches_a_peer_that_goes_on_sending() -> None:
    """Closing on unread bytes would reset the connection, and with it the answer."""
    async with serving(routes(Counter()), Limits(body_bytes=1000)) as served, served.peer() as peer:
        peer.send(head(b"Content-Length: 3000000") + b"x" * 3_000_000)
        assert (await peer.answer()).status == 413


@pytest.mark.parametrize("whole", [True, False])
async def test_a_head_over_the_limit_is_refused(whole: bool) -> None:
    handler = Counter()
    async with serving(routes(handler), Limits(head_bytes=2000)) as served, served.peer() as peer:
        large = head(b"X: " + b"a" * 2000)
        await refused(served, peer, large if whole else large[:2050], 431)
    assert handler.ran == 0


async def test_a_long_path_counts_as_head() -> None:
    async with serving(routes(Counter()), Limits(head_bytes=2000)) as served, served.peer() as peer:
        await refused(served, peer, head(first=b"GET /" + b"a" * 2000 + b" HTTP/1.1"), 431)


async def test_too_many_fields_are_refused() -> None:
    async with serving(routes(Counter()), Limits(head_fields=10)) as served, served.peer() as peer:
        await refused(served, peer, head(*(b"X-%d: a" % number for number in range(20))), 431)


async def test_a_small_head_before_a_large_body_in_one_read_is_within_the_limit() -> None:
    async with serving(routes(Counter()), Limits(head_bytes=500)) as served, served.peer() as peer:
        assert (await peer.ask(post(b"x" * 20_000))).status == 200
        peer.send(post(b"1" * 20_000) + post(b"2" * 20_000))
        assert [(await peer.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.contract("4")
@pytest.mark.parametrize("trickle", [False, True])
async def test_a_slow_head_is_cut_off(trickle: bool) -> None:
    """Slow loris: each byte comes in time, the head never does."""
    handler = Counter()
    async with serving(routes(handler), Limits(head_timeout_s=0.2)) as served, served.peer() as peer:
        peer.send(b"GET /ping HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                await asyncio.sleep(0.02)
                peer.send(b"X: y\r\n")

        dripping = asyncio.create_task(drip()) if trickle else None
        answer = await peer.answer()
        assert (answer.status, answer.fields["connection"]) == (408, "close")
        assert b"0.2 s" in answer.body
        if dripping is not None:
            dripping.cancel()
            await asyncio.wait([dripping])
    assert handler.ran == 0


async def test_a_slow_head_on_a_kept_connection_is_cut_off_too() -> None:
    async with serving(routes(Counter()), Limits(head_timeout_s=0.4)) as served, served.peer() as peer:
        assert (await peer.ask(post(b"x"))).status == 200
        await refused(served, peer, b"POST /inv", 408)


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with serving(routes(Counter()), Limits(head_timeout_s=0.1)) as served, served.peer() as peer:
        assert await peer.rest() == b""


async def test_an_idle_connection_is_closed() -> None:
    async with serving(routes(Counter()), Limits(idle_timeout_s=0.1)) as served, served.peer() as peer:
        assert (await peer.ask(post(b"x"))).status == 200
        assert await peer.rest() == b""


async def test_a_kept_connection_outlives_the_head_timeout() -> None:
    """The deadline moves from the head to idleness though the timer that was armed for the head still fires."""
    async with (
        serving(routes(Counter()), Limits(head_timeout_s=0.4, idle_timeout_s=5)) as served,
        served.peer() as peer,
    ):
        assert (await peer.ask(post(b"1"))).body == b"1"
        loop = asyncio.get_running_loop()
        past = asyncio.Event()
        loop.call_later(0.5, past.set)
        await past.wait()
        assert (await peer.ask(post(b"2"))).body == b"2"


async def test_a_slow_body_is_cut_off() -> None:
    handler = Counter()
    async with serving(routes(handler), Limits(body_timeout_s=0.1)) as served, served.peer() as peer:
        await refused(served, peer, head(b"Content-Length: 10") + b"abc", 408)
    assert handler.ran == 0


async def test_a_slow_handler_is_not_cut_off() -> None:
    release = asyncio.Event()

    async def slow(_request: Request, exchange: Exchange) -> None:
        await release.wait()
        exchange.respond(200, b"done")

    router = Router()
    router.add("POST", "/invoke", slow)
    limits = Limits(head_timeout_s=0.4, body_timeout_s=0.1, idle_timeout_s=0.1)
    async with serving(router, limits) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        asyncio.get_running_loop().call_later(0.5, release.set)
        assert (await peer.answer()).body == b"done"


async def test_a_peer_that_leaves_in_the_middle_of_its_body_runs_nothing() -> None:
    handler = Counter()
    async with serving(routes(handler)) as served:
        async with served.peer() as peer:
            peer.send(head(b"Content-Length: 10") + b"abc")
            await peer.writer.drain()
            await until(lambda: served.server.connections == 1)
            peer.reset()
        await until(lambda: served.server.connections == 0)
    assert handler.ran == 0
    assert served.errors == []


async def test_a_peer_that_ends_its_body_early_and_still_listens_is_told() -> None:
    handler = Counter()
    async with serving(routes(handler)) as served, served.peer() as peer:
        peer.send(head(b"Content-Length: 10") + b"abc")
        peer.writer.write_eof()
        answer = await peer.answer()
        assert answer.status == 500
        assert b"after 3 bytes" in answer.body
        assert await peer.rest() == b""
    assert handler.ran == 0


async def test_a_head_that_ends_early_is_told() -> None:
    async with serving(routes(Counter())) as served, served.peer() as peer:
        peer.send(b"GET /ping HTTP/1.1\r\nHo")
        peer.writer.write_eof()
        assert (await peer.answer()).status == 400


async def test_connections_over_the_limit_are_refused_where_all_are_busy_and_the_others_served() -> None:
    release = asyncio.Event()

    async def wait(_request: Request, exchange: Exchange) -> None:
        exchange.begin()
        await release.wait()
        exchange.finish(b"done")

    router = Router()
    router.add("POST", "/invoke", wait)
    async with serving(router, Limits(connections=2)) as served:
        async with served.peer() as first, served.peer() as second:
            heads: list[tuple[Peer, dict[str, str]]] = []
            for peer in (first, second):
                peer.send(post(b"{}"))
                heads.append((peer, (await peer.head())[1]))
            async with served.peer() as third:
                answer = await third.answer()
                assert (answer.status, answer.fields["connection"]) == (503, "close")
                assert await third.rest() == b""
            release.set()
            for peer, fields in heads:
                assert await peer.body(fields) == b"done"
        await until(lambda: served.server.connections == 0)
        async with served.peer() as fourth:
            assert (await fourth.ask(post(b"4"))).status == 200


async def test_idle_connections_make_room_the_longest_idle_first() -> None:
    """Who holds as many connections as there may be keeps nobody out."""
    async with serving(routes(Counter()), Limits(connections=3)) as served:
        async with served.peer() as first, served.peer() as second, served.peer() as third:
            for peer in (second, first, third, first):
                assert (await peer.ask(post(b"x"))).status == 200
                await a_moment()
            async with served.peer() as fourth:
                assert (await fourth.ask(post(b"4"))).status == 200
                assert await second.rest() == b""
                await a_moment()
                assert (await third.ask(post(b"x"))).status == 200
                async with served.peer() as fifth:
                    assert (await fifth.ask(post(b"5"))).status == 200
                    assert await first.rest() == b""
                for peer in (third, fourth):
                    assert (await peer.ask(post(b"x"))).status == 200
        assert served.refused == []


async def a_moment() -> None:
    """Let the loop's clock advance; uvloop's counts in milliseconds."""
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    await until(lambda: loop.time() > now_s)


async def test_bodies_on_their_way_in_are_bounded_together() -> None:
    announce = head(b"Content-Length: 80000", b"Expect: 100-continue")
    limits = Limits(receiving_bytes=100_000, body_bytes=80_000)
    async with serving(routes(Counter()), limits) as served, served.peer() as first, served.peer() as second:
        for peer in (first, second):
            peer.send(announce)
            assert (await peer.head())[0] == 100
            peer.send(b"x" * 70_000)
        answer, pending = await asyncio.wait(
            [asyncio.create_task(first.answer()), asyncio.create_task(second.answer())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert [task.result().status for task in answer] == [503]
        assert served.refused == [503]
        [other] = pending
        for peer in (first, second):
            peer.send(b"x" * 10_000)
        assert (await other).status == 200
        await until(lambda: served.server.connections <= 2)
    async with serving(routes(Counter()), limits) as served, served.peer() as peer:
        for _ in range(3):  # what was received is given back
            assert (await peer.ask(post(b"x" * 80_000))).status == 200


@pytest.mark.parametrize("stuff", [b"1;" + b"x" * 10_000 + b"\r\na\r\n", b"0\r\nX: " + b"x" * 10_000])
async def test_chunks_that_are_all_framing_are_refused(stuff: bytes) -> None:
    """An extension or a trailer has no length of its own: without a bound it would be read for ever."""
    handler = Counter()
    async with serving(routes(handler), Limits(head_bytes=1000)) as served, served.peer() as peer:
        peer.send(b"POST /invoke HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await peer.head())[0] == 100
        answer = await refused(served, peer, stuff * 2, 400)
        assert b"framing" in answer.body or b"chunks" in answer.body
    assert handler.ran == 0


async def test_a_peer_that_never_reads_is_cut_off() -> None:
    def large(_request: Request, exchange: Exchange) -> None:
        exchange.respond(200, b"x" * 50_000_000)

    router = Router()
    router.add("POST", "/invoke", large)
    async with serving(router, Limits(idle_timeout_s=0.2)) as served, served.peer() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(post(b"{}"))
        await until(lambda: served.server.connections == 1)
        await until(lambda: served.server.connections == 0)


async def test_random_bytes_never_hurt_the_server() -> None:
    """3,000 mutations of good requests: each connection ends or is answered, and the next peer is served."""
    chance = random.Random(4)
    good = [
        post(b'{"a":1}', "/invoke", "X-A: b"),
        CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
        head(first=b"GET /ping HTTP/1.1"),
    ]
    handler = Counter()
    async with serving(routes(handler), Limits(linger_timeout_s=0.05)) as served:

        async def attack(number: int) -> None:
            data = bytearray(good[number % 3] * 2)
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(data))
                data[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
            async with served.peer() as peer:
                peer.send(bytes(data))
                peer.writer.write_eof()
                await peer.rest()

        for start in range(0, 3000, 50):
            await asyncio.gather(*(attack(number) for number in range(start, start + 50)))
        assert served.errors == []
        async with served.peer() as peer:
            assert (await peer.ask(post(b"fine"))).body == b"fine"

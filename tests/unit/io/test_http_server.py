"""The HTTP server with well-behaved peers: heads at once, order, keep-alive, drain, on both loops."""

from __future__ import annotations

import asyncio

import pytest

from invoker.errors import PlatformFault
from invoker.io.http.server import Exchange, HttpServer, Limits, Request, Router
from tests.support.raw_http import WAIT_S, post, serving, until

EACH_LOOP = True


class Gate:
    """A handler that begins at once and finishes when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self.finished = 0

    async def __call__(self, request: Request, exchange: Exchange) -> None:
        self.requests.append(request)
        self.exchanges.append(exchange)
        exchange.begin()
        await self.open.wait()
        exchange.finish(b'{"ok":' + str(len(request.body)).encode() + b"}")
        self.finished += 1


def echo(request: Request, exchange: Exchange) -> None:
    exchange.respond(200, request.body)


def routes(handler: object = echo) -> Router:
    router = Router()
    router.add("POST", "/invoke", handler)  # type: ignore[arg-type]
    router.add("GET", "/ping", lambda _request, exchange: exchange.respond(200, b"pong"))
    router.add_prefix("GET", "/debug/", lambda request, exchange: exchange.respond(200, request.path.encode()))
    return router


@pytest.mark.contract("4")
async def test_the_head_is_seen_while_the_body_is_withheld() -> None:
    gate = Gate()
    async with serving(routes(gate)) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        status, fields = await peer.head()
        assert status == 200
        assert fields["content-type"] == "application/json"
        assert fields["transfer-encoding"] == "chunked"
        assert gate.finished == 0
        gate.open.set()
        assert await peer.body(fields) == b'{"ok":2}'


@pytest.mark.contract("4")
async def test_a_head_goes_out_before_anything_that_the_handler_awaits_comes_about() -> None:
    """The handler waits for its own client to have seen the head: with a head held back this would never end."""
    seen = asyncio.Event()

    async def handler(_request: Request, exchange: Exchange) -> None:
        exchange.begin()
        await asyncio.wait_for(seen.wait(), WAIT_S)
        exchange.finish(b"{}")

    async with serving(routes(handler)) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        _, fields = await peer.head()
        seen.set()
        assert await peer.body(fields) == b"{}"


@pytest.mark.contract("4")
@pytest.mark.parametrize("leave", ["reset", "close"])
async def test_a_caller_that_leaves_after_the_head_changes_nothing_for_the_handler(leave: str) -> None:
    gate = Gate()
    async with serving(routes(gate)) as served:
        async with served.peer() as peer:
            peer.send(post(b"{}"))
            await peer.head()
            if leave == "reset":
                peer.reset()
        if leave == "reset":  # a close alone might mean that the caller still reads
            await until(lambda: gate.exchanges[0].gone)
        gate.open.set()
        await until(lambda: gate.finished == 1 and served.server.connections == 0)
        assert gate.exchanges[0].gone
        assert served.errors == []


async def test_a_request_is_read_whole_however_it_is_cut() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        for byte in post(b"abc", "/invoke", "X-A: 1"):
            peer.send(bytes([byte]))
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert (await peer.answer()).body == b"abc"


async def test_chunked_bodies_are_joined() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        head = b"POST /invoke HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await peer.ask(head + b"3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nTrailer: t\r\n\r\n")
        assert answer.body == b"abcdefgh"
        assert (await peer.ask(post(b"again"))).body == b"again"


async def test_fields_are_decoded_by_lower_case_name() -> None:
    gate = Gate()
    async with serving(routes(gate)) as served, served.peer() as peer:
        peer.send(post(b"{}", "/invoke?a=1&b=2", "Functions-Activation-Id:  abc  ", "X-A: 1", "x-a: 2"))
        await peer.head()
        request = gate.requests[0]
        assert (request.method, request.path, request.query) == ("POST", "/invoke", "a=1&b=2")
        assert request.headers["functions-activation-id"] == "abc"
        assert request.headers["x-a"] == "1, 2"
        assert request.peer_subject is None
        gate.open.set()
        await until(lambda: gate.finished == 1)


async def test_pipelined_requests_are_served_in_order_one_at_a_time() -> None:
    running = 0
    most = 0

    async def handler(request: Request, exchange: Exchange) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        exchange.respond(200, request.body)

    async with serving(routes(handler)) as served, served.peer() as peer:
        peer.send(b"".join(post(str(number).encode()) for number in range(20)))
        assert [(await peer.answer()).body for _ in range(20)] == [str(number).encode() for number in range(20)]
        assert most == 1


async def test_nothing_is_read_while_a_request_is_served() -> None:
    """Back-pressure: a peer that goes on sending is stopped by its own full socket, and nothing of it is kept."""
    gate = Gate()
    async with serving(routes(gate)) as served, served.peer() as peer:
        peer.send(post(b"first"))
        _, fields = await peer.head()
        flood = post(b"x" * 1_000_000)
        for _ in range(20):
            peer.send(flood)
        drained = asyncio.create_task(peer.writer.drain())
        done, _ = await asyncio.wait([drained], timeout=0.2)
        assert not done, "20 MB went out though nobody reads"
        gate.open.set()
        assert await peer.body(fields) == b'{"ok":5}'
        for _ in range(20):
            assert (await peer.answer()).body == b'{"ok":1000000}'
        await drained


async def test_more_pipelined_requests_than_allowed_end_the_connection_after_the_last_allowed() -> None:
    async with serving(routes(), Limits(pipelined_requests=3)) as served, served.peer() as peer:
        peer.send(b"".join(post(str(number).encode()) for number in range(5)))
        answers = [await peer.answer() for _ in range(3)]
        assert [answer.body for answer in answers] == [b"0", b"1", b"2"]
        assert answers[-1].fields["connection"] == "close"
        assert await peer.rest() == b""


async def test_routes() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        assert (await peer.ask(b"GET /ping HTTP/1.1\r\nHost: t\r\n\r\n")).body == b"pong"
        assert (await peer.ask(b"GET http://t/ping HTTP/1.1\r\nHost: t\r\n\r\n")).body == b"pong"
        assert (await peer.ask(b"GET /debug/x/y?z HTTP/1.1\r\nHost: t\r\n\r\n")).body == b"/debug/x/y"
        assert (await peer.ask(b"GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n")).status == 404
        wrong = await peer.ask(b"GET /invoke HTTP/1.1\r\nHost: t\r\n\r\n")
        assert (wrong.status, wrong.fields["allow"]) == (405, "POST")
        assert b"use POST" in wrong.body


async def test_head_is_get_without_its_body() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        peer.send(b"HEAD /ping HTTP/1.1\r\nHost: t\r\n\r\n")
        status, fields = await peer.head()
        assert (status, fields["content-length"]) == (200, "4")
        assert (await peer.ask(b"GET /ping HTTP/1.1\r\nHost: t\r\n\r\n")).body == b"pong"


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection() -> None:
    gate = Gate()
    gate.open.set()
    async with serving(routes(gate)) as served, served.peer() as peer:
        peer.send(b"POST /invoke HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}")
        status, fields = await peer.head()
        assert (status, fields["connection"]) == (200, "close")
        assert "transfer-encoding" not in fields
        assert await peer.rest() == b'{"ok":2}'


async def test_connection_close_is_honoured() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        answer = await peer.ask(post(b"x", "/invoke", "Connection: close"))
        assert answer.fields["connection"] == "close"
        assert await peer.rest() == b""


async def test_a_peer_that_only_stops_sending_still_gets_its_answer() -> None:
    gate = Gate()
    async with serving(routes(gate)) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        peer.writer.write_eof()
        _, fields = await peer.head()
        gate.open.set()
        assert await peer.body(fields) == b'{"ok":2}'
        assert await peer.rest() == b""


async def test_expect_100_continue_is_answered_before_the_body() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        peer.send(b"POST /invoke HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        status, _ = await peer.head()
        assert status == 100
        assert (await peer.ask(b"abc")).body == b"abc"


async def test_an_offer_to_upgrade_is_passed_over() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        answer = await peer.ask(b"GET /ping HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert answer.body == b"pong"
        assert await peer.rest() == b""


async def test_a_synchronous_handler_may_finish_later() -> None:
    kept: list[Exchange] = []

    def handler(_request: Request, exchange: Exchange) -> None:
        exchange.begin()
        kept.append(exchange)

    async with serving(routes(handler)) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        _, fields = await peer.head()
        kept[0].finish(b"later")
        assert await peer.body(fields) == b"later"
        assert kept[0].done


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("synchronous", [False, True])
async def test_a_failing_handler_costs_its_own_request(begun: bool, synchronous: bool) -> None:
    def fail(_request: Request, exchange: Exchange) -> None:
        if begun:
            exchange.begin()
        raise LookupError("secret detail")

    async def fail_later(request: Request, exchange: Exchange) -> None:
        await asyncio.sleep(0)
        fail(request, exchange)

    async with serving(routes(fail if synchronous else fail_later)) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        status, fields = await peer.head()
        if begun:
            assert status == 200
            assert await peer.rest() == b"", "the body must be seen to be short: no last chunk"
        else:
            assert status == 500
            assert b"secret" not in await peer.body(fields)
            assert (await peer.ask(b"GET /ping HTTP/1.1\r\nHost: t\r\n\r\n")).status == 200
        [(what, error)] = served.errors
        assert what == "POST /invoke"
        assert isinstance(error, LookupError)


async def test_a_coroutine_that_forgets_its_exchange_is_a_500() -> None:
    async def forget(_request: Request, _exchange: Exchange) -> None:
        await asyncio.sleep(0)

    async with serving(routes(forget)) as served, served.peer() as peer:
        assert (await peer.ask(post(b"{}"))).status == 500
        assert len(served.errors) == 1


async def test_an_exchange_says_when_it_is_misused() -> None:
    caught: list[str] = []

    def misuse(_request: Request, exchange: Exchange) -> None:
        for call in (exchange.finish, exchange.begin, exchange.begin, lambda: exchange.respond(200), exchange.finish):
            try:
                call()
            except RuntimeError as error:
                caught.append(str(error))

    async with serving(routes(misuse)) as served, served.peer() as peer:
        assert (await peer.ask(post(b"{}"))).status == 200
    assert [text.partition(":")[0] for text in caught] == ["finish", "begin", "respond"]


async def test_close_ends_idle_connections_and_lets_busy_ones_finish() -> None:
    gate = Gate()
    async with serving(routes(gate)) as served, served.peer() as idle, served.peer() as busy:
        await idle.ask(b"GET /ping HTTP/1.1\r\nHost: t\r\n\r\n")
        busy.send(post(b"{}"))
        _, fields = await busy.head()
        closing = asyncio.create_task(served.server.close(WAIT_S))
        assert await idle.rest() == b""
        assert not closing.done()
        gate.open.set()
        assert await busy.body(fields) == b'{"ok":2}'
        await closing
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", served.server.port)


async def test_once_accepting_has_stopped_answers_say_close() -> None:
    async with serving(routes()) as served, served.peer() as peer:
        await peer.ask(post(b"x"))
        served.server.stop_accepting()
        assert (await peer.ask(post(b"x"))).fields["connection"] == "close"
        assert await peer.rest() == b""


async def test_close_is_bounded_and_cancels_what_does_not_end() -> None:
    gate = Gate()
    async with serving(routes(gate), grace_s=0.05) as served, served.peer() as peer:
        peer.send(post(b"{}"))
        await peer.head()
        await served.server.close(0.05)
        assert served.server.connections == 0
        assert await peer.rest() == b""
    assert gate.finished == 0


async def test_a_taken_port_is_told() -> None:
    async with serving(routes()) as served:
        other = HttpServer(routes(), on_error=lambda _what, _error: None)
        with pytest.raises(PlatformFault, match=f"can't listen on 127.0.0.1:{served.server.port}.*choose another"):
            await other.start("127.0.0.1", served.server.port)
        await other.close(0)


async def test_many_connections_at_once() -> None:
    async with serving(routes()) as served:

        async def one(number: int) -> None:
            async with served.peer() as peer:
                for turn in range(3):
                    body = f"{number}/{turn}".encode()
                    assert (await peer.ask(post(body))).body == body

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(one(number))


async def test_an_answer_that_nobody_reads_holds_back_the_next_request() -> None:
    """The write buffer is bounded by one answer, not by the number of pipelined requests."""
    served_requests = 0

    def large(_request: Request, exchange: Exchange) -> None:
        nonlocal served_requests
        served_requests += 1
        exchange.respond(200, b"x" * 8_000_000)

    async with serving(routes(large)) as served, served.peer() as peer:
        peer.send(post(b"{}") * 10)
        first = await peer.answer()
        assert len(first.body) == 8_000_000
        assert served_requests < 10
        for _ in range(9):
            assert len((await peer.answer()).body) == 8_000_000

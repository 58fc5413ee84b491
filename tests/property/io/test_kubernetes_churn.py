"""Whatever happens in the cluster and whatever its API server does meanwhile: the copy ends like the original."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.kubernetes_api import (
    NODES,
    Cut,
    Drop,
    FakeApiServer,
    Fault,
    Hang,
    Refuse,
    Say,
    node,
    service_account,
    serving,
)
from tests.support.kubernetes_following import Following, following

NAMES = st.sampled_from([f"node-{number}" for number in range(7)])
GONE_EVENT = b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}\n'
FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.sampled_from([400, 401, 403, 410, 429, 500, 503, 504]).map(Refuse),
    st.integers(0, 3).map(Cut),
    st.just(Drop()),
    st.booleans().map(Hang),
    st.sampled_from([GONE_EVENT, b"<html>", b'{"type":"ADDED","obj', b"\n", b"y" * 20_000]).map(Say),
)
LIST_FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.sampled_from([401, 403, 410, 429, 500]).map(Refuse), st.just(Drop()), st.just(Say(b"[]"))
)

Step = Callable[[FakeApiServer, Following, Path], Awaitable[None]]


def put(name: str, number: int) -> Step:
    async def step(server: FakeApiServer, _copy: Following, _account: Path) -> None:
        await server.put(NODES, name, node(("ExternalIP", f"192.0.2.{number}")))

    return step


def delete(name: str) -> Step:
    async def step(server: FakeApiServer, _copy: Following, _account: Path) -> None:
        await server.delete(NODES, name)

    return step


def fault(verb: str, fault: Fault) -> Step:
    """Script it, and see that it is met: end the watch that is open, or make a list necessary."""

    async def step(server: FakeApiServer, _copy: Following, _account: Path) -> None:
        if verb == "watch":
            server.script(NODES, "watch", fault)
            await server.end_watches(NODES)
        else:
            server.script(NODES, "list", fault)
            await server.forget(NODES)

    return step


def rotate(token: str) -> Step:
    """The old token ends before the new one lies there, or together with it."""

    async def step(server: FakeApiServer, _copy: Following, account: Path) -> None:
        server.tokens = {token}
        await asyncio.sleep(0)
        service_account(account, token)

    return step


def age(span_s: float) -> Step:
    async def step(_server: FakeApiServer, copy: Following, _account: Path) -> None:
        copy.pacing.now_s += span_s

    return step


async def _forget(server: FakeApiServer, _copy: Following, _account: Path) -> None:
    await server.forget(NODES)


async def _end_watches(server: FakeApiServer, _copy: Following, _account: Path) -> None:
    await server.end_watches(NODES)


async def _bookmark(server: FakeApiServer, _copy: Following, _account: Path) -> None:
    await server.bookmark(NODES)


async def _pages_expire(server: FakeApiServer, _copy: Following, _account: Path) -> None:
    server.pages_expire = not server.pages_expire


async def _catch_up(server: FakeApiServer, copy: Following, _account: Path) -> None:
    """Let a watch be open for once, so that changes also meet one."""
    async with asyncio.timeout(10):
        await server.watched(NODES)


STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(put, NAMES, st.integers(1, 254)),
    st.builds(put, NAMES, st.integers(1, 254)),
    st.builds(delete, NAMES),
    st.builds(fault, st.just("watch"), FAULTS),
    st.builds(fault, st.just("list"), LIST_FAULTS),
    st.builds(rotate, st.sampled_from(["a", "b", "c"])),
    st.builds(age, st.sampled_from([1.0, 100.0, 1000.0])),
    st.sampled_from([_forget, _end_watches, _bookmark, _pages_expire, _catch_up, _catch_up]),
)


async def run(steps: list[Step], page_objects: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        account = Path(directory)
        async with (
            serving(FakeApiServer()) as server,
            following(
                server,
                account,
                page_objects=page_objects,
                silence_s=0.05,
                event_limit_bytes=10_000,
                request_timeout_s=5.0,
            ) as copy,
        ):
            await _catch_up(server, copy, account)
            for step in steps:
                await step(server, copy, account)
            await server.put(NODES, "the-last")  # none is like it, so equal means: all the news has come
            await copy.equal()
            event(f"lists: {min(copy.news.lists, 5)}")
            event(f"faults: {min(copy.news.faults, 5)}")
            rounds = server.count(NODES, "watch") + server.count(NODES, "list")
            assert rounds <= 3 + 4 * (len(steps) + len(copy.pacing.waits)), "no round without a wait or a reason"


@settings(max_examples=60)
@given(st.lists(STEPS, min_size=3, max_size=30), st.sampled_from([1, 3, 100]))
def test_the_copy_ends_like_the_original(steps: list[Step], page_objects: int) -> None:
    asyncio.run(run(steps, page_objects))

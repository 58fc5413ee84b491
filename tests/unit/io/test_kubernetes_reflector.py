"""A reflector converges to the server's state, whatever the server does on the way, and never spins."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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
from tests.support.kubernetes_following import WAIT_S, following

EACH_LOOP = True

EXTERNAL = "ExternalIP"
GONE_EVENT = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
ERROR_EVENT = b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is away"}}\n'


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with serving(FakeApiServer()) as server:
        for number in range(3):
            await server.put(NODES, f"node-{number}", node((EXTERNAL, f"192.0.2.{number}")))
        yield server


async def test_what_is_there_is_listed_and_what_changes_is_watched(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path) as copy:
        await copy.equal()
        assert sorted(copy.reflector.objects) == ["node-0", "node-1", "node-2"]
        await copy.asked("watch", 1)
        await server.put(NODES, "node-3", node((EXTERNAL, "192.0.2.3")))
        await server.put(NODES, "node-1", node((EXTERNAL, "192.0.2.99")))
        await server.delete(NODES, "node-0")
        await copy.equal()
        assert copy.news.lists == 1, "changes came by the watch"
        (address,) = copy.reflector.objects["node-1"].status.addresses or ()
        assert address.address == "192.0.2.99"


async def test_the_watch_begins_at_the_lists_version_and_asks_for_bookmarks_and_an_end(
    server: FakeApiServer, tmp_path: Path
) -> None:
    async with following(server, tmp_path, watch_s=200.0) as copy:
        await copy.asked("watch", 1)
        watch = server.asked[-1]
        assert watch.token == "first-token"
        assert watch.parameters == {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": "103",
            "timeoutSeconds": "300",
        }


async def test_a_list_comes_in_pages(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path, page_objects=2) as copy:
        await copy.equal()
        first, second = (asked for asked in server.asked if asked.verb == "list")
        assert (first.parameters["limit"], "continue" in first.parameters) == ("2", False)
        assert "continue" in second.parameters
        assert copy.news.changes == 1


async def test_where_the_pages_expire_the_list_is_taken_in_one_piece(server: FakeApiServer, tmp_path: Path) -> None:
    server.pages_expire = True
    async with following(server, tmp_path, page_objects=2) as copy:
        await copy.equal()
        assert "limit" not in [asked for asked in server.asked if asked.verb == "list"][-1].parameters
        assert copy.news.faults == 0


async def test_a_watch_that_ended_goes_on_where_it_was(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 1)
        await server.put(NODES, "node-3")
        await copy.equal()
        await server.end_watches(NODES)
        await copy.asked("watch", 2)
        assert server.asked[-1].parameters["resourceVersion"] == "104"
        assert (copy.news.lists, copy.news.faults) == (1, 0), "an end in good order is no fault"


async def test_a_bookmark_moves_on_where_the_next_watch_begins(server: FakeApiServer, tmp_path: Path) -> None:
    bookmark = (
        b'{"type":"BOOKMARK","object":{"kind":"Node","metadata":{"resourceVersion":"150","creationTimestamp":null}}}'
    )
    server.script(NODES, "watch", Say(bookmark + b"\n"))
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 2)
        assert server.asked[-1].parameters["resourceVersion"] == "150"
        assert (copy.news.lists, copy.news.changes, copy.news.faults) == (1, 1, 0)


WATCH_FAULTS: list[tuple[str, list[Fault], bool]] = [
    ("gone", [Refuse(410)], True),
    ("gone as an event", [Say(GONE_EVENT)], True),
    ("an error as an event", [Say(ERROR_EVENT)], True),
    ("refused, bad version", [Refuse(400)], True),
    ("forbidden", [Refuse(403)], True),
    ("server error", [Refuse(500), Refuse(503)], False),
    ("overloaded", [Refuse(429, "7")], False),
    ("cut in the middle of the first event", [Cut(0)], False),
    ("cut again and again", [Cut(0)] * 5, False),
    ("closed at once", [Drop()] * 3, False),
    ("half a line, then a proper end", [Say(b'{"type":"ADDED","obj')], False),
    ("no JSON", [Say(b"<html>gateway</html>\n")], True),
    ("another type of event", [Say(b'{"type":"PAUSED","object":{"metadata":{"resourceVersion":"9"}}}\n')], True),
    ("no version in an event", [Say(b'{"type":"ADDED","object":{"metadata":{"name":"ghost"}}}\n')], True),
    ("no version in a bookmark", [Say(b'{"type":"BOOKMARK","object":{"metadata":{}}}\n')], True),
    ("a huge line with an end", [Say(b'{"type":"' + b"x" * 70_000 + b'"}\n')], False),
    ("a huge line without one", [Say(b"x" * 3_000_000)], False),
    ("empty lines", [Say(b"\n\n\n")], False),
]


@pytest.mark.parametrize(("faults", "anew"), [row[1:] for row in WATCH_FAULTS], ids=[row[0] for row in WATCH_FAULTS])
async def test_after_a_fault_of_the_watch_the_copy_is_right(
    server: FakeApiServer, tmp_path: Path, faults: list[Fault], anew: bool
) -> None:
    """`anew`: the server's state is listed again; otherwise the watch goes on where it was."""
    server.script(NODES, "watch", *faults)
    async with following(server, tmp_path, event_limit_bytes=50_000) as copy:
        await copy.asked("watch", len(faults) + 1)
        await server.put(NODES, "node-3", node((EXTERNAL, "192.0.2.3")))
        await server.delete(NODES, "node-0")
        await copy.equal()
        assert copy.news.lists == (2 if anew else 1)
        assert "ghost" not in copy.reflector.objects
        assert len(copy.pacing.waits) == len(faults), "each short round is followed by one wait"
        assert copy.reflector.fault is None, "all is well again"


async def test_a_cut_after_whole_events_loses_and_repeats_none(server: FakeApiServer, tmp_path: Path) -> None:
    server.script(NODES, "watch", Cut(2))
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 1)
        for number in range(10, 14):
            await server.put(NODES, f"node-{number}")
        await copy.asked("watch", 2)
        assert server.asked[-1].parameters["resourceVersion"] == "105"
        await copy.equal()
        assert copy.news.lists == 1
        assert copy.news.changes == 1 + 4


LIST_FAULTS: list[tuple[str, list[Fault]]] = [
    ("server error", [Refuse(500)]),
    ("overloaded", [Refuse(429, "3")]),
    ("forbidden for a while", [Refuse(403)] * 3),
    ("cut in the middle", [Cut(0)]),
    ("no JSON", [Say(b"<html>")]),
    ("another kind of JSON", [Say(b'{"metadata": 7}')]),
    ("no version", [Say(b'{"metadata": {}, "items": []}')]),
    ("more to follow nothing", [Say(b'{"metadata": {"resourceVersion": "1", "continue": "c"}, "items": null}')]),
    ("too long", [Say(b" " * 300_000)]),
    ("silent", [Hang(answered=False)]),
]


@pytest.mark.parametrize("faults", [row[1] for row in LIST_FAULTS], ids=[row[0] for row in LIST_FAULTS])
async def test_after_a_fault_of_the_list_the_copy_is_right(
    server: FakeApiServer, tmp_path: Path, faults: list[Fault]
) -> None:
    server.script(NODES, "list", *faults)
    async with following(server, tmp_path, page_limit_bytes=200_000, request_timeout_s=0.5) as copy:
        await copy.equal()
        assert copy.news.faults == len(faults)
        assert len(copy.pacing.waits) == len(faults)


async def test_a_list_that_fails_leaves_the_copy_as_it_was(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path, page_objects=2) as copy:
        await copy.asked("watch", 1)
        before = dict(copy.reflector.objects)
        server.script(NODES, "list", Refuse(500), Refuse(500))
        await server.forget(NODES)
        await copy.news.until(lambda: copy.news.faults >= 2, "the list failed")
        assert dict(copy.reflector.objects) == before
        await copy.asked("watch", 2)
        await copy.equal()


async def test_a_server_that_falls_silent_is_asked_again_from_the_last_version(
    server: FakeApiServer, tmp_path: Path
) -> None:
    server.script(NODES, "watch", Hang(answered=True), Hang(answered=False))
    async with following(server, tmp_path, silence_s=0.1) as copy:
        await copy.asked("watch", 3)
        await server.put(NODES, "node-3")
        await copy.equal()
        assert copy.news.lists == 1
        assert copy.news.faults == 1, "silence on a watch is none, silence instead of an answer is"


async def test_what_was_deleted_and_made_again_meanwhile_is_the_new_one(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 1)
        old = copy.reflector.objects["node-0"].metadata
        await server.delete(NODES, "node-0")
        await server.put(NODES, "node-0")
        await copy.equal()
        assert copy.reflector.objects["node-0"].metadata.uid != old.uid
        stale = {"name": "node-0", "uid": old.uid, "resourceVersion": "105"}
        server.script(
            NODES, "watch", Say(json.dumps({"type": "DELETED", "object": {"metadata": stale}}).encode() + b"\n")
        )
        await server.end_watches(NODES)
        await copy.asked("watch", 3)
        assert "node-0" in copy.reflector.objects, "news of the old one is none of the new one"


async def test_a_server_that_forgot_is_listed_anew(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 1)
        await server.delete(NODES, "node-1")
        await server.forget(NODES)
        await copy.equal()
        assert copy.news.lists == 2


async def test_a_token_that_expired_is_read_again(server: FakeApiServer, tmp_path: Path) -> None:
    server.tokens = {"first-token"}
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 1)
        server.tokens = {"second-token"}
        await server.put(NODES, "node-3")
        await copy.equal()
        await server.end_watches(NODES)
        await copy.news.until(lambda: copy.news.faults >= 2, "the old token is refused")
        service_account(tmp_path, "second-token")
        await copy.asked("watch", server.count(NODES, "watch") + 1)
        await server.put(NODES, "node-4")
        await copy.equal()
        assert server.asked[-1].token == "second-token"
        assert copy.news.lists == 1, "another token is no reason to list anew"


async def test_everything_is_listed_anew_now_and_then(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path, resync_s=600.0) as copy:
        await copy.asked("watch", 1)
        copy.pacing.now_s += 899.0
        await server.end_watches(NODES)
        await copy.asked("watch", 2)
        assert server.asked[-1].parameters["timeoutSeconds"] == "1", "to be back in time for the list"
        assert copy.news.lists == 1
        copy.pacing.now_s += 1.0
        await server.end_watches(NODES)
        await copy.asked("watch", 3)
        assert copy.news.lists == 2
        assert copy.news.changes == 1, "nothing had changed"
        assert len(copy.pacing.waits) == 1, "the first round was a long one"


async def test_the_waits_grow_are_bounded_and_begin_anew_after_a_steady_round(
    server: FakeApiServer, tmp_path: Path
) -> None:
    server.script(NODES, "watch", *[Refuse(500)] * 9)
    async with following(server, tmp_path, backoff_first_s=1.0, backoff_max_s=30.0) as copy:
        await copy.asked("watch", 10)
        assert copy.pacing.waits == [0.75 * min(2.0**doublings, 30.0) for doublings in range(9)]
        copy.pacing.now_s += 60.0
        server.script(NODES, "watch", Refuse(500))
        await server.end_watches(NODES)
        await copy.asked("watch", 12)
        assert copy.pacing.waits[9:] == [0.75]


async def test_who_asks_to_be_left_alone_is(server: FakeApiServer, tmp_path: Path) -> None:
    server.script(
        NODES, "watch", Refuse(429, "17"), Refuse(503, "1000000"), Refuse(429, "Tue, 24 Nov 2026 16:00:00 GMT")
    )
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 4)
        assert copy.pacing.waits[:2] == [17.0, 120.0]
        assert copy.pacing.waits[2] < 1.0, "a date is none of the forms that API servers use"


async def test_a_spell_of_trouble_is_told_once_and_its_end_too(
    server: FakeApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "invoker")
    server.script(NODES, "watch", *[Refuse(503)] * 5)
    async with following(server, tmp_path) as copy:
        await copy.asked("watch", 6)
        await copy.news.until(lambda: copy.reflector.fault is None, "all is well")
        assert copy.news.faults == 5
        assert copy.news.up == {"nodes": True}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "watching nodes: 503, scripted; trying again" in caplog.text
    assert "first-token" not in caplog.text


async def test_too_many_objects_are_refused(server: FakeApiServer, tmp_path: Path) -> None:
    async with following(server, tmp_path, objects_max=3) as copy:
        await copy.asked("watch", 1)
        await server.put(NODES, "one-too-many")
        await copy.news.until(lambda: copy.news.faults >= 3, "the list is refused too")
        assert "more than 3" in str(copy.reflector.fault)
        await server.delete(NODES, "node-0")
        await copy.equal()


async def test_a_server_that_was_away_is_found_again(tmp_path: Path) -> None:
    server = FakeApiServer()
    async with serving(server):
        await server.put(NODES, "node-0")
        port = int(server.url.rpartition(":")[2])
        follow = following(server, tmp_path)
        copy = await follow.__aenter__()
        await copy.asked("watch", 1)
    try:
        await copy.news.until(lambda: copy.news.faults >= 3, "nobody answers")
        assert sorted(copy.reflector.objects) == ["node-0"], "the last state holds"
        async with serving(server, port):
            await server.put(NODES, "node-1")
            await copy.equal()
            assert copy.news.lists == 1
    finally:
        await follow.__aexit__(None, None, None)


def test_the_bound_of_these_waits_is_below_the_test_runners() -> None:
    assert WAIT_S < 60

"""Records on their way to CouchDB: in batches, once each, through outages, refusals, full disks and kill -9."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from invoker.errors import PlatformFault
from invoker.io.couchdb.client import CouchClient
from invoker.io.couchdb.records import CouchRecords
from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.metrics import Metrics
from invoker.io.spool.settings import SPOOL_BYTES_MIN, SpoolSettings
from tests.support.couch_fake import PASSWORD, USER, FakeCouch, Passing, Standing, fake_couch, status
from tests.support.couch_outage import Place, outage

pytestmark = pytest.mark.contract("8", "19")

LIMIT_S = 20.0
NOW_MS = 1_700_000_000_000


class Node:
    """One life of the sink, its time in the test's hand."""

    def __init__(self, server: FakeCouch, directory: Path, *, passing: bool = False, **given: Any) -> None:
        spool = {name: given.pop(name) for name in ("spool_bytes", "rejected_bytes") if name in given}
        self.pace = Standing()
        settings = CouchDbSettings(url=server.url, username=USER, password=PASSWORD, **given)
        pace = Passing() if passing else self.pace
        self.client = CouchClient(settings, pace)
        self.metrics = Metrics()
        self.spool = SpoolSettings(str(directory), **spool)
        self.records = CouchRecords(
            self.client, settings, self.spool, self.metrics, pace=pace, now_ns=lambda: NOW_MS * 1_000_000
        )

    async def __aenter__(self) -> Node:
        await self.client.open()
        await self.records.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.records.close()
        await self.records.close()
        await self.client.close()

    async def put(self, *numbers: int, size: int = 0) -> None:
        for number in numbers:
            await self.records.put(name(number), b'{"activationId":"%032x","x":"%b"}' % (number, b"x" * size), {})

    async def sent(self) -> None:
        """Until nothing waits, time being moved along."""
        await self.until(lambda: self.records.held_bytes == 0)

    async def until(self, holds: Any, step_s: float = 1.0) -> None:
        """Until it holds; time moves on by `step_s` between two looks, or stands still."""
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                self.pace.advance(step_s)
                await asyncio.sleep(0.001)

    def shown(self, metric: str) -> float:
        return self.metrics.registry.get_sample_value(metric) or 0.0


@pytest.fixture
async def server() -> AsyncIterator[FakeCouch]:
    async with fake_couch() as fake:
        yield fake


def name(number: int) -> str:
    return f"guest/{number:032x}"


async def test_records_are_the_contracts_documents(server: FakeCouch, tmp_path: Path) -> None:
    async with Node(server, tmp_path) as node:
        await node.put(1)
        await node.sent()
    (document,) = server.databases["activations"][name(1)].values()
    assert document.pop("_rev").startswith("1-")
    assert document == {
        "_id": name(1),
        "entityType": "activation",
        "updated": NOW_MS,
        "activationId": f"{1:032x}",
        "x": "",
    }


async def test_a_batch_goes_three_seconds_after_its_first_record(server: FakeCouch, tmp_path: Path) -> None:
    async with Node(server, tmp_path) as node:
        await node.put(1)
        await node.until(lambda: node.pace.waiting, step_s=0)
        await node.put(2, 3)
        node.pace.advance(2.9)
        await asyncio.sleep(0)
        await node.put(4)
        assert server.batches == []
        node.pace.advance(0.1)
        await node.sent()
        assert server.batches == [4]
        assert node.shown("histogram_database_batchSize_counter_sum") == 4
        assert node.shown("counter_database_saveDocumentBulk_start_total") == 1
        assert node.shown("counter_database_saveDocumentBulk_error_total") == 0
        await node.until(lambda: node.shown("invoker_spool_bytes") == 0)


async def test_a_batch_goes_before_it_would_be_too_large(server: FakeCouch, tmp_path: Path) -> None:
    bodies: list[int] = []
    server.refuse_body = lambda body: bodies.append(len(body))
    async with Node(server, tmp_path, batch_bytes=10_000) as node:
        await node.put(*range(30), size=900)
        await node.until(lambda: len(server.records()) >= 20, step_s=0)
        await node.sent()
    assert max(bodies) <= 10_000
    assert sum(server.batches) == 30
    assert set(server.records().values()) == {1}


async def test_close_sends_what_waits_at_once(server: FakeCouch, tmp_path: Path) -> None:
    async with Node(server, tmp_path) as node:
        await node.put(*range(7))
    assert len(server.records()) == 7
    assert not [each for each in os.listdir(tmp_path) if each.endswith(".spool")]


async def test_close_is_bounded_and_the_rest_waits_for_the_next_start(
    server: FakeCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Node(server, tmp_path) as node:
        await server.stop()
        await node.put(*range(7))
    assert "were not sent: they wait in the spool for the next start" in caplog.text
    await server.start()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        async with Node(server, tmp_path) as node:
            await node.until(lambda: node.records.held_bytes == 0, step_s=0)
    assert "of a former life wait in the spool and are sent now" in caplog.text
    assert server.records() == {name(number): 1 for number in range(7)}


async def test_what_is_sent_twice_is_there_once(server: FakeCouch, tmp_path: Path) -> None:
    """The answer to a batch is lost: it is sent again, and a conflict is a success."""
    server.put("activations", {"_id": name(1)})
    async with Node(server, tmp_path) as node:
        await node.put(1, 2)
        await node.sent()
        assert node.shown("invoker_records_rejected_total") == 0
    assert server.records() == {name(1): 1, name(2): 1}


async def test_an_outage_is_told_once_and_lasts_as_long_as_it_likes(
    server: FakeCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults += [status(500)] * 20 + [status(401)] * 20
    with caplog.at_level(logging.INFO, "invoker.io.couchdb.records"):
        async with Node(server, tmp_path) as node:
            await node.put(*range(5))
            await node.sent()
            assert not server.faults
            assert (
                30 < node.shown("counter_database_saveDocumentBulk_error_total") < 40
            )  # the rest were asked whose fault
    assert server.records() == {name(number): 1 for number in range(5)}
    told = [record.message for record in caplog.records]
    assert len(told) == 3, told
    assert "answered 500" in told[0]
    assert "answered 401" in told[1]
    assert told[2] == "CouchDB takes records again"


@pytest.mark.parametrize("code", [400, 413])
async def test_a_batch_refused_as_a_whole_is_split_until_the_bad_one_stands_alone(
    server: FakeCouch, tmp_path: Path, code: int
) -> None:
    bad = {name(13), name(14), name(77)}
    server.refuse_body = lambda body: code if any(each.encode() in body for each in bad) else None
    async with Node(server, tmp_path) as node:
        await node.put(*range(100))
        await node.sent()
        assert node.shown("invoker_records_rejected_total") == 3
    assert server.records() == {name(number): 1 for number in range(100) if name(number) not in bad}
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert {line["document"]["_id"] for line in lines} == bad
    assert all(f"CouchDB answered {code}" in line["reason"] for line in lines)


async def test_a_record_that_couchdb_stumbles_over_is_set_aside(
    server: FakeCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse_body = lambda body: 500 if name(3).encode() in body else None
    async with Node(server, tmp_path) as node:
        await node.put(1, 2, 3, 4, 5)
        await node.sent()
        assert node.shown("invoker_records_rejected_total") == 1
    assert server.records() == {name(number): 1 for number in (1, 2, 4, 5)}
    (line,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["document"]["_id"] == name(3)
    assert f"the record {name(3)} is refused and set aside" in caplog.text


async def test_a_lone_record_that_couchdb_stumbles_over_waits_for_others(server: FakeCouch, tmp_path: Path) -> None:
    stumbles: list[int] = []

    def stumble(body: bytes) -> int | None:
        if name(1).encode() not in body:
            return None
        stumbles.append(500)
        return 500

    server.refuse_body = stumble
    async with Node(server, tmp_path) as node:
        await node.put(1)
        await node.until(lambda: len(stumbles) > 40)
        assert not (tmp_path / "rejected.jsonl").exists()  # CouchDB may be ill: nothing says that it isn't
        await node.put(2)
        await node.sent()
    assert server.records() == {name(2): 1}
    assert name(1) in (tmp_path / "rejected.jsonl").read_text()


async def test_a_couchdb_that_is_ill_refuses_no_record(server: FakeCouch, tmp_path: Path) -> None:
    answered: list[int] = []

    def ill(_: bytes) -> int | None:
        answered.append(500)
        return 500 if len(answered) < 40 else None

    server.refuse_body = ill
    async with Node(server, tmp_path) as node:
        await node.put(1, 2)
        await node.sent()
    assert len(answered) == 40
    assert server.records() == {name(1): 1, name(2): 1}
    assert not (tmp_path / "rejected.jsonl").exists()


async def test_a_proxys_refusal_refuses_no_record(server: FakeCouch, tmp_path: Path) -> None:
    server.faults += [status(400, "<html>The plain HTTP request was sent to HTTPS port</html>")] * 5
    async with Node(server, tmp_path) as node:
        await node.put(1)
        await node.sent()
        assert node.shown("invoker_records_rejected_total") == 0
    assert server.records() == {name(1): 1}


async def test_one_record_refused_in_an_answer_is_set_aside(
    server: FakeCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = lambda document: ("forbidden", "not yours") if document["_id"] == name(3) else None
    async with Node(server, tmp_path) as node:
        await node.put(*range(5))
        await node.sent()
    assert server.records() == {name(number): 1 for number in range(5) if number != 3}
    assert f"the record {name(3)} is refused and set aside" in caplog.text
    assert json.loads((tmp_path / "rejected.jsonl").read_text())["reason"] == "forbidden: not yours"


async def test_one_record_that_fails_for_a_moment_is_sent_again(server: FakeCouch, tmp_path: Path) -> None:
    left = [3]

    def refuse(document: dict[str, Any]) -> tuple[str, str] | None:
        if document["_id"] == name(3) and left[0]:
            left[0] -= 1
            return ("internal_server_error", "no DB shards could be opened")
        return None

    server.refuse = refuse
    async with Node(server, tmp_path) as node:
        await node.put(*range(5))
        await node.sent()
        assert node.shown("invoker_records_rejected_total") == 0
    assert server.records() == {name(number): 1 for number in range(5)}


async def test_a_full_spool_drops_the_oldest_with_a_line_and_a_count_each(
    server: FakeCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    async with Node(server, tmp_path, spool_bytes=SPOOL_BYTES_MIN) as node:
        await node.put(*range(200), size=1000)
        dropped = int(node.shown("invoker_spool_records_dropped_total"))
        await server.start()
        await node.sent()
    assert 0 < dropped < 200
    told = [record.message for record in caplog.records if "is dropped" in record.message]
    assert told == [
        f"the spool is full (SPOOL_BYTES): the record {name(number)} is dropped" for number in range(dropped)
    ]
    # a batch that was under way when it was dropped may have arrived all the same
    assert set(server.records()) >= {name(number) for number in range(dropped, 200)}


async def test_a_disk_that_fails_is_gone_around(
    server: FakeCouch, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(server, tmp_path, passing=True) as node:

        def full(_data: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(node.records._spool, "_write", full)
        await node.put(1, 2)
        assert server.records() == {name(1): 1, name(2): 1}
        assert caplog.text.count("until then records go to CouchDB without it") == 1
        await server.stop()
        with pytest.raises(PlatformFault, match="no answer from CouchDB"):
            await node.put(3)
        monkeypatch.undo()
        await server.start()
        await node.put(4)
        await node.until(lambda: name(4) in server.records())


async def test_ten_minutes_without_couchdb_and_kill_9_in_between(
    server: FakeCouch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def records() -> dict[str, int]:
        return server.records()

    place = Place(server.url, USER, PASSWORD, "", server.stop, server.start, records)
    counts = await outage(place, tmp_path / "spool")
    with capsys.disabled():
        print("\n600 s without CouchDB (in process), three kills: " + ", ".join(f"{n} {w}" for w, n in counts.items()))

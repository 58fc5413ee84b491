"""What becomes of a message of the topic: how much is read, when it is committed, what is skipped, what comes twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from invoker.errors import PlatformFault
from invoker.io.containers.fake import Moment
from invoker.io.kafka.consumer import KafkaRecord
from invoker.io.kafka.settings import AnswerTooLarge, DeliverySettings
from invoker.kafka_intake import InOrder, KafkaIntake
from invoker.policy import policyset
from invoker.ports import ContainerSpec
from invoker.protocol.secrets import KeyRing
from tests.support.body import CAPACITY_MB, MEMORY_MB, Body, document
from tests.support.node import message
from tests.support.raw_http import until

TOPIC = "invoker3"
ONE, TWO, THREE = ("01" * 16, "02" * 16, "03" * 16)


class Topic:
    """A topic in memory: what is there, how much was asked for at a time, what was committed."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.taken = 0
        self.asked: list[int] = []
        self.commits: list[int] = []
        self.life = 0
        self.before_commit: Callable[[], Any] | None = None
        self._news = asyncio.Event()

    @property
    def lag(self) -> int:
        return len(self.messages) - self.taken

    def put(self, *messages: bytes) -> None:
        self.messages += messages
        self._news.set()

    async def connect(self) -> None:
        """Always there."""

    async def probe(self) -> None:
        """Always well."""

    async def read(self, max_records: int, wait_s: float) -> list[KafkaRecord]:
        self.asked.append(max_records)
        while self.taken == len(self.messages):
            self._news.clear()
            await self._news.wait()
        first, self.taken = self.taken, min(len(self.messages), self.taken + max_records)
        stamp_ms = time.time_ns() // 1_000_000
        return [KafkaRecord(offset, self.messages[offset], stamp_ms, self.life) for offset in range(first, self.taken)]

    async def commit(self, offset: int, life: int) -> None:
        if self.before_commit is not None:
            await self.before_commit()
        self.commits.append(offset)


class Acks:
    """Keeps what is acknowledged; `faults` are raised first, one each; nothing gets through while `open` is not set."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[PlatformFault] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, controller: str, completion: bytes) -> None:
        await self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append((controller, json.loads(completion)))


class Door:
    """Lets runs go on once it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def gate(self, moment: Moment, _: ContainerSpec) -> None:
        if moment == "run":
            await self.opened.wait()


class Taken:
    def __init__(self, body: Body, topic: Topic, acks: Acks, intake: KafkaIntake, door: Door) -> None:
        self.body, self.topic, self.acks, self.intake, self.door = body, topic, acks, intake, door

    def skipped(self, reason: str) -> float:
        """As the metric says."""
        named = f'invoker_kafka_skipped_total{{reason="{reason}"}} '
        lines = self.body.metrics.render().decode().splitlines()
        return next((float(line.removeprefix(named)) for line in lines if line.startswith(named)), 0.0)


@asynccontextmanager
async def taking(
    *, blocked: frozenset[str] = frozenset(), shut: bool = False, intake_limit: int = 16, **settings: Any
) -> AsyncGenerator[Taken]:
    """An intake that reads a topic in memory; `shut`: runs wait for the door."""
    door = Door()
    if not shut:
        door.opened.set()
    policies = msgspec.structs.replace(policyset.default(CAPACITY_MB), intake_limit=intake_limit)
    async with Body(gate=door.gate, policies=policies) as body:
        body.store.actions["guest", "act"] = document()
        topic, acks = Topic(), Acks()
        intake = KafkaIntake(
            DeliverySettings(intake_limit=intake_limit, **settings),
            TOPIC,
            topic,
            acks,
            body.runner,
            KeyRing(),
            body.clock,
            body.metrics,
            waiting=lambda: len(body.pool.waiting),
            running=lambda: len(body.pool.placed),
            blocked=lambda: blocked,
        )
        body.driver._hold_intake = intake.hold  # pyright: ignore[reportPrivateUsage] - as given at its making
        await intake.open()
        yield Taken(body, topic, acks, intake, door)
        door.opened.set()
        acks.open.set()
        await intake.finished()
        await intake.close()
        await intake.close()


@pytest.mark.contract("5", "6")
@pytest.mark.parametrize("blocking", [True, False])
async def test_a_message_is_run_and_acknowledged_to_its_controller(blocking: bool) -> None:
    async with taking() as taken:
        taken.topic.put(
            message("act", {"x": 1}, activation=ONE, blocking=blocking, rootControllerIndex={"asString": "7"})
        )
        await until(lambda: bool(taken.acks.sent))
        ((controller, told),) = taken.acks.sent
        assert (controller, told["isSystemError"]) == ("7", False)
        assert told["invoker"] == {"instance": 3, "userMemory": "0 g"}
        assert told["instance"]["userMemory"] == f"{1 << 30} B"
        if blocking:
            assert told["response"]["response"]["result"] == {"x": 1}
        else:
            assert told["response"] == ONE
        await until(lambda: bool(taken.body.lines.completed))
        (line,) = taken.body.lines.completed
        assert line["invokedVia"] == "kafka"
        assert line["kafkaWriteTime"] >= 0
        assert (ONE in "".join(taken.body.store.records)) is not blocking


@pytest.mark.contract("5")
async def test_at_most_once_a_batch_is_committed_before_any_of_it_runs() -> None:
    async with taking(shut=True) as taken:
        started: list[int] = []

        async def before() -> None:
            started.append(taken.intake.in_flight)

        taken.topic.before_commit = before
        taken.topic.put(*(message("act", {}) for _ in range(3)))
        await until(lambda: taken.intake.in_flight == 3)
        assert (started, taken.topic.commits) == ([0], [3])


async def test_no_more_is_read_than_the_pool_can_hold() -> None:
    """Two containers run, four wait; the rest stays in the topic until there is room."""
    async with taking(shut=True, intake_limit=4) as taken:
        taken.topic.put(*(message("act", {}) for _ in range(50)))
        await until(lambda: len(taken.body.pool.waiting) == 4)
        for _ in range(100):
            await asyncio.sleep(0)
        assert taken.body.pool.holding
        assert taken.topic.taken == 6
        assert max(taken.topic.asked) == 4
        taken.door.opened.set()
        await until(lambda: len(taken.acks.sent) == 50)
        assert taken.intake.free > 0


async def test_messages_whose_action_is_being_fetched_count_as_read() -> None:
    async with taking(intake_limit=4) as taken:
        fetched = asyncio.Event()
        get = taken.body.store.get

        async def slow(path: str, name: str, revision: str | None) -> Any:
            await fetched.wait()
            return await get(path, name, revision)

        taken.body.store.get = slow  # type: ignore[method-assign]
        taken.topic.put(*(message("act", {}) for _ in range(20)))
        await until(lambda: taken.intake.in_flight == 4)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (taken.topic.taken, taken.intake.free) == (4, 0)
        fetched.set()
        await until(lambda: len(taken.acks.sent) == 20)


async def test_acknowledgements_that_do_not_get_through_stop_the_reading() -> None:
    async with taking(answers_limit=5) as taken:
        taken.acks.open.clear()
        taken.topic.put(*(message("act", {}) for _ in range(200)))
        await until(lambda: taken.intake.free <= 0 and taken.body.pool.placed == {})
        assert taken.topic.taken == taken.intake.in_flight <= 16 + CAPACITY_MB // MEMORY_MB
        taken.acks.open.set()
        await until(lambda: len(taken.acks.sent) == 200)


@pytest.mark.contract("5", "19")
async def test_a_blocked_namespace_is_acknowledged_in_short_and_not_run() -> None:
    async with taking(blocked=frozenset({"guest"})) as taken:
        taken.topic.put(message("act", {}, activation=ONE))
        await until(lambda: bool(taken.body.lines.completed))
        ((_, told),) = taken.acks.sent
        assert (told["response"], told["isSystemError"]) == (ONE, False)
        (line,) = taken.body.lines.completed
        assert line["namespaceBlocked"] is True
        assert {"tid", "aid", "account", "namespace", "function", "invokedVia", "kafkaWriteTime"} < line.keys()
        assert (taken.body.store.records, taken.body.engine.containers) == ({}, {})
        text = taken.body.metrics.render().decode()
        assert "counter_invoker_activation_start_total 0.0" in text
        assert taken.skipped("blocked") == 1


@pytest.mark.contract("5", "19")
@pytest.mark.parametrize(
    ("blocking", "age_ms", "skipped"),
    [(True, 601_000, True), (True, 590_000, False), (False, 601_000, False)],
)
async def test_only_blocking_messages_of_over_ten_minutes_are_too_old(
    blocking: bool, age_ms: int, skipped: bool
) -> None:
    async with taking() as taken:
        start_ms = time.time_ns() // 1_000_000 - age_ms
        taken.topic.put(message("act", {}, activation=ONE, blocking=blocking, transid=["t", start_ms]))
        await until(lambda: bool(taken.body.lines.completed))
        assert taken.body.lines.completed[0].get("skippedOldInvocation", False) is skipped
        assert taken.acks.sent[0][1]["isSystemError"] is False
        assert (taken.skipped("old") == 1) is skipped


@pytest.mark.contract("5")
@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
async def test_what_can_not_be_parsed_is_skipped_and_holds_nothing_up(delivery: str) -> None:
    async with taking(delivery=delivery) as taken:
        taken.topic.put(b"{", b"", message("act", {}, activation=ONE))
        await until(lambda: bool(taken.acks.sent) and taken.topic.commits[-1:] == [3])
        assert taken.skipped("malformed") == 2


async def test_at_least_once_commits_in_order_and_only_what_is_through() -> None:
    async with taking(delivery="at-least-once", shut=True) as taken:
        taken.body.store.actions["guest", "quick"] = document("quick")
        taken.topic.put(message("act", {}), message("act", {}), message("gone", {}))  # the last ends at once
        await until(lambda: len(taken.acks.sent) == 1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert taken.topic.commits == []
        taken.door.opened.set()
        await until(lambda: taken.topic.commits[-1:] == [3])
        assert taken.topic.commits == sorted(taken.topic.commits)


async def test_at_least_once_waits_for_the_record_and_the_acknowledgement() -> None:
    async with taking(delivery="at-least-once") as taken:
        stored = asyncio.Event()
        taken.body.store.before_put = stored.wait  # type: ignore[assignment]
        taken.acks.open.clear()
        taken.topic.put(message("act", {}, activation=ONE, blocking=False))
        await until(lambda: taken.intake.in_flight == 1)
        stored.set()
        await until(lambda: bool(taken.body.store.records))
        assert taken.topic.commits == []
        taken.acks.open.set()
        await until(lambda: taken.topic.commits == [1])


async def test_at_least_once_reads_only_so_far_beyond_the_oldest_unfinished() -> None:
    async with taking(delivery="at-least-once", uncommitted_limit=8, shut=True) as taken:
        taken.topic.put(message("act", {}), *(message("gone", {}) for _ in range(50)))
        await until(lambda: taken.intake.free <= 0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert taken.topic.taken == 8
        taken.door.opened.set()
        await until(lambda: len(taken.acks.sent) == 51)


async def test_a_second_copy_is_dropped_while_the_first_runs_and_acknowledged_after_it() -> None:
    async with taking(delivery="at-least-once", shut=True) as taken:
        taken.topic.put(message("act", {}, activation=ONE), message("act", {}, activation=ONE))
        await until(lambda: taken.skipped("duplicate") == 1)
        assert taken.acks.sent == []
        taken.door.opened.set()
        await until(lambda: len(taken.acks.sent) == 1)
        await until(lambda: taken.topic.commits[-1:] == [2])
        taken.topic.put(message("act", {}, activation=ONE))
        await until(lambda: len(taken.acks.sent) == 2)
        assert taken.acks.sent[1][1]["response"] == ONE
        await until(lambda: taken.topic.commits[-1:] == [3])
        assert len(taken.body.lines.completed) == 1
        assert "counter_invoker_activation_start_total 1.0" in taken.body.metrics.render().decode()


async def test_the_window_of_ids_is_bounded() -> None:
    async with taking(delivery="at-least-once", duplicates_window=2) as taken:
        for activation in (ONE, TWO, THREE, ONE):
            taken.topic.put(message("act", {}, activation=activation))
        await until(lambda: len(taken.acks.sent) == 4)
        assert taken.skipped("duplicate") == 0


async def test_at_most_once_runs_a_second_copy_as_the_reference_does() -> None:
    async with taking() as taken:
        taken.topic.put(message("act", {}, activation=ONE), message("act", {}, activation=ONE))
        await until(lambda: len(taken.body.lines.completed) == 2)


async def test_an_answer_that_is_too_large_is_given_by_its_id_and_its_record_stored() -> None:
    async with taking() as taken:
        taken.acks.faults.append(AnswerTooLarge("too many bytes"))
        taken.topic.put(message("act", {}, activation=ONE))
        await until(lambda: bool(taken.body.lines.completed))
        assert taken.acks.sent[0][1]["response"] == ONE
        assert f"guest/{ONE}" in taken.body.store.records


async def test_an_acknowledgement_that_is_given_up_ends_the_story_all_the_same() -> None:
    async with taking(delivery="at-least-once") as taken:
        taken.acks.faults.append(PlatformFault("no such topic"))
        taken.topic.put(message("act", {}, activation=ONE))
        await until(lambda: taken.topic.commits == [1])
        assert len(taken.body.lines.completed) == 1


@pytest.mark.contract("5", "15")
async def test_delay_and_lag_are_reported() -> None:
    async with taking() as taken:
        taken.topic.put(message("act", {}))
        await until(lambda: bool(taken.acks.sent))
        text = taken.body.metrics.render().decode()
        assert 'histogram_kafka_topic_start_seconds_count{topic="invoker3"} 1.0' in text
        assert 'gauge_kafka_topic_counter{topic="invoker3"} 0.0' in text


async def test_once_stopped_nothing_more_is_read_and_what_was_read_ends() -> None:
    async with taking(shut=True) as taken:
        taken.topic.put(message("act", {}))
        await until(lambda: taken.intake.in_flight == 1)
        taken.intake.stop()
        taken.topic.put(message("act", {}))
        taken.door.opened.set()
        await taken.intake.finished()
        assert (taken.topic.taken, len(taken.acks.sent)) == (1, 1)


@pytest.mark.contract("18")
@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
async def test_the_end_does_not_wait_for_brokers_that_are_away(monkeypatch: pytest.MonkeyPatch, delivery: str) -> None:
    """What runs is waited for, its acknowledgement only for a while; a message that has none is not committed."""
    monkeypatch.setattr("invoker.kafka_intake.CLOSE_WAIT_S", 0.05)
    async with taking(shut=True, delivery=delivery) as taken:
        taken.acks.open.clear()
        taken.topic.put(*(message("act", {}, blocking=False) for _ in range(3)))
        await until(lambda: taken.intake.in_flight == 3)
        ending = asyncio.create_task(taken.intake.finished())
        taken.door.opened.set()
        await ending
        await taken.intake.close()
        assert taken.acks.sent == []
        assert len(taken.body.lines.completed) == len(taken.body.store.records) == 3
        assert taken.topic.commits == ([3] if delivery == "at-most-once" else [])


async def test_a_topic_made_anew_begins_a_new_count() -> None:
    async with taking(delivery="at-least-once") as taken:
        taken.topic.put(message("act", {}), message("act", {}))
        await until(lambda: taken.topic.commits[-1:] == [2])
        taken.topic.life, taken.topic.taken, taken.topic.messages = 1, 0, []
        taken.topic.put(message("act", {}))
        await until(lambda: taken.topic.commits[-1:] == [1])


def test_in_order_moves_only_when_the_oldest_is_through() -> None:
    offsets = InOrder(0)
    for offset in (5, 6, 9):
        offsets.begin(offset)
    assert not offsets.end(9)
    assert not offsets.end(6)
    assert (offsets.point, len(offsets)) == (None, 3)
    assert offsets.end(5)
    assert (offsets.point, len(offsets)) == (10, 0)

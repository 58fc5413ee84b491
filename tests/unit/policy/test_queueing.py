"""Disciplines and lines: their ranks, the order that comes of them, and that they forget what has left."""

from __future__ import annotations

import pathlib
import tomllib
from collections import OrderedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.policy import PolicySet
from invoker.policy.function import Function, Invocation, Stem
from invoker.policy.policyset import AnyQueueing
from invoker.policy.queueing import Alarms, EarliestDeadline, FairShare, FirstCome, Line, ShortestJob
from invoker.policy.types import MINUTE_NS, SECOND_NS, ActivationId, PrewarmKey, WarmKey


def function(name: str, memory_mb: int = 1, run_ns: int = 0, cost_ns: int = 0, namespace: str = "ns") -> Function:
    """A function's record, with what was learnt of it."""
    stem = Stem(PrewarmKey("k", memory_mb))
    key = WarmKey(namespace, "path", name, "1", "r", "")
    return Function(key, stem, memory_mb, 1, run_ns=run_ns, cost_ns=cost_ns)


def test_first_come_needs_no_ranks() -> None:
    assert FirstCome().build().ranks is False


def test_the_shortest_job_is_a_cold_start_and_a_run() -> None:
    ranked = ShortestJob(unknown_ns=50, ageing_percent=0).build()
    assert ranked.rank(function("f", run_ns=7, cost_ns=30), 1000, 0) == 37
    assert ranked.rank(function("new"), 1000, 0) == 50


def test_waiting_makes_up_for_a_long_job() -> None:
    ranked = ShortestJob(ageing_percent=10).build()
    long = ranked.rank(function("long", run_ns=SECOND_NS), 0, 0)
    assert ranked.rank(function("short", run_ns=1), 10 * SECOND_NS - 100, 0) < long
    assert ranked.rank(function("short", run_ns=1), 10 * SECOND_NS, 0) > long


def test_a_deadline_is_the_arrival_and_the_budget() -> None:
    ranked = EarliestDeadline(budget_ns=MINUTE_NS).build()
    assert ranked.rank(function("f"), 5, 0) == 5 + MINUTE_NS
    assert ranked.rank(function("f"), 5, SECOND_NS) == 5 + SECOND_NS


@pytest.mark.parametrize(
    ("by", "arrivals", "served"), [("function", "aaaaabbcc", "abcabcaaa"), ("namespace", "abaabaacc", "acbcaabaa")]
)
def test_those_who_share_are_served_in_turn(by: str, arrivals: str, served: str) -> None:
    """All cost the same. A crowd gets no more than its turn; by namespace, a and b have one turn together."""
    fair, line = msgspec.convert({"type": "fair", "by": by}, FairShare).build(), Line(ranked=True)
    functions = {name: function(name, run_ns=5, namespace="other" if name == "c" else "ns") for name in "abc"}
    for number, name in enumerate(arrivals):
        rank = fair.rank(functions[name], 0, 0)
        line.join(Invocation(ActivationId(f"{number}"), functions[name], 0, rank))
    got = ""
    while (head := line.head()) is not None:
        line.leave(head)
        fair.served(head.rank)
        got += head.function.key.name
    assert got == served


def test_a_share_is_memory_over_time() -> None:
    fair = FairShare().build()
    large, small = function("large", memory_mb=4, run_ns=10), function("small", memory_mb=1, run_ns=20)
    assert [fair.rank(large, 0, 0) for _ in range(3)] == [0, 40, 80]
    assert [fair.rank(small, 0, 0) for _ in range(3)] == [0, 20, 40]


def test_who_comes_late_has_saved_up_nothing() -> None:
    fair = FairShare().build()
    early, late = function("early", run_ns=10), function("late", run_ns=10)
    ranks = [fair.rank(early, 0, 0) for _ in range(4)]
    fair.served(ranks[2])
    assert fair.rank(late, 0, 0) == ranks[2]
    fair.emptied()
    assert fair.rank(early, 0, 0) == 0


def test_the_fair_table_forgets_who_is_past() -> None:
    fair = FairShare().build()
    for number in range(10_000):
        fair.served(fair.rank(function(f"f{number}", run_ns=1), 0, 0) + 1)
    assert len(vars(fair)["_ends"]) <= 200


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["join", "join", "first", "leave", "head"]), st.integers(0, 5)), max_size=300),
)
def test_a_line_is_a_sorted_list(ranked: bool, words: list[tuple[str, int]]) -> None:
    line = Line(ranked)
    model: list[tuple[tuple[int, int], Invocation]] = []
    for count, (word, number) in enumerate(words):
        if word in ("join", "first"):
            invocation = Invocation(ActivationId(f"{count}"), function("f"), 0, number)
            if word == "join":
                line.join(invocation)
                model.append(((number if ranked else 0, count), invocation))
            else:
                line.join_first(invocation)
                model.append(((-1, -count), invocation))
            model.sort(key=lambda entry: entry[0])
        elif model:
            leaving = model[number % len(model)][1] if word == "leave" else model[0][1]
            assert line.leave(leaving)
            assert not line.leave(leaving)
            model = [entry for entry in model if entry[1] is not leaving]
        assert line.head() is (model[0][1] if model else None)
        assert len(line) == len(model)
        assert {invocation.activation for invocation in line} == {entry[1].activation for entry in model}


def test_a_line_keeps_little_of_those_who_left() -> None:
    line = Line(ranked=True)
    first = Invocation(ActivationId("first"), function("f"), 0, 0)
    line.join(first)
    for number in range(10_000):
        passing = Invocation(ActivationId(f"{number}"), first.function, 0, 9)
        line.join(passing)
        line.leave(passing)
    assert len(vars(line)["_heap"]) < 200


def test_alarms_come_in_order_and_mean_only_those_who_wait() -> None:
    alarms, waiting = Alarms(), OrderedDict[ActivationId, Invocation]()
    one, two = (Invocation(ActivationId(name), function("f"), 0) for name in ("one", "two"))
    waiting[one.activation], waiting[two.activation] = one, two
    alarms.put(30, one, True, waiting)
    alarms.put(20, two, False, waiting)
    assert alarms.next(waiting) == (20, two, False)
    del waiting[two.activation]
    assert alarms.next(waiting) == (30, one, True)
    alarms.pop()
    assert alarms.next(waiting) is None


@pytest.mark.parametrize(
    ("limit", "low", "mark"), [(16, None, 8), (16, 12, 12), (16, 0, 0), (16, 16, 15), (16, 99, 15), (1, None, 0)]
)
def test_the_low_water_mark_is_below_the_limit(limit: int, low: int | None, mark: int) -> None:
    assert PolicySet("charged", 1024, intake_limit=limit, intake_low=low).resume_at == mark


def test_there_is_a_vector_for_every_discipline() -> None:
    vectors = pathlib.Path(__file__).with_name("vectors").glob("queueing_*.toml")
    named = {tomllib.loads(path.read_text())["policies"].get("queueing", {}).get("type") for path in vectors}
    assert named >= {spec.__struct_config__.tag for spec in AnyQueueing.__args__}

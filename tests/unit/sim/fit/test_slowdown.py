"""The slowdown of starts under way at the same time, out of starts whose slowdown is known."""

from __future__ import annotations

from collections import deque

import pytest

from sim.fit.slowdown import ENDS_MIN, Begun, slowdown_of
from sim.latency import Constant, Exponential, Latency, Lognormal
from sim.node import DOCKER_SLOWDOWN
from sim.rng import sequence
from sim.sharing import Sharing, of_table

MS = 1_000_000
WORK = Lognormal(200.0 * MS, 0.2)


def starts(table: tuple[int, ...], work: Latency, gap_ms: float, number: int, together: int = 1) -> list[Begun]:
    """Starts that begin so many together, after random gaps, and share a machine of this slowdown."""
    works, gaps = sequence(1, "works"), sequence(1, "gaps")
    sharing = Sharing[int](of_table(table))
    waiting: deque[tuple[int, int]] = deque()
    at_ns = 0
    for each in range(number):
        at_ns += Exponential(gap_ms * MS).draw(gaps) if each % together == 0 else 0
        waiting.append((at_ns, each))
    began_ns, ended_ns = {each: at_ns for at_ns, each in waiting}, dict[int, int]()
    while waiting or len(sharing):
        next_ns = sharing.next_ns()
        if waiting and (next_ns < 0 or waiting[0][0] < next_ns):
            begin_ns, each = waiting.popleft()
            sharing.add(begin_ns, work.draw(works), each)
        else:
            ended_ns |= dict.fromkeys(sharing.due(next_ns), next_ns)
    return [Begun(began_ns[each], ended_ns[each], "python:3", good=True) for each in range(number)]


@pytest.mark.parametrize("work", [Constant(200 * MS), WORK], ids=["constant", "lognormal"])
@pytest.mark.parametrize("table", [DOCKER_SLOWDOWN, (1000, 1000, 1500, 3000), (1000,)], ids=["docker", "late", "none"])
def test_a_known_slowdown_is_found_again(table: tuple[int, ...], work: Latency) -> None:
    found = slowdown_of(starts(table, work, 450, 3000))
    assert found.thousandths is not None
    assert found.alone
    assert found.thousandths[0] == 1000
    for level, thousandths in enumerate(found.thousandths[:4]):
        assert thousandths == pytest.approx(table[min(level, len(table) - 1)], rel=0.1)
    source = sequence(1, "works")
    drawn_ns = sorted(work.draw(source) for _ in range(3000))
    found_ns = sorted(found.works_ns)
    for rank in (30, 1500, 2970):
        assert found_ns[rank] == pytest.approx(drawn_ns[rank], rel=0.1)


def test_the_slowdown_never_falls() -> None:
    found = slowdown_of(starts((1000, 3000, 1200), WORK, 300, 1000)).thousandths
    assert found is not None
    assert list(found) == sorted(found)


def test_starts_that_never_meet_tell_of_no_slowdown() -> None:
    apart = [Begun(n * 1000 * MS, n * 1000 * MS + 200 * MS, "python:3", good=True) for n in range(50)]
    found = slowdown_of(apart)
    assert (found.thousandths, found.alone, found.ends) == (None, True, (50,))
    assert found.works_ns == [200 * MS] * 50


def test_starts_that_are_never_alone_are_measured_from_the_least_company() -> None:
    found = slowdown_of(starts((1000, 1750, 2500, 3250), Constant(100 * MS), 60_000, 4 * ENDS_MIN, together=4))
    assert not found.alone
    assert found.thousandths is None  # all four end together
    assert found.works_ns == [325 * MS] * 4 * ENDS_MIN


def test_those_that_failed_take_part_but_are_not_measured() -> None:
    bad = [each._replace(good=number % 3 > 0) for number, each in enumerate(starts(DOCKER_SLOWDOWN, WORK, 450, 3000))]
    found = slowdown_of(bad)
    assert len(found.works_ns) == 2000
    assert found.thousandths is not None
    assert found.thousandths[1] == pytest.approx(1750, rel=0.1)


def test_no_start_and_starts_of_no_length_are_no_trouble() -> None:
    assert slowdown_of([]).works_ns == []
    assert slowdown_of([Begun(5, 5, "python:3", good=True)] * 30).works_ns == [0] * 30

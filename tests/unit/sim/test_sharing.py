"""Processor sharing: by hand, and against the sum of all work."""

from __future__ import annotations

import random

from sim.node import DOCKER_SLOWDOWN
from sim.sharing import Sharing, Slowness, of_cpus, of_table


def _ends(slowness: Slowness, jobs: list[tuple[int, int]]) -> dict[int, int]:
    """When each job ends: (begin, work) in, by index."""
    sharing: Sharing[int] = Sharing(slowness)
    ends: dict[int, int] = {}
    coming = list(enumerate(jobs))
    while coming or len(sharing):
        next_ns = sharing.next_ns()
        if coming and (next_ns < 0 or coming[0][1][0] <= next_ns):
            index, (begin_ns, work_ns) = coming.pop(0)
            sharing.add(begin_ns, work_ns, index)
        else:
            due = sharing.due(next_ns)
            assert due, "a look must find what it was told to look for"
            ends |= dict.fromkeys(due, next_ns)
    return ends


def test_two_jobs_on_one_cpu_take_twice_as_long() -> None:
    assert _ends(of_cpus(1), [(0, 100), (0, 100)]) == {0: 200, 1: 200}


def test_a_job_is_alone_before_and_after() -> None:
    # alone till 50, both till 150 (job 1 done with its 50), alone again for its last 0..
    assert _ends(of_cpus(1), [(0, 200), (50, 50)]) == {1: 150, 0: 250}


def test_enough_cpus_are_as_if_alone() -> None:
    assert _ends(of_cpus(2), [(0, 100), (10, 100)]) == {0: 100, 1: 110}


def test_three_on_two() -> None:
    assert _ends(of_cpus(2), [(0, 100), (0, 100), (0, 100)]) == {0: 150, 1: 150, 2: 150}


def test_starts_slow_each_other_down_as_docker_was_measured() -> None:
    for parallel, took_ms in ((1, 177), (4, 575), (8, 727)):
        ends = _ends(of_table(DOCKER_SLOWDOWN), [(0, 177_000_000)] * parallel)
        assert all(abs(end / 1e6 - took_ms) < 0.01 * took_ms for end in ends.values())


def test_no_work_is_lost_or_made() -> None:
    numbers = random.Random(4)
    jobs: list[tuple[int, int]] = []
    at_ns = 0
    for _ in range(2000):
        at_ns += numbers.randrange(2_000_000)
        jobs.append((at_ns, numbers.randrange(1, 1_500_000)))
    ends = _ends(of_cpus(1), jobs)
    free_ns = 0  # one CPU works whenever there is work, in whatever order: its busy periods are those of a queue
    for begin_ns, work_ns in jobs:
        free_ns = max(free_ns, begin_ns) + work_ns
    assert abs(max(ends.values()) - free_ns) <= 10
    assert all(end - begin >= work for (begin, work), end in zip(jobs, (ends[k] for k in range(2000)), strict=True))


def test_a_job_that_is_dropped_leaves_its_share_to_the_others() -> None:
    sharing: Sharing[str] = Sharing(of_cpus(1))
    for name in ("a", "b"):
        sharing.add(0, 100, name)
    sharing.drop(50, "a")  # each has done 25
    assert (len(sharing), sharing.next_ns()) == (1, 125)
    assert sharing.due(125) == ["b"]
    sharing.drop(130, "a")  # it is not there: nothing happens
    assert sharing.next_ns() == -1

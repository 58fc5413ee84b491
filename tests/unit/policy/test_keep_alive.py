"""What the vectors can't show of keep-alive policies: their bounds, their arithmetic, and how they are named."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.policy import PolicySet, Pool, policyset, step
from invoker.policy import events as ev
from invoker.policy.container import Container
from invoker.policy.function import Stem
from invoker.policy.keepalive import HybridHistogram, Oracle, RainbowCake
from invoker.policy.keepalive.foresight import Window, Windows
from invoker.policy.keepalive.histogram import Histogram
from invoker.policy.keepalive.queue import SLACK, ContainerQueue
from invoker.policy.types import SECOND_NS, ActivationId, ContainerId, PrewarmKey, WarmKey
from tests.support.keep_alives import KEEP_ALIVES

STEM = PrewarmKey("k", 256)


def container(number: int) -> Container:
    return Container(ContainerId(number), STEM, 256, 0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 100))
def test_a_quantile_is_the_first_bin_up_to_which_enough_lie(rests: list[int], percent: int) -> None:
    histogram = Histogram(10)
    for rest in rests:
        histogram.add(rest)
    enough = max(1, -(-len(rests) * percent // 100))
    assert histogram.quantile(percent) == sorted(rests)[enough - 1]


@pytest.mark.parametrize(
    ("rests", "cv_percent"),
    [
        ([4, 4], 300),  # counts 2 and nine times 0: mean 0.2, deviation 0.6
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0),  # flat
        ([0, 0, 0, 0, 0, 1, 2, 3, 4, 5], 145),  # deviation sqrt(2), a mean of 1: rounded up below
    ],
)
def test_the_variation_is_that_of_the_counts(rests: list[int], cv_percent: int) -> None:
    histogram = Histogram(10)
    for rest in rests:
        histogram.add(rest)
    exact = 10_000 * (10 * sum(rests.count(b) ** 2 for b in range(10)) - len(rests) ** 2) // len(rests) ** 2
    assert histogram.varies(10, int(exact**0.5))
    assert not histogram.varies(10, int(exact**0.5) + 1)
    assert abs(int(exact**0.5) - cv_percent) <= 4


def test_a_queue_of_containers_gives_the_lowest_rank_and_forgets_the_dead() -> None:
    draw = random.Random(3)
    queue = ContainerQueue()
    live: dict[int, tuple[int, int, Container]] = {}
    for number in range(1, 5_000):
        rank = draw.randrange(50)
        live[number] = (rank, number, container(number))
        queue.add(live[number][2], rank)
        if len(live) > 10:
            gone = draw.choice(list(live))
            queue.discard(live.pop(gone)[2])
        first = min(live.values(), key=lambda entry: entry[:2])
        assert queue.first() is first[2]
        assert queue.rank(first[2]) == first[0]
        assert len(queue._heap) <= 2 * (len(live) + 1) + SLACK  # pyright: ignore[reportPrivateUsage]


def test_windows_open_and_close_and_never_count_what_was_called_off() -> None:
    stem = Stem(STEM)
    windows = Windows()
    used = windows.plan(stem, 10, 20)
    unused = windows.plan(stem, 15, 30)
    early = windows.plan(stem, 12, 13)
    windows.call_off(early)
    windows.call_off(early)
    assert windows.next_ns() == 10
    assert windows.turn(10) == [stem]
    assert stem.foreseen == 1
    windows.call_off(used)
    assert stem.foreseen == 0
    assert windows.next_ns() == 15
    assert windows.turn(40) == [stem, stem], "late for both: it opens, and closes"
    assert (stem.foreseen, unused.alive, windows.next_ns()) == (0, False, 0)


def test_windows_called_off_take_no_memory() -> None:
    windows = Windows()
    window: Window | None = None
    for at_ns in range(1, 5_000):
        windows.call_off(window)
        window = windows.plan(Stem(STEM), at_ns * SECOND_NS, at_ns * SECOND_NS + 1)
    assert len(windows._heap) <= 2 + SLACK  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("policy", [HybridHistogram(functions_max=5), RainbowCake(functions_max=5)])
def test_no_more_functions_are_remembered_than_may_be(policy: HybridHistogram | RainbowCake) -> None:
    pool = Pool(PolicySet("charged", 1_000_000, keep_alive=policy, starts_max=1_000))
    for number in range(1, 101):
        activation = ActivationId(f"a{number}")
        started = ContainerId(number)
        key = WarmKey("ns", "path", f"f{number}", "1", "r", "")
        now_ns = number * SECOND_NS
        step(pool, now_ns, ev.InvocationArrived(activation, key, STEM))
        step(pool, now_ns, ev.ContainerStarted(started))
        step(pool, now_ns, ev.ContainerInitialized(started, 1))
        step(pool, now_ns, ev.RunFinished(started, activation, reusable=True))
    for name in ("_memory", "_users"):
        memory = getattr(pool.keep_alive, name, None)
        assert memory is None or len(memory._known) == 5
    assert sum(stem.foreseen for stem in pool.stems.values()) == 0


def test_the_walks_know_every_policy() -> None:
    assert {type(policy) for policy in KEEP_ALIVES} == set(policyset.KEEP_ALIVES.values())


@pytest.mark.parametrize("policy", KEEP_ALIVES, ids=lambda policy: type(policy).__name__)
def test_a_policy_passes_through_the_header_of_a_decision_log(policy: policyset.AnyKeepAlive) -> None:
    policies = PolicySet("charged", 512, keep_alive=policy)
    assert msgspec.json.decode(msgspec.json.encode(policies), type=PolicySet) == policies


def test_a_policy_by_name() -> None:
    assert policyset.keep_alive("rainbowcake", {"hits": 3}) == RainbowCake(hits=3)
    key = ["ns", "p", "f", "1", "r", ""]
    oracle = policyset.keep_alive("oracle", {"future": [[key, [1, 2]]]})
    assert oracle == Oracle(((WarmKey("ns", "p", "f", "1", "r", ""), (1, 2)),))


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("lru", {}, "there is no keep-alive policy 'lru'; there are lru-ttl, fixed-ttl"),
        ("rainbowcake", {"layers": 3}, "rainbowcake has no parameter 'layers'; it has gap_percent, hits"),
        ("rainbowcake", {"startup_permille": 1000}, "startup_permille of rainbowcake: expected `int` <= 999"),
        ("hybrid-histogram", {"bins": 0}, "bins of hybrid-histogram: expected `int` >= 1"),
        ("hybrid-histogram", {"bins": 10_081}, "bins of hybrid-histogram: expected `int` <= 10080"),
    ],
)
def test_a_wrong_name_or_parameter_is_told(name: str, parameters: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match="^" + told.replace("(", r"\(")):
        policyset.keep_alive(name, parameters)

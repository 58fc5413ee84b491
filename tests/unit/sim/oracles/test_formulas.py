"""The formulas by themselves: published tables, closed forms of special cases, and brute force."""

from __future__ import annotations

import math
import random
from collections import OrderedDict

import pytest

from sim.oracles import formulas as f


# From Erlang's table: traffic that 1 % and 10 % of losses allow
@pytest.mark.parametrize(
    ("load", "slots", "refused"),
    [(4.461, 10, 0.01), (7.511, 10, 0.10), (12.03, 20, 0.01)],
)
def test_erlang_b_is_the_tables(load: float, slots: int, refused: float) -> None:
    assert f.erlang_b(load, slots) == pytest.approx(refused, rel=5e-3)


def test_erlang_c_with_one_slot_is_the_single_queue() -> None:
    assert f.erlang_c(0.7, 1) == pytest.approx(0.7)
    assert f.erlang_c_wait_s(0.7, 1, 2.0) == pytest.approx(f.pollaczek_khinchine_s(0.35, 2.0, 1.0))
    assert f.erlang_c_tail(0.7, 1, 2.0, 0.0) == pytest.approx(0.7)
    assert f.erlang_c(14, 16) == pytest.approx(0.5085, abs=5e-5)


def test_kaufman_roberts_with_one_class_is_erlang_b() -> None:
    assert f.kaufman_roberts([5.0], [1], 8) == pytest.approx([f.erlang_b(5.0, 8)])
    # Sizes that are all 2 are slots of size 1 in half the capacity
    assert f.kaufman_roberts([5.0], [2], 17) == pytest.approx([f.erlang_b(5.0, 8)])


def test_kaufman_roberts_against_the_whole_state_space() -> None:
    loads, sizes, capacity = (2.0, 1.0, 0.5), (1, 2, 3), 6
    weights: dict[tuple[int, int, int], float] = {}
    for a in range(7):
        for b in range(4):
            for c in range(3):
                if a + 2 * b + 3 * c <= capacity:
                    terms = (load**n / math.factorial(n) for load, n in zip(loads, (a, b, c), strict=True))
                    weights[a, b, c] = math.prod(terms)
    total = sum(weights.values())
    for place, size in enumerate(sizes):
        full = sum(w for (a, b, c), w in weights.items() if a + 2 * b + 3 * c + size > capacity)
        assert f.kaufman_roberts(loads, sizes, capacity)[place] == pytest.approx(full / total)


def test_pollaczek_khinchine_by_hand() -> None:
    assert f.pollaczek_khinchine_s(0.5, 1.0, 1.0) == pytest.approx(1.0)
    assert f.pollaczek_khinchine_s(0.5, 1.0, 0.0) == pytest.approx(0.5)
    assert f.processor_sharing_s(0.5, 1.0) == pytest.approx(2.0)


@pytest.mark.parametrize("busy", [0, 1, 3])
def test_first_passage_against_trials(busy: int) -> None:
    up, down, lifetime_s, trials = 2.0, 1.0, 0.7, 20_000
    source = random.Random(4)
    later, rest_s = 0, 0.0
    for _ in range(trials):
        at, now_s = busy, 0.0
        while at <= busy:
            pace = up + at * down
            now_s += source.expovariate(pace)
            at += 1 if source.random() < up / pace else -1
        later += now_s > lifetime_s
        rest_s += min(now_s, lifetime_s)
    share, mean_s = f._comes_back(busy, up, down, lifetime_s)
    assert share == pytest.approx(later / trials, abs=4 * 0.5 / math.sqrt(trials))
    assert mean_s == pytest.approx(rest_s / trials, abs=4 * 0.3 / math.sqrt(trials))


def test_the_cold_share_of_a_lifetime() -> None:
    for rate, lifetime, share in ((0.5, 20.0, 0.05985), (2.0, 10.0, 0.04986), (2.0, 60.0, 0.00714)):
        assert f.lifetime(rate, 1.0, lifetime)[0] == pytest.approx(share, rel=1e-3)
    # Without runs of any length an arrival is cold where the gap was longer than the lifetime
    cold, idle = f.lifetime(0.5, 1e-9, 3.0)
    assert cold == pytest.approx(math.exp(-1.5), rel=1e-6)
    assert idle == pytest.approx(1 - math.exp(-1.5), rel=1e-6)


@pytest.mark.parametrize(("rate", "lifetime_s"), [(1.0, 1.0), (3.0, 0.5)])
def test_a_lifetime_against_a_stack_by_hand(rate: float, lifetime_s: float) -> None:
    source = random.Random(7)
    busy: list[float] = []  # when they end
    idle: list[float] = []  # since when, the newest last
    now = idle_s = 0.0
    cold, arrivals = 0, 60_000
    for _ in range(arrivals):
        now += source.expovariate(rate)
        for end in sorted(end for end in busy if end <= now):
            busy.remove(end)
            idle.append(end)
        idle_s += lifetime_s * sum(now - since > lifetime_s for since in idle)
        idle = [since for since in idle if now - since <= lifetime_s]
        if idle:
            idle_s += now - idle.pop()
        else:
            cold += 1
        busy.append(now + source.expovariate(1.0))
    share, mean_idle = f.lifetime(rate, 1.0, lifetime_s)
    assert cold / arrivals == pytest.approx(share, rel=0.02)
    assert idle_s / now == pytest.approx(mean_idle, rel=0.02)


def test_che_with_equal_rates() -> None:
    # Equal rates: each of N items is there with probability k / N, which is the hit share
    assert f.che_miss_share([1.0] * 50, 20) == pytest.approx(0.6)


@pytest.mark.parametrize("room", [20, 40, 60])
def test_che_against_a_list_in_order_of_use(room: int) -> None:
    rates = [(rank + 1) ** -0.8 for rank in range(200)]
    uses = random.Random(3).choices(range(200), rates, k=400_000)
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for use in uses:
        if use in held:
            held.move_to_end(use)
            continue
        misses += 1
        held[use] = None
        if len(held) > room:
            held.popitem(last=False)
    assert f.che_miss_share(rates, room) == pytest.approx(misses / len(uses), rel=5e-3)


def test_stack_distances_are_what_lru_does() -> None:
    assert f.stack_distances([1, 2, 1, 3, 2, 2]) == [0, 0, 2, 0, 3, 1]
    source = random.Random(2)
    items = [source.randrange(8) for _ in range(300)]
    for room in (1, 3, 5):
        held: list[int] = []
        misses = 0
        for item in items:
            misses += item not in held
            held = [item, *(other for other in held if other != item)][:room]
        assert misses == sum(not 0 < distance <= room for distance in f.stack_distances(items))

"""◇ The mathematics that the simulator is held against. Each formula is tested by itself, against published values.

`load` is the offered load in erlangs: arrivals a second times the mean service in seconds.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (scipy has no types)

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import expm


def erlang_b(load: float, slots: int) -> float:
    """The share of arrivals refused by equal slots without a queue (Erlang 1917); whatever the service's law."""
    refused = 1.0
    for used in range(1, slots + 1):
        refused = load * refused / (used + load * refused)
    return refused


def erlang_c(load: float, slots: int) -> float:
    """The share of arrivals that wait for one of `slots` slots, Poisson arrivals and exponential service."""
    refused = erlang_b(load, slots)
    return refused / (1.0 - load / slots * (1.0 - refused))


def erlang_c_wait_s(load: float, slots: int, service_s: float) -> float:
    """The mean wait, of those that don't wait too."""
    return erlang_c(load, slots) * service_s / (slots - load)


def erlang_c_tail(load: float, slots: int, service_s: float, beyond_s: float) -> float:
    """The share of arrivals that wait for longer than `beyond_s`."""
    return erlang_c(load, slots) * math.exp(-(slots - load) / service_s * beyond_s)


def kaufman_roberts(loads: Sequence[float], sizes: Sequence[int], capacity: int) -> list[float]:
    """The share of each class that is refused where classes of these sizes share a capacity (Kaufman, Roberts 1981)."""
    weight = [1.0]
    for used in range(1, capacity + 1):
        parts = (load * size * weight[used - size] for load, size in zip(loads, sizes, strict=True) if size <= used)
        weight.append(sum(parts) / used)
    total = sum(weight)
    return [sum(weight[capacity - size + 1 :]) / total for size in sizes]


def pollaczek_khinchine_s(rate_per_s: float, mean_s: float, scv: float) -> float:
    """The mean wait in an M/G/1 queue, first come first served; `scv`: the service's variance over its mean squared."""
    use = rate_per_s * mean_s
    return rate_per_s * mean_s * mean_s * (1.0 + scv) / (2.0 * (1.0 - use))


def processor_sharing_s(rate_per_s: float, mean_s: float) -> float:
    """The mean time in an M/G/1 queue whose server all share; whatever the service's law."""
    return mean_s / (1.0 - rate_per_s * mean_s)


def cold_share_of_lifetime(rate_per_s: float, mean_s: float, lifetime_s: float) -> float:
    """The share of cold starts of one function with Poisson arrivals, exponential runs, room for all, and containers
    that go after `lifetime_s` of idleness, the newest idle one being taken first.

    Idle containers nest like brackets: the top one became idle when the number of busy ones last fell to what it is
    now. So an arrival that finds n busy is cold where the number took longer than the lifetime to come back up:
    sum over n of P(n) * P(T(n -> n+1) > lifetime), n Poisson, T a first passage of the birth-death process.
    """
    load = rate_per_s * mean_s
    most = int(load + 12 * math.sqrt(load) + 12)
    cold = 0.0
    probability = math.exp(-load)
    for busy in range(most + 1):
        cold += probability * _passes_later(busy, rate_per_s, 1.0 / mean_s, lifetime_s)
        probability *= load / (busy + 1)
    return cold


def _passes_later(busy: int, up: float, down: float, after_s: float) -> float:
    """P(the process has not reached busy + 1 from `busy` by then): a phase-type distribution."""
    generator = np.zeros((busy + 1, busy + 1))
    for at in range(busy + 1):
        generator[at, at] = -(up + at * down)
        if at < busy:
            generator[at, at + 1] = up
        if at:
            generator[at, at - 1] = at * down
    return float(expm(generator * after_s)[busy].sum())


def che_lifetime(rates_per_s: Sequence[float], capacity: int) -> float:
    """The lifetime in s of which least recently used is nearly a policy, for items of size 1 (Che et al. 2002)."""
    rates = np.array(rates_per_s)
    low, high = 0.0, 1.0
    while float(np.sum(-np.expm1(-rates * high))) < capacity:
        high *= 2.0
    for _ in range(200):
        middle = (low + high) / 2
        if float(np.sum(-np.expm1(-rates * middle))) < capacity:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def che_miss_share(rates_per_s: Sequence[float], capacity: int) -> float:
    """The share of misses of least recently used under independent Poisson arrivals, by Che's approximation."""
    rates = np.array(rates_per_s)
    lifetime_s = che_lifetime(rates_per_s, capacity)
    return float(np.sum(rates * np.exp(-rates * lifetime_s)) / np.sum(rates))


def stack_distances(items: Sequence[int]) -> list[int]:
    """For each use, how many different items were used since its item's last use, itself included; 0 for a first use
    (Mattson et al. 1970). With room for k items least recently used misses the 0s and the distances above k."""
    stack: list[int] = []
    found: list[int] = []
    for item in items:
        if item in stack:
            place = stack.index(item)
            found.append(place + 1)
            del stack[place]
        else:
            found.append(0)
        stack.insert(0, item)
    return found

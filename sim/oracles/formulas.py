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
from scipy.linalg import eigh_tridiagonal
from scipy.special import gammaln


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


def lifetime(rate_per_s: float, mean_s: float, lifetime_s: float) -> tuple[float, float]:
    """The share of cold starts, and the mean number of idle containers, of one function with Poisson arrivals,
    exponential runs, room for all, and containers that go after `lifetime_s` of idleness, the newest being taken first.

    Idle containers nest like brackets: the top one became idle when the number of busy ones last fell to what it is
    now. So an arrival that finds n busy is cold where the number took longer than the lifetime to come back up:
    sum over n of P(n) * P(T(n -> n+1) > lifetime), n Poisson, T a first passage of the birth-death process. The number
    falls to n as often as it rises from it, rate * P(n) times a second, and the container then rests for T, at most
    its lifetime: the sum of the expectations is the mean number of idle ones.
    """
    load = rate_per_s * mean_s
    cold = idle = told = 0.0
    probability = math.exp(-load)
    busy = 0
    while told < 1.0 - 1e-9:
        later, rest_s = _comes_back(busy, rate_per_s, 1.0 / mean_s, lifetime_s)
        cold += probability * later
        idle += probability * rate_per_s * rest_s
        told += probability
        busy += 1
        probability *= load / busy
    return cold, idle


def _comes_back(busy: int, up: float, down: float, lifetime_s: float) -> tuple[float, float]:
    """Of the time T from `busy` to busy + 1, a phase-type distribution: P(T > lifetime), and the mean of T, where it is
    longer the lifetime. By the eigenvalues of the process up to `busy`, which is symmetric once it is weighted."""
    levels = np.arange(busy + 1)
    rates, vectors = eigh_tridiagonal(-(up + levels * down), np.sqrt(up * down * levels[1:]))
    weights = np.exp(0.5 * (levels - busy) * math.log(up / down) - 0.5 * (gammaln(levels + 1) - gammaln(busy + 1)))
    parts = vectors[busy] * (weights @ vectors)
    stays = np.exp(rates * lifetime_s)
    return float(parts @ stays), float(parts @ ((stays - 1.0) / rates))


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

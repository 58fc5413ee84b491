"""◇ Oracles of keep-alive: when an arrival finds a container, by lifetime and by memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate

import numpy as np

from invoker.policy.keepalive import FixedTtl, HybridHistogram
from sim import ListWorkload, PoissonWorkload, Result, SimFunction
from sim.latency import Constant, Exponential, Gamma
from sim.oracles import formulas
from sim.oracles.model import NOTHING, PLENTY, SECOND_NS, WARM_UP, Rows, arrivals, plain, poisson, run
from sim.oracles.oracle import Oracle
from sim.recorder import COLD
from sim.rng import sequence
from sim.workload import Workload

LIFETIMES = ((0.5, 2.0), (1.0, 1.0), (2.0, 1.0))
"""Arrivals a second, lifetime in seconds; runs are exponential with mean 1 s."""


def _of_lifetimes() -> dict[str, float]:
    told: dict[str, float] = {}
    for rate_per_s, lifetime_s in LIFETIMES:
        setting = f"{rate_per_s:g}/s, {lifetime_s:g} s"
        told[f"cold, {setting}"], told[f"idle containers, {setting}"] = formulas.lifetime(rate_per_s, 1.0, lifetime_s)
    return told


def _lifetimes(seed: int) -> dict[str, float]:
    meant, shown = _of_lifetimes(), list[float]()
    for rate_per_s, lifetime_s in LIFETIMES:
        came = poisson(Exponential(float(SECOND_NS)), rate_per_s, 4_500, seed)
        result = _kept(came.workload, lifetime_s, seed)
        cold, idle = formulas.lifetime(came.rate_per_s, came.mean_s, lifetime_s)
        # Memory counts containers; those that aren't idle run
        shown += [(Rows(result).kind == COLD).mean() / cold, (result.mean_memory_mb - came.load) / idle]
    return {name: value * share for (name, value), share in zip(meant.items(), shown, strict=True)}


GAPS = 6_000
RENEWAL_LIFETIME_S = 0.7
ERLANG_2 = Gamma(0.5 * SECOND_NS, 2.0)
"""Gaps of mean 1 s, two exponential phases each: P(gap > t) = (1 + 2 t) e^(-2 t)."""
TIMER_S = 60
TIMER_RUN_S = 5


def _timed(gaps_ns: Iterable[int], run_ns: int = 0) -> Workload:
    function = SimFunction(name="f", memory_mb=1)
    return ListWorkload((function,), [(at_ns, 0, run_ns) for at_ns in accumulate(gaps_ns)])


def _kept(workload: Workload, lifetime_s: float, seed: int) -> Result:
    return run(workload, plain(PLENTY, keep_alive=FixedTtl(ttl_ns=round(lifetime_s * SECOND_NS))), seed)


def _renewal_formula() -> dict[str, float]:
    gone = (1 + 2 * RENEWAL_LIFETIME_S) * math.exp(-2 * RENEWAL_LIFETIME_S)
    # The integral of P(gap > t) from 0 to the lifetime, over the mean gap of 1 s
    held = 1 - (1 + RENEWAL_LIFETIME_S) * math.exp(-2 * RENEWAL_LIFETIME_S)
    return {"cold share": gone, "share of time with a container": held}


def _renewal(seed: int) -> dict[str, float]:
    result = _kept(arrivals(ERLANG_2, NOTHING, GAPS, seed).workload, RENEWAL_LIFETIME_S, seed)
    return {
        "cold share": float((Rows(result).kind == COLD).mean()),
        "share of time with a container": result.mean_memory_mb,
    }


AWAY_MIN, UNTIL_MIN = 9.0, 12.1
"""What the hybrid histogram learns from REST_MIN: a tenth before the bin of 10 to 11 min, and a tenth after it."""
REST_MIN = {2.5: 0.5, 10.5: 0.4, 30.5: 0.1}
"""Gaps in minutes, each with its probability."""


def _window_formula() -> dict[str, float]:
    stands = {rest: min(max(0.0, rest - AWAY_MIN), UNTIL_MIN - AWAY_MIN) for rest in REST_MIN}
    mean_min = sum(rest * share for rest, share in REST_MIN.items())
    return {
        "cold share": REST_MIN[2.5] + REST_MIN[30.5],
        "share of time with a container": sum(stands[rest] * share for rest, share in REST_MIN.items()) / mean_min,
    }


def _window(seed: int) -> dict[str, float]:
    rests_ns = [round(60 * SECOND_NS * rest) for rest in REST_MIN]
    gaps_ns = sequence(seed, "oracle/rests").choices(rests_ns, list(REST_MIN.values()), k=4_000)
    policy = plain(PLENTY, keep_alive=HybridHistogram(head_percent=65, tail_percent=80))
    result = run(_timed(gaps_ns), policy, seed)
    learning = run(_timed(gaps_ns[: round(WARM_UP * len(gaps_ns))]), policy, seed)
    held_mb_ns = result.memory_mb_ns - learning.memory_mb_ns
    return {
        "cold share": float((Rows(result).kind == COLD).mean()),
        "share of time with a container": held_mb_ns / (result.ended_ns - learning.ended_ns),
    }


def _timer(seed: int) -> dict[str, float]:
    workload = _timed([TIMER_S * SECOND_NS] * 200, TIMER_RUN_S * SECOND_NS)
    rest_s = TIMER_S - TIMER_RUN_S
    return {
        "cold, kept for as long as it rests": float(_kept(workload, rest_s + 0.001, seed).kinds["cold"]),
        "cold, kept for less": float(_kept(workload, rest_s - 0.001, seed).kinds["cold"]),
    }


FUNCTIONS = 200
ROOMS = (20, 40, 60)
RATES = tuple((rank + 1) ** -0.8 for rank in range(FUNCTIONS))
"""Arrivals a second of each function, by Zipf's law with exponent 0.8."""


def _short(count: int, seed: int) -> Workload:
    functions = tuple(SimFunction(name=f"f{at}", memory_mb=1, run=Constant(0)) for at in range(FUNCTIONS))
    return PoissonWorkload(functions, RATES, count, seed)


def _che(seed: int) -> dict[str, float]:
    """Functions are called more and less often than they should by chance, which is taken out (a control variate)."""
    workload, rates = _short(5_500, seed), np.array(RATES)
    found: dict[str, float] = {}
    for room in ROOMS:
        rows = Rows(run(workload, plain(room), seed))
        misses = np.exp(-rates * formulas.che_lifetime(RATES, room))
        by_chance = misses[rows.function].mean() - (misses * rates).sum() / rates.sum()
        found[f"cold share, room for {room}"] = float((rows.kind == COLD).mean() - by_chance)
    return found


def _mattson(seed: int) -> dict[str, float]:
    """How many more cold starts there are than the stack distances say."""
    workload = _short(4_000, seed)
    items = [function for block in workload.blocks() for function in block.function]
    distances = np.array(formulas.stack_distances(items))
    return {
        f"cold starts too many, room for {room}": float(
            run(workload, plain(room), seed).kinds["cold"] - np.count_nonzero((distances == 0) | (distances > room))
        )
        for room in ROOMS
    }


LIFETIME_ORACLES = (
    Oracle(
        "Cold starts under a lifetime",
        "cold = sum over n of Poisson(n; a) P(T(n -> n+1) > tau), idle = lambda times the sum of Poisson(n; a) "
        "E[min(T(n -> n+1), tau)], T a first passage of the birth-death process",
        "derived here: idle containers nest like brackets, so the newest became idle at the last down-crossing",
        "One function, exponential runs of 1 s, memory without limit, the newest idle container taken first.",
        _of_lifetimes,
        _lifetimes,
    ),
    Oracle(
        "Renewal",
        "cold = 1 - F(tau); held = integral of 1 - F(t) from 0 to tau, over the mean gap",
        "renewal theory",
        f"Gaps of two exponential phases with mean 1 s, runs of no length, lifetime {RENEWAL_LIFETIME_S:g} s.",
        _renewal_formula,
        _renewal,
    ),
    Oracle(
        "Renewal with a window",
        "away for w, then ready for k: cold = F(w) + 1 - F(w + k); held = E[min((X - w)+, k)] over the mean gap",
        "renewal theory",
        "Gaps of 2.5, 10.5 or 30.5 min, 5, 4 and 1 of 10, runs of no length; the window is the hybrid histogram's own.",
        _window_formula,
        _window,
    ),
    Oracle(
        "Timer",
        "cold at every call if the period less the run is longer than the lifetime, else only at the first",
        "renewal theory with a gap that doesn't vary",
        f"200 calls, one every {TIMER_S} s, each of {TIMER_RUN_S} s; a lifetime a millisecond longer than the rest, "
        "and one as much shorter.",
        lambda: {"cold, kept for as long as it rests": 1.0, "cold, kept for less": 200.0},
        _timer,
        runs=2,
        exact=True,
    ),
    Oracle(
        "Che's approximation",
        "sum of m (1 - e^(-lambda_i T)) = M; cold = sum of lambda_i e^(-lambda_i T) over sum of lambda_i",
        "Che, Tung and Wang 2002; an approximation, here within 0.5 % of the truth, as a test with a list shows",
        f"{FUNCTIONS} functions of equal size, Zipf's law with exponent 0.8, runs of no length, least recently used "
        "goes.",
        lambda: {f"cold share, room for {room}": formulas.che_miss_share(RATES, room) for room in ROOMS},
        _che,
    ),
    Oracle(
        "Mattson's stack distances",
        "least recently used with room for k misses the first uses, and those at a stack distance above k",
        "Mattson, Gecsei, Slutz and Traiger 1970",
        "The same functions; each run's cold starts less those that the distances of its own arrivals say.",
        lambda: {f"cold starts too many, room for {room}": 0.0 for room in ROOMS},
        _mattson,
        runs=3,
        exact=True,
    ),
)

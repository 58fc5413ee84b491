"""◇ Oracles of keep-alive: when an arrival finds a container, by lifetime and by memory."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np

from invoker.policy.keepalive import FixedTtl
from sim import ListWorkload, PoissonWorkload, Result, SimFunction
from sim.latency import Constant, Exponential, Gamma
from sim.oracles import formulas
from sim.oracles.model import NOTHING, PLENTY, SECOND_NS, Rows, one_function, plain, run
from sim.oracles.oracle import Oracle
from sim.recorder import COLD
from sim.rng import sequence
from sim.workload import Workload

LIFETIMES = ((0.5, 2.0), (1.0, 1.0), (2.0, 1.0), (4.0, 0.5))
"""Arrivals a second, lifetime in seconds; runs are exponential with mean 1 s."""


def _lifetime_name(rate_per_s: float, lifetime_s: float) -> str:
    return f"cold, {rate_per_s:g}/s, {lifetime_s:g} s"


def _lifetimes(seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for rate_per_s, lifetime_s in LIFETIMES:
        policy = plain(PLENTY, keep_alive=FixedTtl(ttl_ns=round(lifetime_s * SECOND_NS)))
        rows = Rows(run(one_function(Exponential(float(SECOND_NS)), rate_per_s, 15_000, seed), policy, seed))
        meant = formulas.cold_share_of_lifetime(rate_per_s, 1.0, lifetime_s)
        came = formulas.cold_share_of_lifetime(rows.rate_per_s, float(rows.run_s.mean()), lifetime_s)
        found[_lifetime_name(rate_per_s, lifetime_s)] = (rows.kind == COLD).mean() * meant / came
    return found


GAPS = 20_000
RENEWAL_LIFETIME_S = 1.0
ERLANG_2 = Gamma(0.5 * SECOND_NS, 2.0)
"""Gaps of mean 1 s, two exponential phases each: P(gap > t) = (1 + 2 t) e^(-2 t)."""
TIMER_S = 60
TIMER_RUN_S = 5


def _arrivals(gaps_ns: list[int], run_ns: int = 0) -> Workload:
    function = SimFunction(name="f", memory_mb=1, run=NOTHING)
    return ListWorkload((function,), [(at_ns, 0, run_ns) for at_ns in accumulate(gaps_ns)])


def _kept(workload: Workload, lifetime_s: float, seed: int) -> Result:
    return run(workload, plain(PLENTY, keep_alive=FixedTtl(ttl_ns=round(lifetime_s * SECOND_NS))), seed)


def _renewal_formula() -> dict[str, float]:
    gone = (1 + 2 * RENEWAL_LIFETIME_S) * math.exp(-2 * RENEWAL_LIFETIME_S)
    # The integral of P(gap > t) from 0 to the lifetime, over the mean gap of 1 s
    held = 1 - (1 + RENEWAL_LIFETIME_S) * math.exp(-2 * RENEWAL_LIFETIME_S)
    return {"cold share": gone, "share of time with a container": held}


def _renewal(seed: int) -> dict[str, float]:
    numbers = sequence(seed, "oracle/gaps")
    result = _kept(_arrivals([ERLANG_2.draw(numbers) for _ in range(GAPS)]), RENEWAL_LIFETIME_S, seed)
    rows = Rows(result)
    return {"cold share": float((rows.kind == COLD).mean()), "share of time with a container": result.mean_memory_mb}


def _timer(seed: int) -> dict[str, float]:
    workload = _arrivals([TIMER_S * SECOND_NS] * 200, TIMER_RUN_S * SECOND_NS)
    rest_s = TIMER_S - TIMER_RUN_S
    return {
        "cold, kept for as long as it rests": float(_kept(workload, rest_s + 0.001, seed).kinds["cold"]),
        "cold, kept for less": float(_kept(workload, rest_s - 0.001, seed).kinds["cold"]),
    }


FUNCTIONS = 400
ROOMS = (50, 100, 200)
RATES = tuple((rank + 1) ** -0.8 for rank in range(FUNCTIONS))
"""Arrivals a second of each function, by Zipf's law with exponent 0.8."""


def _short(count: int, seed: int) -> Workload:
    functions = tuple(SimFunction(name=f"f{at}", memory_mb=1, run=Constant(0)) for at in range(FUNCTIONS))
    return PoissonWorkload(functions, RATES, count, seed)


def _che(seed: int) -> dict[str, float]:
    workload = _short(20_000, seed)
    return {
        f"cold share, room for {room}": float((Rows(run(workload, plain(room), seed)).kind == COLD).mean())
        for room in ROOMS
    }


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
        "sum over n of Poisson(n; a) P(T(n -> n+1) > tau), T a first passage of the birth-death process",
        "derived here: idle containers nest like brackets, so the newest became idle at the last down-crossing",
        "One function, exponential runs of 1 s, memory without limit, the newest idle container taken first.",
        lambda: {_lifetime_name(*pair): formulas.cold_share_of_lifetime(pair[0], 1.0, pair[1]) for pair in LIFETIMES},
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
        "Che, Tung and Wang 2002; its own error here is well below 1 %: Fricker, Robert and Roberts 2012",
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

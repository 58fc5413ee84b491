"""◇ Oracles of queues: a node of equal containers is a queue with so many servers.

Most of what differs between two runs is the load that chance gave each. So a run's figure is multiplied by what the
formula says of the load that was meant over what it says of the load that came (a control variate): the mean is the
same, and a tenth of the arrivals does for the same interval. Waits are averaged over time, not over arrivals, which
comes to the same for Poisson arrivals and varies less: at each instant, what an arrival would have waited, as the ends
of the simulated runs tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heappushpop

import msgspec
import numpy as np
from numpy.typing import NDArray

from invoker.policy.types import SECOND_NS
from sim import PoissonWorkload, SimFunction
from sim.latency import Constant, Exponential, Gamma, Latency, Lognormal
from sim.oracles import formulas
from sim.oracles.model import FREE, PLENTY, WARM_UP, Arrivals, Rows, arrivals, plain, poisson, run
from sim.oracles.oracle import Oracle

MEAN_NS = float(SECOND_NS)
LAWS: dict[str, tuple[Latency, float]] = {
    "exponential runs": (Exponential(MEAN_NS), 1.0),
    "constant runs": (Constant(SECOND_NS), 0.0),
    "gamma runs": (Gamma(0.5 * MEAN_NS, 2.0), 0.5),
}
"""Laws of the run, each of mean 1 s, and their squared coefficients of variation."""

LOSS_SLOTS, LOSS_LOAD = 8, 10.0


def _losses(seed: int) -> dict[str, float]:
    shares: dict[str, float] = {}
    meant = formulas.erlang_b(LOSS_LOAD, LOSS_SLOTS)
    for name, (law, _) in LAWS.items():
        came = poisson(law, LOSS_LOAD, 7_500, seed)
        rows = Rows(run(came.workload, plain(LOSS_SLOTS, queue_limit=0), seed))
        shares[f"refused, {name}"] = rows.refused.mean() * meant / formulas.erlang_b(came.warmed().load, LOSS_SLOTS)
    return shares


CLASSES = (("small", 1, 8.0), ("medium", 2, 2.0), ("large", 4, 1.0))
"""Name, memory in MB, erlangs."""
CLASSES_MB = 8


def _no_room(loads: list[float]) -> dict[str, float]:
    refused = formulas.kaufman_roberts(loads, [size for _, size, _ in CLASSES], CLASSES_MB)
    shares = {f"time without room, {name}": share for (name, _, _), share in zip(CLASSES, refused, strict=True)}
    # All runs take the same mean time, so the loads are to each other as the rates are
    shares["refused, all"] = sum(map(float.__mul__, loads, refused)) / sum(loads)
    return shares


def _classes(seed: int) -> dict[str, float]:
    functions = tuple(SimFunction(name=name, memory_mb=size, run=Exponential(MEAN_NS)) for name, size, _ in CLASSES)
    workload = PoissonWorkload(functions, tuple(rate for _, _, rate in CLASSES), 13_000, seed)
    # An arrival for which idle containers have to make room waits, though for no time: so it may, and no longer
    rows = Rows(run(workload, plain(CLASSES_MB, wait_limit_ns=1), seed))
    own = [rows.function == at for at in range(len(CLASSES))]
    loads = [rows.rate_per_s * mine.mean() * (rows.ended - rows.began)[mine & ~rows.refused].mean() for mine in own]
    sizes = np.array([size for _, size, _ in CLASSES])[rows.function]
    taken, spans = _levels(rows, sizes)
    found = {
        f"time without room, {name}": float(spans[taken > CLASSES_MB - size].sum() / spans.sum())
        for name, size, _ in CLASSES
    }
    found["refused, all"] = float(rows.refused.mean())
    meant, came = _no_room([load for _, _, load in CLASSES]), _no_room(loads)
    return {name: value * meant[name] / came[name] for name, value in found.items()}


def _levels(rows: Rows, sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The sum of the sizes of what runs, and how long it is so, from the end of the warm-up until the last arrival."""
    ran = ~rows.refused
    instants = np.concatenate((rows.began[ran], rows.ended[ran]))
    order = np.argsort(instants, kind="stable")
    levels = np.cumsum(np.concatenate((sizes[ran], -sizes[ran]))[order])[:-1]
    instants = instants[order]
    warm_s = rows.arrived[0] + WARM_UP * (rows.arrived[-1] - rows.arrived[0])
    within = (instants[:-1] > warm_s) & (instants[1:] <= rows.arrived[-1])
    return levels[within], np.diff(instants)[within]


def _until_free_s(rows: Rows, slots: int) -> NDArray[np.float64]:
    """After each arrival, for how long all slots are taken, if nobody else comes."""
    ends = [0.0] * slots
    free: list[float] = []
    for end in rows.ended.tolist():
        heappushpop(ends, end)
        free.append(ends[0])
    return np.maximum(0.0, np.array(free) - rows.arrived)


def _over_time(left_s: NDArray[np.float64], gaps_s: NDArray[np.float64]) -> float:
    """The mean over time of what is `left_s` after each arrival and falls to 0, until the next one."""
    fallen = np.minimum(left_s, gaps_s)
    return float(((left_s - fallen / 2) * fallen).sum() / gaps_s.sum())


SLOTS, LOAD, LATE_S = 3, 2.1, 0.25


def _erlang_c(load: float, mean_s: float) -> dict[str, float]:
    return {
        "wait at all": formulas.erlang_c(load, SLOTS),
        "mean wait, s": formulas.erlang_c_wait_s(load, SLOTS, mean_s),
        f"wait over {LATE_S:g} s": formulas.erlang_c_tail(load, SLOTS, mean_s, LATE_S),
    }


def _waits(seed: int) -> dict[str, float]:
    whole = poisson(Exponential(MEAN_NS), LOAD, 16_000, seed)
    rows, came = Rows(run(whole.workload, plain(SLOTS), seed)), whole.warmed()
    gaps_s = np.diff(rows.arrived)
    left_s = _until_free_s(rows, SLOTS)[:-1]
    meant, got = _erlang_c(LOAD, 1.0), _erlang_c(came.load, came.mean_s)
    late_s = np.maximum(0.0, left_s - LATE_S)
    found = {
        "wait at all": np.minimum(left_s, gaps_s).sum() / gaps_s.sum(),
        "mean wait, s": _over_time(left_s, gaps_s),
        f"wait over {LATE_S:g} s": np.minimum(late_s, gaps_s).sum() / gaps_s.sum(),
    }
    found = {name: value * meant[name] / got[name] for name, value in found.items()}
    # The same arrivals at one server that is as fast as all slots together wait in the same places: what they wait
    # more than M/M/1 says is taken from what is waited here (a control variate, too)
    fused_meant = formulas.pollaczek_khinchine_s(LOAD, 1 / SLOTS, 1.0)
    fused_got = formulas.pollaczek_khinchine_s(came.rate_per_s, came.mean_s / SLOTS, 1.0)
    found["mean wait, s"] -= _lindley(came, SLOTS) * fused_meant / fused_got - fused_meant
    return found


def _lindley(came: Arrivals, speed: int) -> float:
    """The mean wait over time at one server of that speed, by Lindley's recursion."""
    walk = np.concatenate(((0.0,), np.cumsum(came.runs_s[:-1] / speed - came.gaps_s[1:])))
    waits_s = walk - np.minimum.accumulate(walk)
    return _over_time((waits_s + came.runs_s / speed)[:-1], came.gaps_s[1:])


SINGLE_RATE = 0.4
SINGLE_COUNTS = dict(zip(LAWS, (17_000, 7_000, 13_000), strict=True))
"""Arrivals that an interval of 1 % takes: the more the runs vary, the more."""


def _single(seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (law, scv) in LAWS.items():
        whole = poisson(law, SINGLE_RATE, SINGLE_COUNTS[name], seed)
        rows, came = Rows(run(whole.workload, plain(1), seed)), whole.warmed()
        meant = formulas.pollaczek_khinchine_s(SINGLE_RATE, 1.0, scv)
        got = formulas.pollaczek_khinchine_s(came.rate_per_s, came.mean_s, came.scv)
        found[f"mean wait, s, {name}"] = _over_time(_until_free_s(rows, 1)[:-1], np.diff(rows.arrived)) * meant / got
    return found


SHARED = msgspec.structs.replace(FREE, cpus=1)
SHARED_RATE = 0.4


def _shared(seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (law, _) in LAWS.items():
        whole = poisson(law, SHARED_RATE, 9_000, seed)
        rows, came = Rows(run(whole.workload, plain(PLENTY), seed, SHARED)), whole.warmed()
        meant = formulas.processor_sharing_s(SHARED_RATE, 1.0)
        got = formulas.processor_sharing_s(came.rate_per_s, came.mean_s)
        found[f"mean time, s, {name}"] = (rows.ended - rows.arrived).mean() * meant / got
    return found


BUSY = 3.0


def _unlimited(seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (law, _) in LAWS.items():
        came = poisson(law, BUSY, 5_000, seed)
        rows = Rows(run(came.workload, plain(PLENTY), seed), warm_up=0.0)
        busy, spans = _levels(rows, np.ones(len(rows.arrived), np.int64))
        weights = spans / spans.sum()
        found[f"mean busy, {name}"] = float((busy * weights).sum()) * BUSY / came.load
        few = float(weights[busy <= BUSY].sum())
        found[f"share of time with at most {BUSY:g}, {name}"] = (
            few * _poisson_up_to(3, BUSY) / _poisson_up_to(3, came.load)
        )
    return found


def _poisson_up_to(most: int, mean: float) -> float:
    return math.exp(-mean) * sum(mean**at / math.factorial(at) for at in range(most + 1))


PATH_SLOTS = (1, 2, 5)


def _path(seed: int) -> dict[str, float]:
    """Irregular gaps and runs with a long tail; instants are whole ns, and have to be equal."""
    found: dict[str, float] = {}
    for slots in PATH_SLOTS:
        came = arrivals(Gamma(2 * SECOND_NS / slots, 0.5), Lognormal(0.5 * SECOND_NS, 1.0), 3_000, seed)
        columns = run(came.workload, plain(slots), seed).columns
        assert columns is not None
        ran_ns = map(int.__sub__, columns.ended_ns, columns.began_ns)
        begin_ns = _kiefer_wolfowitz(zip(columns.arrived_ns, ran_ns, strict=True), slots)
        found[f"begin otherwise, {slots} slots"] = float(sum(map(int.__ne__, begin_ns, columns.began_ns)))
    return found


def _kiefer_wolfowitz(calls: Iterator[tuple[int, int]], slots: int) -> Iterator[int]:
    """When each of the calls (arrival, duration) begins that `slots` slots serve in order."""
    free = [0] * slots
    for at, duration in calls:
        begin = max(at, free[0])
        yield begin
        heappushpop(free, begin + duration)


QUEUES = (
    Oracle(
        "Erlang B",
        "B(0) = 1; B(n) = a B(n-1) / (n + a B(n-1))",
        "Erlang 1917; insensitive to the law of service: Sevastyanov 1957",
        f"{LOSS_SLOTS} slots, {LOSS_LOAD:g} erlangs, nobody may wait.",
        lambda: {f"refused, {name}": formulas.erlang_b(LOSS_LOAD, LOSS_SLOTS) for name in LAWS},
        _losses,
    ),
    Oracle(
        "Kaufman-Roberts",
        "j q(j) = sum of a_i m_i q(j - m_i); refused_i = sum of q(j) over j > M - m_i",
        "Kaufman 1981, Roberts 1981",
        "A node of 8 MB with functions of 1, 2 and 4 MB, 8, 2 and 1 erlangs: the node's memory itself. Idle "
        "containers go when their memory is needed; who can't have it at once is refused.",
        lambda: _no_room([load for _, _, load in CLASSES]),
        _classes,
    ),
    Oracle(
        "Erlang C",
        "C = B / (1 - a/c (1 - B)); W = C / (c mu - lambda); P(W > t) = C exp(-(c mu - lambda) t)",
        "Erlang 1917",
        f"{SLOTS} slots, {LOAD:g} erlangs, everybody waits.",
        lambda: _erlang_c(LOAD, 1.0),
        _waits,
    ),
    Oracle(
        "M/M/1, M/D/1, M/G/1",
        "W = lambda E[S^2] / (2 (1 - rho))",
        "Pollaczek 1930, Khinchine 1932",
        f"One slot, {SINGLE_RATE:.0%} of the time in use.",
        lambda: {
            f"mean wait, s, {name}": formulas.pollaczek_khinchine_s(SINGLE_RATE, 1.0, scv)
            for name, (_, scv) in LAWS.items()
        },
        _single,
    ),
    Oracle(
        "M/G/1 processor sharing",
        "T = E[S] / (1 - rho), whatever the law of S",
        "Kleinrock 1967; Sakata, Noguchi and Oizumi 1969",
        "One CPU that all runs share, 40 % in use, memory without limit.",
        lambda: {f"mean time, s, {name}": formulas.processor_sharing_s(SHARED_RATE, 1.0) for name in LAWS},
        _shared,
    ),
    Oracle(
        "M/G/infinity",
        "the number of busy containers is Poisson with mean lambda E[S]",
        "Khinchine 1932; its mean is the utilisation law and Little's",
        "Memory without limit, 3 erlangs.",
        lambda: {
            key: value
            for name in LAWS
            for key, value in (
                (f"mean busy, {name}", BUSY),
                (f"share of time with at most {BUSY:g}, {name}", _poisson_up_to(3, BUSY)),
            )
        },
        _unlimited,
    ),
    Oracle(
        "G/G/c, call by call",
        "begin(n) = max(arrival(n), the first instant at which one of the slots is free of those before)",
        "Lindley 1952; Kiefer and Wolfowitz 1955",
        "Gamma gaps with squared CV 2, lognormal runs, 1, 2 and 5 slots; how many calls begin at another nanosecond.",
        lambda: {f"begin otherwise, {slots} slots": 0.0 for slots in PATH_SLOTS},
        _path,
        runs=3,
        exact=True,
    ),
)

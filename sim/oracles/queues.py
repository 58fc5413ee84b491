"""◇ Oracles of queues: a node of equal containers is a queue with so many servers.

Most of what differs between two runs is the load that chance gave each. So a run's figure is multiplied by what the
formula says of the load that was meant over what it says of the load that came (a control variate): the mean is the
same, and a tenth of the arrivals does for the same interval.
"""

from __future__ import annotations

import math

import numpy as np

from invoker.policy.keepalive import FixedTtl
from sim import Node, PoissonWorkload, SimFunction
from sim.latency import Constant, Exponential, Gamma, Latency
from sim.oracles import formulas
from sim.oracles.model import NOTHING, PLENTY, SECOND_NS, Rows, one_function, plain, run
from sim.oracles.oracle import Oracle

MEAN_NS = float(SECOND_NS)
LAWS: dict[str, Latency] = {
    "exponential runs": Exponential(MEAN_NS),
    "constant runs": Constant(SECOND_NS),
    "gamma runs, squared CV 2": Gamma(2 * MEAN_NS, 0.5),
}
"""Laws of the run, each of mean 1 s."""


LOSS_SLOTS, LOSS_LOAD = 8, 10.0


def _losses(seed: int) -> dict[str, float]:
    shares: dict[str, float] = {}
    meant = formulas.erlang_b(LOSS_LOAD, LOSS_SLOTS)
    for name, law in LAWS.items():
        rows = Rows(run(one_function(law, LOSS_LOAD, 20_000, seed), plain(LOSS_SLOTS, queue_limit=0), seed))
        shares[f"refused, {name}"] = rows.refused.mean() * meant / formulas.erlang_b(rows.load, LOSS_SLOTS)
    return shares


CLASSES = (("small", 1, 4.0), ("medium", 2, 2.0), ("large", 4, 1.0))
"""Name, memory in MB, erlangs."""
CLASSES_MB = 12


def _refused(loads: list[float]) -> list[float]:
    return formulas.kaufman_roberts(loads, [size for _, size, _ in CLASSES], CLASSES_MB)


def _classes(seed: int) -> dict[str, float]:
    functions = tuple(SimFunction(name=name, memory_mb=size, run=Exponential(MEAN_NS)) for name, size, _ in CLASSES)
    workload = PoissonWorkload(functions, tuple(rate for _, _, rate in CLASSES), 30_000, seed)
    # Who ends goes at once: an idle container that has to make room would let the arrival wait, though for no time
    rows = Rows(run(workload, plain(CLASSES_MB, queue_limit=0, keep_alive=FixedTtl(ttl_ns=0)), seed))
    own = [rows.function == at for at in range(len(CLASSES))]
    loads = [rows.rate_per_s * mine.mean() * (rows.ended - rows.began)[mine & ~rows.refused].mean() for mine in own]
    meant, came = _refused([load for _, _, load in CLASSES]), _refused(loads)
    return {
        f"refused, {name}": rows.refused[mine].mean() * meant[at] / came[at]
        for at, ((name, _, _), mine) in enumerate(zip(CLASSES, own, strict=True))
    }


SLOTS, LOAD = 4, 2.6


def _erlang_c(load: float, mean_s: float) -> dict[str, float]:
    return {
        "wait at all": formulas.erlang_c(load, SLOTS),
        "mean wait, s": formulas.erlang_c_wait_s(load, SLOTS, mean_s),
        "wait over 0.5 s": formulas.erlang_c_tail(load, SLOTS, mean_s, 0.5),
    }


def _waits(seed: int) -> dict[str, float]:
    rows = Rows(run(one_function(Exponential(MEAN_NS), LOAD, 40_000, seed), plain(SLOTS), seed))
    meant, came = _erlang_c(LOAD, 1.0), _erlang_c(rows.load, float(rows.run_s.mean()))
    found = {
        "wait at all": (rows.wait_s > 0).mean(),
        "mean wait, s": rows.wait_s.mean(),
        "wait over 0.5 s": (rows.wait_s > 0.5).mean(),
    }
    return {name: value * meant[name] / came[name] for name, value in found.items()}


SINGLE = {name: (law, scv) for (name, law), scv in zip(LAWS.items(), (1.0, 0.0, 2.0), strict=True)}


SINGLE_RATE = 0.5


def _single(seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (law, scv) in SINGLE.items():
        rows = Rows(run(one_function(law, SINGLE_RATE, 30_000, seed), plain(1), seed))
        meant = formulas.pollaczek_khinchine_s(SINGLE_RATE, 1.0, scv)
        came = formulas.pollaczek_khinchine_s(rows.rate_per_s, float(rows.run_s.mean()), rows.scv)
        found[f"mean wait, s, {name}"] = rows.wait_s.mean() * meant / came
    return found


SHARED = Node(cold=NOTHING, init=NOTHING, logs=NOTHING, remove=NOTHING, slowdown=(), cpus=1)


SHARED_RATE = 0.4


def _shared(seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, law in LAWS.items():
        workload = one_function(law, SHARED_RATE, 15_000, seed)
        alone = Rows(run(workload, plain(PLENTY), seed))  # the same runs, each with a CPU of its own
        rows = Rows(run(workload, plain(PLENTY), seed, SHARED))
        meant = formulas.processor_sharing_s(SHARED_RATE, 1.0)
        came = formulas.processor_sharing_s(alone.rate_per_s, float(alone.run_s.mean()))
        found[f"mean time, s, {name}"] = (rows.ended - rows.arrived).mean() * meant / came
    return found


BUSY = 10.0


def _unlimited(seed: int) -> dict[str, float]:
    """The number of busy containers over time, from when each run begins and ends."""
    found: dict[str, float] = {}
    for name, law in LAWS.items():
        rows = Rows(run(one_function(law, BUSY, 20_000, seed), plain(PLENTY), seed), warm_up=0.0)
        instants = np.concatenate((rows.began, rows.ended))
        order = np.argsort(instants, kind="stable")
        steps = np.concatenate((np.ones(len(rows.began)), -np.ones(len(rows.ended))))[order]
        busy, spans = np.cumsum(steps)[:-1], np.diff(instants[order])
        span = (instants[order][:-1] > 0.05 * rows.arrived[-1]) & (instants[order][1:] <= rows.arrived[-1])
        weights = spans[span] / spans[span].sum()
        found[f"mean busy, {name}"] = (busy[span] * weights).sum() * BUSY / rows.load
        found[f"share of time with at most 10, {name}"] = (
            ((busy[span] <= BUSY) * weights).sum() * _poisson_up_to(10, BUSY) / _poisson_up_to(10, rows.load)
        )
    return found


def _poisson_up_to(most: int, mean: float) -> float:
    return math.exp(-mean) * sum(mean**at / math.factorial(at) for at in range(most + 1))


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
        "A node of 12 MB with functions of 1, 2 and 4 MB, 4, 2 and 1 erlangs: the node's memory itself. Containers "
        "go when their run ends.",
        lambda: {
            f"refused, {name}": share
            for (name, _, _), share in zip(CLASSES, _refused([load for _, _, load in CLASSES]), strict=True)
        },
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
        "One slot, half of the time in use.",
        lambda: {
            f"mean wait, s, {name}": formulas.pollaczek_khinchine_s(SINGLE_RATE, 1.0, scv)
            for name, (_, scv) in SINGLE.items()
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
        "Memory without limit, 10 erlangs.",
        lambda: {
            key: value
            for name in LAWS
            for key, value in (
                (f"mean busy, {name}", BUSY),
                (f"share of time with at most 10, {name}", _poisson_up_to(10, BUSY)),
            )
        },
        _unlimited,
    ),
)

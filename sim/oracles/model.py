"""◇ The node as queueing theory has it: nothing but the runs takes time, and no policy does more than it must."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from invoker.policy import PolicySet, policyset
from invoker.policy.keepalive import LruTtl
from invoker.policy.pausing import NeverPause
from sim import ListWorkload, Node, Result, SimFunction, simulate
from sim.latency import Constant, Exponential, Latency
from sim.recorder import REFUSED
from sim.rng import sequence
from sim.workload import Workload

SECOND_NS = 1_000_000_000
PLENTY = 1_000_000
NOTHING = Constant(0)
FREE = Node(
    cold=NOTHING, init=NOTHING, run=NOTHING, logs=NOTHING, pause=NOTHING, thaw=NOTHING, remove=NOTHING, slowdown=()
)
"""A node where nothing takes time but a function's own run."""
WARM_UP = 0.1
"""The share of each run's arrivals that is left out at its start, when nothing is as it will be."""


def plain(capacity_mb: int, **changes: Any) -> PolicySet:
    """Containers stay until their memory is needed; nothing is paused; who arrives first is served first."""
    asked = {
        "keep_alive": LruTtl(ttl_ns=0),
        "pausing": NeverPause(),
        "starts_max": PLENTY,
        "queue_limit": PLENTY,
        "intake_limit": PLENTY,
        "brief_ns": 0,
        "patience_ns": 0,
    }
    return msgspec.structs.replace(policyset.default(capacity_mb), **(asked | changes))


class Arrivals(NamedTuple):
    """Arrivals of one function of 1 MB, so that memory counts slots: what chance gave, whatever becomes of it. `gaps_s`
    leads up to each arrival."""

    workload: Workload
    gaps_s: NDArray[np.float64]
    runs_s: NDArray[np.float64]

    @property
    def rate_per_s(self) -> float:
        """Arrivals a second, as they came out."""
        return 1.0 / float(self.gaps_s.mean())

    @property
    def mean_s(self) -> float:
        """The mean run, as it came out."""
        return float(self.runs_s.mean())

    @property
    def load(self) -> float:
        """The offered load in erlangs, as it came out."""
        return self.rate_per_s * self.mean_s

    @property
    def scv(self) -> float:
        """The squared coefficient of variation of the runs, as it came out."""
        return float(self.runs_s.var() / self.mean_s**2)

    def warmed(self) -> Arrivals:
        """Without the warm-up, as `Rows` of the result are."""
        skip = round(len(self.gaps_s) * WARM_UP)
        return Arrivals(self.workload, self.gaps_s[skip:], self.runs_s[skip:])


def arrivals(gap: Latency, run: Latency, count: int, seed: int) -> Arrivals:
    """So many, with gaps and runs of these laws."""
    gaps, runs = sequence(seed, "oracle/gaps"), sequence(seed, "oracle/runs")
    gaps_ns = [gap.draw(gaps) for _ in range(count)]
    runs_ns = [run.draw(runs) for _ in range(count)]
    rows = zip(accumulate(gaps_ns), [0] * count, runs_ns, strict=True)
    workload = ListWorkload((SimFunction(name="f", memory_mb=1),), rows)
    return Arrivals(workload, np.array(gaps_ns) / SECOND_NS, np.array(runs_ns) / SECOND_NS)


def poisson(run: Latency, rate_per_s: float, count: int, seed: int) -> Arrivals:
    """Poisson arrivals."""
    return arrivals(Exponential(SECOND_NS / rate_per_s), run, count, seed)


def run(workload: Workload, policy: PolicySet, seed: int, node: Node = FREE, **options: Any) -> Result:
    """Simulate, without a hash unless asked."""
    return simulate(workload, node, policy, seed, hashing=options.pop("hashing", False), **options)


class Rows:
    """The columns of a result as arrays, without the warm-up. Spans and instants in seconds."""

    def __init__(self, result: Result, warm_up: float = WARM_UP) -> None:
        columns = result.columns
        assert columns is not None
        skip = round(len(columns) * warm_up)
        self.function: NDArray[np.uint32] = np.frombuffer(columns.function, np.uint32)[skip:]
        self.kind: NDArray[np.uint8] = np.frombuffer(columns.kind, np.uint8)[skip:]
        self.outcome: NDArray[np.uint8] = np.frombuffer(columns.outcome, np.uint8)[skip:]
        self.arrived = np.frombuffer(columns.arrived_ns, np.int64)[skip:] / SECOND_NS
        self.dispatched = np.frombuffer(columns.dispatched_ns, np.int64)[skip:] / SECOND_NS
        self.began = np.frombuffer(columns.began_ns, np.int64)[skip:] / SECOND_NS
        self.ended = np.frombuffer(columns.ended_ns, np.int64)[skip:] / SECOND_NS

    @property
    def refused(self) -> NDArray[np.bool_]:
        """Which were refused."""
        return self.outcome >= REFUSED

    @property
    def wait_s(self) -> NDArray[np.float64]:
        """From arrival to dispatch."""
        return self.dispatched - self.arrived

    @property
    def rate_per_s(self) -> float:
        """Arrivals a second, as they came out."""
        return float((len(self.arrived) - 1) / (self.arrived[-1] - self.arrived[0]))

"""◇ The node as queueing theory has it: nothing but the runs takes time, and no policy does more than it must."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from invoker.policy import PolicySet, policyset
from invoker.policy.keepalive import LruTtl
from invoker.policy.pausing import NeverPause
from sim import Node, PoissonWorkload, Result, SimFunction, simulate
from sim.latency import Constant, Latency
from sim.recorder import REFUSED
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


def one_function(run: Latency, rate_per_s: float, count: int, seed: int) -> Workload:
    """Poisson arrivals of one function of 1 MB, so that memory counts slots."""
    return PoissonWorkload((SimFunction(name="f", memory_mb=1, run=run),), (rate_per_s,), count, seed)


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

    @property
    def run_s(self) -> NDArray[np.float64]:
        """The durations of those that ran."""
        return (self.ended - self.began)[~self.refused]

    @property
    def load(self) -> float:
        """The offered load in erlangs, as it came out."""
        return self.rate_per_s * float(self.run_s.mean())

    @property
    def scv(self) -> float:
        """The squared coefficient of variation of the runs, as it came out."""
        return float(self.run_s.var() / self.run_s.mean() ** 2)

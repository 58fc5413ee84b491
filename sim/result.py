"""◇ What a simulation found."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from itertools import compress
from math import ceil
from operator import sub

from invoker.policy import PolicySet
from invoker.policy.actions import RemoveReason
from sim.body import Ledger
from sim.recorder import COLD, FAILED, KINDS, OK, OUTCOMES, PREWARM, REFUSED, Aggregates, Columns
from sim.timeline import Timeline
from sim.workload import SimFunction


class Result:
    """Counts, spans and costs of one simulation, of rows (`columns`) or of sums (`aggregates`), one of which is None.

    `ended_ns` is the instant at which the last invocation was settled; `memory_mb_ns` the memory charged until then;
    `decision_hash` 32 hex digits, "" where none was wished; `timeline` the node's states over time, None likewise;
    `functions` those of the workload, which the rows name by their index.
    """

    def __init__(
        self,
        policy: PolicySet,
        seed: int,
        ended_ns: int,
        ledger: Ledger,
        kept: Columns | Aggregates,
        timeline: Timeline | None = None,
        functions: Sequence[SimFunction] = (),
    ) -> None:
        self.policy = policy
        self.functions = tuple(functions)
        self.seed = seed
        self.ended_ns = ended_ns
        self.steps = ledger.steps
        self.starts = ledger.starts
        self.holds = ledger.holds
        self.removals: dict[RemoveReason, int] = ledger.removals
        self.memory_mb_ns = ledger.memory_mb_ns
        self.decision_hash = ledger.decision_hash
        self.timeline = timeline
        self.columns = kept if isinstance(kept, Columns) else None
        self.aggregates = kept if isinstance(kept, Aggregates) else None

    def __repr__(self) -> str:
        median_ms, late_ms = self.latency_ns(0.5) / 1e6, self.latency_ns(0.99) / 1e6
        counts = f"{self.invocations} invocations, {self.cold_share:.2%} cold, {self.refused} refused"
        return f"<Result {counts}, latency p50 {median_ms:.1f} ms, p99 {late_ms:.1f} ms>"

    @cached_property
    def kinds(self) -> dict[str, int]:
        """How many invocations came to a container in which way (KINDS); `none` never did."""
        counts = self.aggregates.kinds if self.aggregates is not None else _counts(self._rows().kind, len(KINDS))
        ran = sum(counts[COLD:])
        return dict(zip(KINDS, [self.invocations - ran, *counts[COLD:]], strict=True))

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """How many invocations ended in which way (OUTCOMES)."""
        if self.aggregates is not None:
            return dict(zip(OUTCOMES, self.aggregates.outcomes, strict=True))
        return dict(zip(OUTCOMES, _counts(self._rows().outcome, len(OUTCOMES)), strict=True))

    @property
    def invocations(self) -> int:
        """All of the workload."""
        return sum(self.outcomes.values())

    @property
    def ran(self) -> int:
        """Those that came to a container."""
        return self.outcomes[OUTCOMES[OK]] + self.outcomes[OUTCOMES[FAILED]]

    @property
    def refused(self) -> int:
        """Those that the heart refused."""
        return sum(self.outcomes[name] for name in OUTCOMES[REFUSED:])

    @property
    def cold_share(self) -> float:
        """Of those that ran, the share that waited for a container to be made; prewarmed ones count as warm."""
        return self.kinds[KINDS[COLD]] / self.ran if self.ran else 0.0

    @property
    def init_share(self) -> float:
        """Of those that ran, the share that had to initialise a container, a cold or a prewarmed one."""
        return (self.kinds[KINDS[COLD]] + self.kinds[KINDS[PREWARM]]) / self.ran if self.ran else 0.0

    @property
    def throughput_per_s(self) -> float:
        """Invocations that ran, for each second of simulated time."""
        return self.ran * 1e9 / self.ended_ns if self.ended_ns else 0.0

    @property
    def mean_memory_mb(self) -> float:
        """The memory that was charged, on the average over time."""
        return self.memory_mb_ns / self.ended_ns if self.ended_ns else 0.0

    def latency_ns(self, share: float) -> int:
        """A quantile of the latency, from arrival to the end of the run (before the log), of those that ran.

        Exact from columns (the smallest latency that `share` of them don't pass), within 3.2 % from sums.
        """
        if self.aggregates is not None:
            return self.aggregates.latency.quantile_ns(share)
        return _quantile(self._latencies_ns, share)

    def wait_ns(self, share: float) -> int:
        """A quantile of the wait, from arrival to dispatch; a cold start waits for its container. See `latency_ns`."""
        if self.aggregates is not None:
            return self.aggregates.wait.quantile_ns(share)
        return _quantile(self._waits_ns, share)

    @property
    def mean_latency_ns(self) -> float:
        """The mean latency of those that ran."""
        return self.aggregates.latency.mean_ns if self.aggregates is not None else _mean(self._latencies_ns)

    @property
    def mean_wait_ns(self) -> float:
        """The mean wait of those that ran."""
        return self.aggregates.wait.mean_ns if self.aggregates is not None else _mean(self._waits_ns)

    def _rows(self) -> Columns:
        assert self.columns is not None
        return self.columns

    def _spans_ns(self, until: str) -> list[int]:
        """From arrival to the instant in the column `until`, of those that ran, in order."""
        rows = self._rows()
        return sorted(compress(map(sub, getattr(rows, until), rows.arrived_ns), rows.kind))

    @cached_property
    def _latencies_ns(self) -> list[int]:
        return self._spans_ns("ended_ns")

    @cached_property
    def _waits_ns(self) -> list[int]:
        return self._spans_ns("dispatched_ns")


def _counts(codes: array[int], size: int) -> list[int]:
    found = codes.tobytes()  # whose `count` is a thousand times as fast as the array's
    return [found.count(code) for code in range(size)]


def _quantile(ordered: list[int], share: float) -> int:
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0


def _mean(spans_ns: list[int]) -> float:
    return sum(spans_ns) / len(spans_ns) if spans_ns else 0.0

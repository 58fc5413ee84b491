"""◇ What is kept of a simulation: columns with a row for each invocation, or sums and histograms of a fixed size.

A row takes 38 bytes. What was not reached is 0 in its column: an invocation that was refused has no dispatch, and
`ended_ns` is the instant of the refusal.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Final, Protocol, get_args

from invoker.policy.actions import Refuse, RefuseReason
from sim.node import Request
from sim.workload import Block

COLD, PREWARM, WARM, THAWED = 1, 2, 3, 4
KINDS: Final = ("none", "cold", "prewarm", "warm", "thawed")
"""Column `kind`: how the invocation came to its container. `thawed` is warm, out of a paused one."""

OK, FAILED, REFUSED = 1, 2, 3
OUTCOMES: Final[tuple[str, ...]] = ("unsettled", "ok", "failed", *(f"refused: {why}" for why in get_args(RefuseReason)))
"""Column `outcome`. `failed`: the initialisation or the run spoilt its container."""

_REASONS = {reason: REFUSED + place for place, reason in enumerate(get_args(RefuseReason))}
BYTES_PER_ROW: Final = 38


class Recorder(Protocol):
    """Told of each invocation once, when it is settled, but for those that went as was foreseen."""

    @property
    def ran_as_foreseen(self) -> Callable[[int], None] | None:
        """To be told how long each run took that was foreseen (ns); None: what was foreseen is kept already."""
        ...

    def expect(self, count: int) -> None:
        """So many more invocations follow."""
        ...

    def foresee(self, begin: int, block: Block, ended_ns: Sequence[int]) -> None:
        """The expected invocations from number `begin` on, which will probably run at once in warm containers, and then
        end at these instants."""
        ...

    def ran(self, request: Request, ended_ns: int, good: bool) -> None:
        """The invocation ran, or its initialisation failed."""
        ...

    def refused(self, request: Request, now_ns: int, action: Refuse) -> None:
        """The heart refused it."""
        ...


class Columns:
    """A row for each invocation, in the order of arrival. Instants in ns since the start of the simulation.

    `arrived_ns <= dispatched_ns <= began_ns <= ended_ns`: arrival, a container that can take it (after a start, a thaw
    or a wait), the begin of /run (after /init), its end (before the collection of the log).
    """

    ran_as_foreseen = None

    def __init__(self) -> None:
        self.function = array("I")
        self.arrived_ns = array("q")
        self.dispatched_ns = array("q")
        self.began_ns = array("q")
        self.ended_ns = array("q")
        self.kind = array("B")
        self.outcome = array("B")

    def __len__(self) -> int:
        return len(self.kind)

    def expect(self, count: int) -> None:
        """See `Recorder`."""
        for column in (self.arrived_ns, self.dispatched_ns, self.began_ns, self.ended_ns):
            column.frombytes(bytes(8 * count))
        self.function.frombytes(bytes(4 * count))
        self.kind.frombytes(bytes(count))
        self.outcome.frombytes(bytes(count))

    def foresee(self, begin: int, block: Block, ended_ns: Sequence[int]) -> None:
        """See `Recorder`."""
        rows = slice(begin, begin + len(ended_ns))
        self.function[rows] = block.function
        self.arrived_ns[rows] = self.dispatched_ns[rows] = self.began_ns[rows] = block.at_ns
        self.ended_ns[rows] = array("q", ended_ns)
        self.kind[rows] = array("B", [WARM]) * len(ended_ns)
        self.outcome[rows] = array("B", [OK]) * len(ended_ns)

    def ran(self, request: Request, ended_ns: int, good: bool) -> None:
        """See `Recorder`."""
        row = request.index
        self.function[row] = request.function
        self.arrived_ns[row] = request.arrived_ns
        self.dispatched_ns[row] = request.dispatched_ns
        self.began_ns[row] = request.began_ns
        self.ended_ns[row] = ended_ns
        self.kind[row] = request.kind
        self.outcome[row] = OK if good else FAILED

    def refused(self, request: Request, now_ns: int, action: Refuse) -> None:
        """See `Recorder`."""
        row = request.index
        self.function[row] = request.function
        self.arrived_ns[row] = request.arrived_ns
        self.dispatched_ns[row] = self.began_ns[row] = self.kind[row] = 0
        self.ended_ns[row] = now_ns
        self.outcome[row] = _REASONS[action.reason]


class Histogram:
    """Counts of spans in ns, in buckets of 1/32 of their size: a quantile is right to 3.2 %. There are 4,096 buckets,
    enough for all spans below 2**63 ns."""

    def __init__(self) -> None:
        self._buckets = [0] * 4096
        self.sum_ns = 0
        self.max_ns = 0

    def add(self, span_ns: int) -> None:
        """Count one span."""
        if span_ns < 64:
            self._buckets[span_ns] += 1
        else:
            shift = span_ns.bit_length() - 6
            self._buckets[(shift << 6) + (span_ns >> shift)] += 1
        self.sum_ns += span_ns
        if span_ns > self.max_ns:
            self.max_ns = span_ns

    @property
    def count(self) -> int:
        """How many spans were counted."""
        return sum(self._buckets)

    @property
    def mean_ns(self) -> float:
        """The mean, exact; 0 where nothing was counted."""
        return self.sum_ns / max(1, self.count)

    def quantile_ns(self, share: float) -> int:
        """The upper end of the bucket in which the quantile lies; 0 where nothing was counted."""
        left = share * self.count
        for bucket, count in enumerate(self._buckets):
            left -= count
            if count and left <= 0:
                shift, size = bucket >> 6, bucket & 63
                return min(self.max_ns, ((size + 1) << shift) - 1)
        return self.max_ns


class Aggregates:
    """Sums and histograms, whose size doesn't grow with the length of the simulation.

    `kinds` and `outcomes` count by the codes of KINDS and OUTCOMES; `latency` is from arrival to the end of the run,
    `wait` from arrival to dispatch, both of invocations that ran.
    """

    def __init__(self) -> None:
        self.kinds = [0] * len(KINDS)
        self.outcomes = [0] * len(OUTCOMES)
        self.latency = Histogram()
        self.wait = Histogram()

    def expect(self, count: int) -> None:
        """See `Recorder`."""

    def foresee(self, begin: int, block: Block, ended_ns: Sequence[int]) -> None:
        """See `Recorder`."""

    def ran_as_foreseen(self, run_ns: int) -> None:
        """See `Recorder`."""
        self.kinds[WARM] += 1
        self.outcomes[OK] += 1
        self.latency.add(run_ns)
        self.wait.add(0)

    def ran(self, request: Request, ended_ns: int, good: bool) -> None:
        """See `Recorder`."""
        self.kinds[request.kind] += 1
        self.outcomes[OK if good else FAILED] += 1
        self.latency.add(ended_ns - request.arrived_ns)
        self.wait.add(request.dispatched_ns - request.arrived_ns)

    def refused(self, request: Request, now_ns: int, action: Refuse) -> None:
        """See `Recorder`."""
        self.outcomes[_REASONS[action.reason]] += 1

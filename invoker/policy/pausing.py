"""◇ Pausing: how long an idle container stays thawed.

A thaw costs the next activation a little, a running idle container costs the node CPU (and lets a function work
between its activations, unpaid): the grace is the price one is ready to pay.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from invoker.policy.function import Function
from invoker.policy.types import MILLISECOND_NS, SECOND_NS


class Pausing(Protocol):
    """The interface of a pausing policy."""

    def grace_ns(self, function: Function) -> int:
        """How long a container of the function may stay idle before it is frozen; -1 for ever."""
        ...

    def reused(self, function: Function, gap_ns: int) -> None:
        """A container of the function was taken again after `gap_ns` of idleness."""
        ...


class FixedGrace(msgspec.Struct, frozen=True, tag="fixed"):
    """The same grace for all (the reference: 150 ms)."""

    grace: int = 150 * MILLISECOND_NS

    def grace_ns(self, function: Function) -> int:
        """See `Pausing`."""
        return self.grace

    def reused(self, function: Function, gap_ns: int) -> None:
        """See `Pausing`."""


class AdaptiveGrace(msgspec.Struct, frozen=True, tag="adaptive"):
    """Twice the function's usual gap, where that is at most `longest_ns`; else `shortest_ns`, for waiting won't help.

    The usual gap is an exponentially weighted mean with weight 1/4, kept in the function's record.
    """

    shortest_ns: int = 20 * MILLISECOND_NS
    longest_ns: int = 2 * SECOND_NS

    def grace_ns(self, function: Function) -> int:
        """See `Pausing`."""
        wished_ns = 2 * function.gap_ns
        if 0 <= wished_ns <= self.longest_ns:
            return max(wished_ns, self.shortest_ns)
        return self.shortest_ns

    def reused(self, function: Function, gap_ns: int) -> None:
        """See `Pausing`."""
        function.gap_ns = gap_ns if function.gap_ns < 0 else (3 * function.gap_ns + gap_ns) // 4


class NeverPause(msgspec.Struct, frozen=True, tag="never"):
    """Idle containers stay thawed."""

    def grace_ns(self, function: Function) -> int:
        """See `Pausing`."""
        return -1

    def reused(self, function: Function, gap_ns: int) -> None:
        """See `Pausing`."""

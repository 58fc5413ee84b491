"""◇ What the simulation of a cluster found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import ceil
from typing import cast

from invoker.policy import PolicySet
from invoker.policy.actions import RemoveReason
from invoker.policy.types import SECOND_NS
from sim.body import Ledger
from sim.cluster.columns import CLUSTER_OUTCOMES, NOWHERE, PATHS, TOPIC, ClusterColumns
from sim.cluster.world import World
from sim.recorder import Columns
from sim.result import Result
from sim.workload import SimFunction

Span = tuple[int, int]
"""Begin and end in ns."""


class _Totals:
    """What the ledgers of all nodes come to."""

    def __init__(self, ledgers: Sequence[Ledger], decision_hash: str) -> None:
        self.steps = sum(ledger.steps for ledger in ledgers)
        self.starts = sum(ledger.starts for ledger in ledgers)
        self.holds = sum(ledger.holds for ledger in ledgers)
        self.memory_mb_ns = sum(ledger.memory_mb_ns for ledger in ledgers)
        self.decision_hash = decision_hash
        self.removals: dict[RemoveReason, int] = {}
        for ledger in ledgers:
            for reason, count in ledger.removals.items():
                self.removals[reason] = self.removals.get(reason, 0) + count


class ClusterResult(Result):
    """A Result over all nodes, and what only a cluster has. Latencies and waits count from the arrival at a controller.

    `outcomes` are by CLUSTER_OUTCOMES. `nodes` has a Result for each node, of the invocations that ended there, counted
    from when the node took them. `overflows` are the spans in which messages were in topics, or on their way there;
    `holds_of` those in which each node did not read, as enough waited inside (its policy's two marks).
    """

    def __init__(
        self,
        policy: PolicySet,
        policies: tuple[PolicySet, ...],
        seed: int,
        world: World,
        functions: Sequence[SimFunction],
    ) -> None:
        ledgers = [invoker.ledger for invoker in world.invokers]
        totals = cast(Ledger, _Totals(ledgers, world.decision_hash()))
        super().__init__(policy, seed, world.ended_ns, totals, world.columns, functions=functions)
        self.rows: ClusterColumns = world.columns
        self.policies = policies
        self.overflows: list[Span] = world.overflows
        self.holds_of: list[list[Span]] = [invoker.holds for invoker in world.invokers]
        self._ledgers = ledgers

    def __repr__(self) -> str:
        plain = super().__repr__().removeprefix("<Result ").removesuffix(">")
        beside = f"{self.overflow_share:.2%} by topics, {self.lost} lost"
        return f"<ClusterResult {len(self._ledgers)} nodes, {plain}, {beside}>"

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """How many invocations ended in which way (CLUSTER_OUTCOMES)."""
        outcome = self.rows.outcome
        return {name: outcome.count(code) for code, name in enumerate(CLUSTER_OUTCOMES)}

    @property
    def refused(self) -> int:
        """Those that a node refused, or that no controller could place."""
        return sum(count for name, count in self.outcomes.items() if name.startswith("refused"))

    @property
    def lost(self) -> int:
        """Those that a node had and lost, or that never reached one."""
        return sum(count for name, count in self.outcomes.items() if name.startswith("lost"))

    @cached_property
    def paths(self) -> dict[str, int]:
        """How many invocations were sent last by which way (PATHS)."""
        return {name: self.rows.path.count(code) for code, name in enumerate(PATHS)}

    @property
    def overflow_share(self) -> float:
        """Of those that were sent, the share that went to a topic."""
        sent = self.invocations - self.paths[PATHS[0]]
        return self.paths[PATHS[TOPIC]] / sent if sent else 0.0

    @property
    def retried(self) -> int:
        """Those that were sent or read more than once."""
        return len(self.rows) - self.rows.retries.count(0)

    @property
    def given_up(self) -> int:
        """Those that a controller stopped waiting for; most of them ran all the same."""
        return self.rows.given_up.count(1)

    @property
    def capacity_mb(self) -> int:
        """The memory of all nodes."""
        return sum(policy.capacity_mb for policy in self.policies)

    def overflow_episodes(self, quiet_ns: int = SECOND_NS) -> list[Span]:
        """The spans of `overflows`, those drawn together between which the topics were empty for less than `quiet_ns`:
        a cluster near its limit sends now this way, now that."""
        episodes: list[Span] = []
        for begin_ns, end_ns in self.overflows:
            if episodes and begin_ns - episodes[-1][1] < quiet_ns:
                episodes[-1] = (episodes[-1][0], end_ns)
            else:
                episodes.append((begin_ns, end_ns))
        return episodes

    def answer_ns(self, share: float) -> int:
        """A quantile of the time from arrival to the acknowledgement at the controller, of those that ran."""
        spans = self._answers_ns
        return spans[max(0, ceil(share * len(spans)) - 1)] if spans else 0

    @cached_property
    def nodes(self) -> tuple[Result, ...]:
        """See the class."""
        kept = [Columns() for _ in self._ledgers]
        rows = self.rows
        names = ("function", "dispatched_ns", "began_ns", "ended_ns", "kind", "outcome")
        columns = [getattr(rows, name) for name in names]
        for row, (node, reached_ns) in enumerate(zip(rows.node, rows.reached_ns, strict=True)):
            if rows.path[row] and rows.outcome[row] < NOWHERE:
                mine = kept[node]
                mine.arrived_ns.append(reached_ns)
                for name, column in zip(names, columns, strict=True):
                    getattr(mine, name).append(column[row])
        return tuple(
            Result(policy, self.seed, self.ended_ns, ledger, columns, functions=self.functions)
            for policy, ledger, columns in zip(self.policies, self._ledgers, kept, strict=True)
        )

    @property
    def imbalance(self) -> float:
        """How much the node that ran longest ran, over the mean of all nodes: 1 is even, the number of nodes is all on
        one. Runs are weighed with their time; 0 where nothing ran."""
        rows = self.rows
        run_ns = [0] * len(self._ledgers)
        for node, kind, began_ns, ended_ns in zip(rows.node, rows.kind, rows.began_ns, rows.ended_ns, strict=True):
            if kind:
                run_ns[node] += ended_ns - began_ns
        return max(run_ns) * len(run_ns) / sum(run_ns) if sum(run_ns) else 0.0

    @cached_property
    def _answers_ns(self) -> list[int]:
        rows = self.rows
        spans = zip(rows.kind, rows.arrived_ns, rows.answered_ns, strict=True)
        return sorted(answered - arrived for kind, arrived, answered in spans if kind)

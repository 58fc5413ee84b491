"""◇ What is kept of a cluster: a row for each invocation, with its way to the node and back.

A row takes 61 bytes. Each row's outcome is written once: whatever comes to a settled invocation later (a second run of
a message that was read again) leaves it as it is.
"""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

from invoker.policy.actions import Refuse
from invoker.policy.balancing import Request as Ask
from sim.node import Request
from sim.recorder import OUTCOMES, Columns

HTTP, TOPIC = 1, 2
PATHS: Final = ("none", "http", "topic")
"""Column `path`: how the invocation was sent the last time; `none` never was."""

NOWHERE = len(OUTCOMES)
AWAY, UNREACHABLE, LEFT = NOWHERE + 1, NOWHERE + 2, NOWHERE + 3
CLUSTER_OUTCOMES: Final[tuple[str, ...]] = (
    *OUTCOMES,
    "refused: nowhere",
    "lost: node went away",
    "lost: unreachable",
    "lost: left in a topic",
)
"""Column `outcome`: those of a node, and what only a cluster comes to. `refused: nowhere`: no invoker was usable;
`lost: node went away`: under it, after taking it; `lost: unreachable`: no node took it, however often it was sent;
`lost: left in a topic`: of a node that never came back."""


class Errand(msgspec.Struct, eq=False, gc=False):
    """An invocation on its way through the cluster; `probe`: a controller's test action, of which no row is kept.

    `asked` is what the balancer was asked last. `retries` counts how often it was sent again, `rereads` how often read
    again. `settled`: it is known how it ended; `closed`: nobody waits for news of it any more.
    """

    request: Request
    controller: int
    probe: bool = False
    asked: Ask | None = None
    node: int = 0
    path: int = 0
    retries: int = 0
    rereads: int = 0
    reached_ns: int = 0
    settled: bool = False
    closed: bool = False


class ClusterColumns(Columns):
    """Columns, and: `controller`, `node` (the last it was sent to), `path` (PATHS), `retries` (how often it was sent or
    read again), `given_up` (1: the controller had given it up before the acknowledgement came), `reached_ns` (the node
    took it), `answered_ns` (its controller had the acknowledgement, or knew that none would come).

    `arrived_ns` is at the controller. What was not reached is 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.controller = array("H")
        self.node = array("H")
        self.path = array("B")
        self.retries = array("B")
        self.given_up = array("B")
        self.reached_ns = array("q")
        self.answered_ns = array("q")

    def expect(self, count: int) -> None:
        """See `Recorder`."""
        super().expect(count)
        for column in (self.controller, self.node, self.path, self.retries, self.given_up):
            column.frombytes(bytes(column.itemsize * count))
        for column in (self.reached_ns, self.answered_ns):
            column.frombytes(bytes(8 * count))

    def ran(self, request: Request, ended_ns: int, good: bool) -> None:
        """See `Recorder`."""
        if request.index >= 0 and not self.outcome[request.index]:
            super().ran(request, ended_ns, good)

    def refused(self, request: Request, now_ns: int, action: Refuse) -> None:
        """See `Recorder`."""
        if request.index >= 0 and not self.outcome[request.index]:
            super().refused(request, now_ns, action)

    def settle(self, errand: Errand) -> None:
        """The invocation's outcome is known: where it was."""
        errand.settled = True
        row = errand.request.index
        self.controller[row] = errand.controller
        self.node[row] = errand.node
        self.path[row] = errand.path
        self.retries[row] = min(255, errand.retries + errand.rereads)
        self.reached_ns[row] = errand.reached_ns

    def missed(self, errand: Errand, now_ns: int, outcome: int) -> None:
        """It never came to an end on a node; `outcome` is a code of CLUSTER_OUTCOMES."""
        request = errand.request
        row = request.index
        self.function[row] = request.function
        self.arrived_ns[row] = request.arrived_ns
        self.ended_ns[row] = now_ns
        self.outcome[row] = outcome
        self.settle(errand)

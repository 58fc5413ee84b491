"""◇ What is kept of a cluster: a row for each invocation, with its way to the node and back.

A row takes 61 bytes. Each row's outcome is written once: whatever comes to a settled invocation later (a second run of
a message that was read again) leaves it as it is.
"""

from __future__ import annotations

from array import array
from typing import Final

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


class Errand(Request, eq=False, gc=False):
    """A request on its way through the cluster; `probe`: a controller's test action, of which no row is kept.

    `asked` is what the balancer was asked last. `retries` counts how often it was sent again, `rereads` how often read
    again. `settled`: it is known how it ended; `closed`: nobody waits for news of it any more.
    """

    controller: int = 0
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
        if self._settle(request):
            super().ran(request, ended_ns, good)

    def refused(self, request: Request, now_ns: int, action: Refuse) -> None:
        """See `Recorder`."""
        if self._settle(request):
            super().refused(request, now_ns, action)

    def missed(self, errand: Errand, now_ns: int, outcome: int) -> None:
        """It never came to an end on a node; `outcome` is a code of CLUSTER_OUTCOMES."""
        if self._settle(errand):
            row = errand.index
            self.function[row] = errand.function
            self.arrived_ns[row] = errand.arrived_ns
            self.ended_ns[row] = now_ns
            self.outcome[row] = outcome

    def _settle(self, request: Request) -> bool:
        """Note where the invocation is as its outcome becomes known; False where that was before, or it has no row."""
        assert isinstance(request, Errand)
        if request.probe or request.settled:
            return False
        request.settled = True
        row = request.index
        self.controller[row] = request.controller
        self.node[row] = request.node
        self.path[row] = request.path
        self.retries[row] = min(255, request.retries + request.rereads)
        self.reached_ns[row] = request.reached_ns
        return True

"""◆ What really happened in a run of the invoker, as its decision log tells it, in the simulator's own words.

`recorded` reads a log into columns with a row for each invocation, the starts, the spans of the other stages, and the
memory over time: everything from which a profile is fitted, and the first column of a what-if.

What a log doesn't hold: what happens to a call before it comes before the heart (its reading, the action's look-up),
and after it left its container (the record's storing; the answer itself is given just before). Nor does it tell a
run's own time from the collection of its log, or a CPU that was busy with others from one that was slow.
"""

from __future__ import annotations

import pathlib
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import msgspec

from invoker.policy import PolicySet
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ContainerId
from sim.recorder import OK, REFUSED, Columns
from sim.result import Result
from sim.traces.decisions import parts, steps
from sim.traces.following import NOT_REACHED, Activation, Follower, Functions
from sim.traces.report import CleaningReport
from sim.workload import BLOCK_ROWS, DRAWN, Block, SimFunction

if TYPE_CHECKING:
    from sim.body import Ledger

Short: TypeAlias = Literal["pause", "thaw", "remove"]
FAILABLE: Final = ("start", "init", "run", "pause", "thaw", "remove")
"""What can fail, by the names of `sim.node.Failures`."""
STOCK: Final = -1
"""The function of a start that is for no activation."""

_ASKS: Final[dict[type[act.AnyAction], Short]] = {act.Pause: "pause", act.Unpause: "thaw", act.Remove: "remove"}
_ANSWERS: Final[dict[type[ev.AnyEvent], tuple[Short, bool]]] = {
    ev.Paused: ("pause", True),
    ev.PauseFailed: ("pause", False),
    ev.Unpaused: ("thaw", True),
    ev.UnpauseFailed: ("thaw", False),
    ev.Removed: ("remove", True),
    ev.RemoveFailed: ("remove", False),
}


class Start(msgspec.Struct, gc=False, eq=False):
    """One start: the function that it was for (or STOCK), the kind of the container, and its begin and end."""

    function: int
    kind: str
    asked_ns: int
    ended_ns: int = NOT_REACHED
    good: bool = False


class _Costs(msgspec.Struct, frozen=True):
    """What a Result reads of a ledger."""

    steps: int
    starts: int
    holds: int
    removals: dict[act.RemoveReason, int]
    memory_mb_ns: int
    decision_hash: str = ""


class Recorded(Follower):
    """A run, followed to its end. Instants count from the log's first step; rows of `columns` are in the order of
    arrival, and `run_ns` has the duration of each run, DRAWN where it is not known.

    `spans_ns` has the pauses, thaws and removals that went well; the removals of a drain, when much is removed at once,
    lie in `drained_ns`. `before_init_ns`: from a dispatch to the call of /init. `tries` and `failed` count what can
    fail (FAILABLE); `deaths` are of containers that nobody used, which all together stood unused for `unused_ns`.
    `stock` is the last that was wished before the first arrival. `memory_mb_ns` is the memory charged until `ended_ns`,
    the instant at which the last invocation was settled.
    """

    def __init__(self, functions: Functions | None = None) -> None:
        super().__init__(functions)
        self.columns = Columns()
        self.run_ns = array("q")
        self.starts: list[Start] = []
        self.spans_ns: dict[Short, array[int]] = {name: array("q") for name in ("pause", "thaw", "remove")}
        self.drained_ns = array("q")
        self.before_init_ns = array("q")
        self.tries: dict[str, int] = dict.fromkeys(FAILABLE, 0)
        self.failed: dict[str, int] = dict.fromkeys(FAILABLE, 0)
        self.removals: dict[act.RemoveReason, int] = {}
        self.stock: tuple[ev.StemCells, ...] = ()
        self.steps = self.holds = self.ended_ns = self.memory_mb_ns = 0
        self.deaths = self.unused_ns = 0
        self.now_ns = 0
        self._first_ns: int | None = None
        self._charged_mb = 0
        self._mb_ns = 0
        self._starting: dict[ContainerId, Start] = {}
        self._sizes_mb: dict[ContainerId, int] = {}
        self._unused_since_ns: dict[ContainerId, int] = {}
        self._users: dict[ContainerId, int] = {}
        self._asked: dict[tuple[Short, ContainerId], tuple[int, bool]] = {}

    def take(self, now_ns: int, event: ev.AnyEvent, actions: Sequence[act.AnyAction]) -> None:
        """One step of the log."""
        if self._first_ns is None:
            self._first_ns = now_ns
        now_ns -= self._first_ns
        self._mb_ns += self._charged_mb * (now_ns - self.now_ns)
        self.now_ns = now_ns
        self.steps += 1
        self._answered(event)
        super().take(now_ns, event, actions)
        for action in actions:
            self._asked_for(action)

    def arrived(self, one: Activation) -> None:
        """See `Follower`."""
        self.columns.expect(1)
        self.columns.function[one.index] = one.function
        self.columns.arrived_ns[one.index] = one.arrived_ns
        self.run_ns.append(DRAWN)

    def initialized(self, one: Activation, init_ns: int) -> None:
        """See `Follower`."""
        self._tried("init", good=True)
        self.before_init_ns.append(max(0, self.now_ns - one.dispatched_ns - init_ns))

    def settled(self, one: Activation) -> None:
        """See `Follower`."""
        row, columns = one.index, self.columns
        columns.ended_ns[row] = one.ended_ns
        columns.outcome[row] = one.outcome
        if one.outcome < REFUSED:
            columns.kind[row] = one.kind
            columns.dispatched_ns[row] = one.dispatched_ns
            columns.began_ns[row] = one.began_ns
            self._tried("run" if one.initialized else "init", good=one.outcome == OK)
        if one.run_ns != NOT_REACHED:
            self.run_ns[row] = one.run_ns
        self.ended_ns = self.now_ns
        self.memory_mb_ns = self._mb_ns

    def result(self, policy: PolicySet) -> Result:
        """The run as if it had been simulated, for whatever takes a Result; without a decision hash, seed 0."""
        costs = _Costs(self.steps, len(self.starts), self.holds, self.removals, self.memory_mb_ns)
        return Result(policy, 0, self.ended_ns, cast("Ledger", costs), self.columns, functions=self.functions.known)

    def _tried(self, what: str, good: bool) -> None:
        self.tries[what] += 1
        self.failed[what] += not good

    def _answered(self, event: ev.AnyEvent) -> None:
        """What the event tells of an action that was under way."""
        match event:
            case ev.ContainerStarted():
                self._started(event.container, good=True)
            case ev.ContainerStartFailed():
                self._started(event.container, good=False)
                if not event.leaked:
                    self._gone(event.container)
            case ev.ContainerDied():
                self.deaths += event.container in self._unused_since_ns
            case ev.RunFinished():
                left = self._users[event.container] = self._users.get(event.container, 1) - 1
                if not left:
                    self._unused_since_ns[event.container] = self.now_ns
            case ev.StockChanged():
                self.stock = event.stock if not self.arrivals else self.stock
            case ev.Paused() | ev.PauseFailed() | ev.Unpaused() | ev.UnpauseFailed() | ev.Removed() | ev.RemoveFailed():
                what, good = _ANSWERS[type(event)]
                asked_ns, drained = self._asked.pop((what, event.container), (NOT_REACHED, False))
                if asked_ns != NOT_REACHED:
                    self._tried(what, good)
                    if good:
                        (self.drained_ns if drained else self.spans_ns[what]).append(self.now_ns - asked_ns)
                if type(event) is ev.Removed:
                    self._gone(event.container)
            case _:
                pass

    def _started(self, container: ContainerId, good: bool) -> None:
        start = self._starting.pop(container, None)
        if start is not None:
            start.ended_ns = self.now_ns
            start.good = good
            if good:
                self._unused_since_ns[container] = self.now_ns
            self._tried("start", good)

    def _gone(self, container: ContainerId) -> None:
        self._charged_mb -= self._sizes_mb.pop(container, 0)

    def _used(self, container: ContainerId) -> None:
        """It is unused no more, or no more."""
        since_ns = self._unused_since_ns.pop(container, None)
        self.unused_ns += 0 if since_ns is None else self.now_ns - since_ns

    def _asked_for(self, action: act.AnyAction) -> None:
        match action:
            case act.Start():
                one = None if action.activation is None else self.alive.get(action.activation)
                start = Start(STOCK if one is None else one.function, action.stem.kind, self.now_ns)
                self.starts.append(start)
                self._starting[action.container] = start
                self._sizes_mb[action.container] = action.stem.memory_mb
                self._charged_mb += action.stem.memory_mb
            case act.Dispatch():
                self._users[action.container] = self._users.get(action.container, 0) + 1
                self._used(action.container)
            case act.Pause() | act.Unpause() | act.Remove():
                drained = False
                if isinstance(action, act.Remove):
                    self.removals[action.reason] = self.removals.get(action.reason, 0) + 1
                    drained = action.reason == "drain"
                    self._users.pop(action.container, None)
                    self._used(action.container)
                self._asked[_ASKS[type(action)], action.container] = (self.now_ns, drained)
            case act.HoldIntake():
                self.holds += 1
            case _:
                pass


class RecordedWorkload:
    """The arrivals of a run, each with the run that it had; drawn where that isn't known. The instants are those of
    `Recorded`, so that what the node did before the first arrival has its time here, too."""

    def __init__(self, run: Recorded, functions: tuple[SimFunction, ...]) -> None:
        self.functions = functions
        self._run = run

    def blocks(self) -> Iterator[Block]:
        """See `sim.workload.Workload`."""
        columns = self._run.columns
        for begin in range(0, len(columns), BLOCK_ROWS):
            rows = slice(begin, begin + BLOCK_ROWS)
            yield Block(columns.arrived_ns[rows], columns.function[rows], self._run.run_ns[rows])


def recorded(
    where: pathlib.Path | Sequence[pathlib.Path],
    functions: Functions | None = None,
    report: CleaningReport | None = None,
) -> Recorded:
    """Read one run: its files, or the first of them. `functions` are those of the runs read before.

    Raises TraceError as `sim.traces.decisions.read` does.
    """
    run = Recorded(functions)
    for step in steps(parts(where), report or CleaningReport()):
        run.take(step.now_ns, step.event, step.actions)
    return run

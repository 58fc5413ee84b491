"""◇ The fast driver: the heart on a heap of instants, for simulations of millions of invocations.

It does what `sim.driver` does with SimPy and decides as little: each action is answered by its event after a drawn
latency. Ties are broken by the order in which things were scheduled, as SimPy does, so that both make the same
decisions in the same order (the decision hash says whether they did).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from operator import add
from typing import Any, TypeAlias

from invoker.policy import Pool, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId
from sim.agenda import Agenda
from sim.body import Ledger, collector, dispatched, drawn, names
from sim.errors import SimulationError
from sim.node import Chance, Node, Request
from sim.recorder import Recorder
from sim.sharing import Sharing, of_cpus, of_table
from sim.workload import Block, Workload

_Job: TypeAlias = partial[None]
_What: TypeAlias = ev.AnyEvent | partial[None] | str


class FastDriver:
    """Joins a pool, a node's chance and a recorder; `run` it once.

    What is on the agenda is an event to feed, a job to do, or the name of shared processors to look at.
    A timer or a look that was put off leaves its entry behind, known by its number.
    """

    def __init__(self, pool: Pool, node: Node, chance: Chance, recorder: Recorder, ledger: Ledger) -> None:
        self.pool = pool
        self.now_ns = 0
        self._node = node
        self._chance = chance
        self._recorder = recorder
        self._ledger = ledger
        self._note = ledger.note
        self._record = recorder.ran
        self._plain_logs_ns = chance.constant_logs_ns if chance.flawless and not node.cpus else -1
        self._agenda: Agenda[_What] = Agenda()
        self._scheduled = 0
        self._requests: dict[ActivationId, Request] = {}
        self._timers: dict[ev.TimerName, int] = {}
        self._shared: dict[str, Sharing[_Job]] = {}
        self._looks: dict[str, int] = {}
        if node.cpus:
            self._shared["cpu"] = Sharing(of_cpus(node.cpus))
        if node.slowdown:
            self._shared["starts"] = Sharing(of_table(node.slowdown))
        self._carry_out: dict[type[act.AnyAction], Callable[[Any], None]] = {
            act.Start: self._start,
            act.Dispatch: self._dispatch,
            act.Pause: self._pause,
            act.Unpause: self._unpause,
            act.Remove: self._remove,
            act.Enqueue: self._enqueue,
            act.Refuse: self._refuse,
            act.ArmTimer: self._arm_timer,
            act.CancelTimer: self._cancel_timer,
            act.HoldIntake: self._hold,
            act.ResumeIntake: self._resume,
        }

    def run(self, workload: Workload) -> None:
        """From the first invocation until the last is settled. Raises SimulationError where one never is."""
        with collector.held_off():
            if self._node.stock:
                self.feed(ev.StockChanged(self._node.stock))
            for begin, block, runs_ns in drawn(workload, self._chance, self._recorder):
                self._take(begin, block, runs_ns)
            self._finish()
        self._ledger.close(self.now_ns)

    def _take(self, begin: int, block: Block, runs_ns: list[int]) -> None:
        """The invocations of a block arrive, the first of them with the number `begin`; everything before an arrival
        happens before it. The way of nearly all is here as a whole: a warm container at once, which ends as was
        foreseen."""
        agenda, pool, asks, requests = self._agenda, self.pool, self._chance.asks, self._requests
        agenda.adapt((block.at_ns[-1] - block.at_ns[0]) // len(runs_ns))
        heap = agenda.heap
        note, carry_out, tell = self._note, self._carry_out, self._recorder.ran_as_foreseen
        plain, logs_ns = self._plain_logs_ns >= 0, self._plain_logs_ns
        ends_ns = list(map(add, block.at_ns, runs_ns))
        if plain:
            self._recorder.foresee(begin, block, ends_ns)
        indices = range(begin, begin + len(runs_ns))
        for activation, index, function, at_ns, end_ns in zip(
            names(indices), indices, block.function, block.at_ns, ends_ns, strict=True
        ):
            self._scheduled = turn = self._scheduled + 1
            while heap or agenda.refill():
                now_ns, number, what = heap[0]
                if now_ns >= at_ns and (now_ns > at_ns or number > turn):
                    break
                heappop(heap)
                self.now_ns = now_ns
                if type(what) is not ev.RunFinished:
                    self._come_up(number, what)
                    continue
                actions = step(pool, now_ns, what)
                note(now_ns, what, actions)
                for action in actions:
                    carry_out[type(action)](action)
            self.now_ns = at_ns
            key, stem, concurrency = asks[function]
            event = ev.InvocationArrived(activation, key, stem, concurrency)
            actions = step(pool, at_ns, event)
            note(at_ns, event, actions)
            if plain and len(actions) == 1:
                action = actions[0]
                if type(action) is act.Dispatch and action.kind == "warm":
                    self._scheduled = number = self._scheduled + 1
                    free_ns = end_ns + logs_ns
                    entry = (free_ns, number, ev.RunFinished(action.container, activation, True))
                    if free_ns < agenda.horizon_ns:
                        heappush(heap, entry)
                    else:
                        agenda.later(entry)
                    if tell is not None:
                        tell(end_ns - at_ns)
                    continue
            requests[activation] = Request(activation, index, function, at_ns, end_ns - at_ns)
            for action in actions:
                carry_out[type(action)](action)

    def _finish(self) -> None:
        """No more invocations arrive; those that are in the pool come to their ends."""
        agenda, heap, pool = self._agenda, self._agenda.heap, self.pool
        while pool.placed or pool.waiting:
            if not heap and not agenda.refill():
                left = len(pool.placed) + len(pool.waiting)
                raise SimulationError(f"{left} invocations wait for what will never happen: {pool!r}")
            self.now_ns, number, what = heappop(heap)
            self._come_up(number, what)

    def _come_up(self, number: int, what: _What) -> None:
        """The entry of the heap with that number has come up."""
        if isinstance(what, partial):
            what()
        elif isinstance(what, str):
            self._look(what, number)
        elif type(what) is not ev.TimerFired:
            self.feed(what)
        elif self._timers.get(what.timer) == number:
            del self._timers[what.timer]
            self.feed(what)

    def feed(self, event: ev.AnyEvent) -> None:
        """One event in; the actions that follow are begun."""
        now_ns = self.now_ns
        actions = step(self.pool, now_ns, event)
        self._note(now_ns, event, actions)
        carry_out = self._carry_out
        for action in actions:
            carry_out[type(action)](action)

    def _after(self, delay_ns: int, what: _What) -> int:
        self._scheduled = number = self._scheduled + 1
        self._agenda.add((self.now_ns + delay_ns, number, what))
        return number

    # --- shared processors --------------------------------------------------------------------------------------

    def _share(self, name: str, work_ns: int, job: _Job) -> None:
        """Do `job` after so much work on the shared processors, or after that time where nothing is shared."""
        shared = self._shared.get(name)
        if shared is None:
            self._after(work_ns, job)
            return
        shared.add(self.now_ns, work_ns, job)
        self._look_again(name, shared)

    def _look_again(self, name: str, shared: Sharing[_Job]) -> None:
        next_ns = shared.next_ns()
        if next_ns >= 0:
            self._looks[name] = self._after(next_ns - self.now_ns, name)

    def _look(self, name: str, number: int) -> None:
        if self._looks[name] != number:
            return
        shared = self._shared[name]
        for job in shared.due(self.now_ns):
            job()
        self._look_again(name, shared)

    # --- actions ------------------------------------------------------------------------------------------------

    def _start(self, action: act.Start) -> None:
        self._ledger.starts += 1
        request = self._requests.get(action.activation) if action.activation is not None else None
        took_ns, event = self._chance.start(action, request)
        if "starts" in self._shared:
            self._share("starts", took_ns, partial(self.feed, event))
        else:
            self._after(took_ns, event)

    def _dispatch(self, action: act.Dispatch) -> None:
        request = self._requests.pop(action.activation)
        now_ns = self.now_ns
        dispatched(request, now_ns, action)
        if action.kind != "warm":
            init_ns = self._chance.init_ns(request)
            self._share("cpu", init_ns, partial(self._initialized, request, action))
        elif self._plain_logs_ns >= 0:  # what `_run` comes to where nothing fails or is shared: the way of nearly all
            request.began_ns = now_ns
            ended_ns = now_ns + request.run_ns
            self._record(request, ended_ns, True)
            self._scheduled = number = self._scheduled + 1
            finished = ev.RunFinished(action.container, action.activation, True)
            self._agenda.add((ended_ns + self._plain_logs_ns, number, finished))
        else:
            self._run(request, action)

    def _initialized(self, request: Request, action: act.Dispatch) -> None:
        if self._chance.init_fails(request):
            request.began_ns = self.now_ns
            self._ended(request, action, 0, good=False)
            return
        self.feed(ev.ContainerInitialized(action.container, self.now_ns - request.dispatched_ns))
        self._run(request, action)

    def _run(self, request: Request, action: act.Dispatch) -> None:
        request.began_ns = self.now_ns
        if "cpu" in self._shared:
            self._share("cpu", request.run_ns, partial(self._ran, request, action, 0))
        else:
            self._ran(request, action, request.run_ns)

    def _ran(self, request: Request, action: act.Dispatch, in_ns: int) -> None:
        """The run ends in so many ns, which is certain by now."""
        chance = self._chance
        self._ended(request, action, in_ns, chance.flawless or not chance.run_fails(request))

    def _ended(self, request: Request, action: act.Dispatch, in_ns: int, good: bool) -> None:
        """The answer is there in so many ns; the container is busy until its log is collected."""
        self._record(request, self.now_ns + in_ns, good)
        event = ev.RunFinished(action.container, action.activation, good)
        self._after(in_ns + self._chance.logs_ns(request), event)

    def _refuse(self, action: act.Refuse) -> None:
        self._recorder.refused(self._requests.pop(action.activation), self.now_ns, action)

    def _pause(self, action: act.Pause) -> None:
        self._after(*self._chance.pause(action.container))

    def _unpause(self, action: act.Unpause) -> None:
        self._after(*self._chance.thaw(action.container))

    def _remove(self, action: act.Remove) -> None:
        removals = self._ledger.removals
        removals[action.reason] = removals.get(action.reason, 0) + 1
        self._after(*self._chance.remove(action.container))

    def _enqueue(self, _action: act.Enqueue) -> None:
        """It waits inside the pool, which answers for it later."""

    def _arm_timer(self, action: act.ArmTimer) -> None:
        self._timers[action.timer] = self._after(action.at_ns - self.now_ns, ev.TimerFired(action.timer))

    def _cancel_timer(self, action: act.CancelTimer) -> None:
        self._timers.pop(action.timer, None)

    def _hold(self, _action: act.HoldIntake) -> None:
        self._ledger.holds += 1

    def _resume(self, _action: act.ResumeIntake) -> None:
        """A single node's invocations come over HTTP, which is never held."""

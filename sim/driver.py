"""◇ The driver on SimPy: the mirror of `invoker.driver`, with drawn latencies where that has a machine.

Its methods are those of the invoker's driver, one by one; nothing here decides. It proves the fast driver, and is the
place to join the heart to models that others wrote for SimPy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeAlias, cast

import simpy
from simpy.core import EmptySchedule

from invoker.policy import Pool, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId
from sim.body import Ledger, dispatched, requests
from sim.errors import SimulationError
from sim.node import Chance, Node, Request
from sim.recorder import Recorder
from sim.sharing import Sharing, of_cpus, of_table
from sim.workload import Workload

_Job: TypeAlias = partial[None]


class SimPyDriver:
    """Joins a pool, a node's chance, a recorder and SimPy's environment; `run` it once.

    `timers` and `looks` hold the SimPy event that counts; an older one that comes up does nothing.
    """

    def __init__(self, pool: Pool, node: Node, chance: Chance, recorder: Recorder, ledger: Ledger) -> None:
        self.pool = pool
        self.environment = simpy.Environment()
        self._node = node
        self._chance = chance
        self._recorder = recorder
        self._ledger = ledger
        self._requests: dict[ActivationId, Request] = {}
        self._alive = 0
        self._arriving = True
        self._timers: dict[ev.TimerName, simpy.Event] = {}
        self._shared: dict[str, Sharing[_Job]] = {}
        self._looks: dict[str, simpy.Event] = {}
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

    @property
    def now_ns(self) -> int:
        """The heart's time."""
        return int(self.environment.now)

    def run(self, workload: Workload) -> None:
        """From the first invocation until the last is settled. Raises SimulationError where one never is."""
        if self._node.stock:
            self.feed(ev.StockChanged(self._node.stock))
        self.environment.process(self._arrivals(workload))
        try:
            while self._alive or self._arriving:
                self.environment.step()
        except EmptySchedule as error:
            waiting = f"{self._alive} invocations wait for what will never happen: {self.pool!r}"
            raise SimulationError(waiting) from error
        self._ledger.close(self.now_ns)

    def feed(self, event: ev.AnyEvent) -> None:
        """One event in; the actions that follow are begun."""
        now_ns = self.now_ns
        actions = step(self.pool, now_ns, event)
        self._ledger.note(now_ns, event, actions)
        carry_out = self._carry_out
        for action in actions:
            carry_out[type(action)](action)

    # --- for the invocations ------------------------------------------------------------------------------------

    def _arrivals(self, workload: Workload) -> Generator[simpy.Event, None, None]:
        for request in requests(workload, self._chance, self._recorder):
            yield self.environment.timeout(request.arrived_ns - self.now_ns)
            self.acquire(request)
        self._arriving = False

    def acquire(self, request: Request) -> None:
        """Ask for a container; Dispatch or Refuse answers."""
        activation = request.activation
        self._requests[activation] = request
        self._alive += 1
        key, stem, concurrency = self._chance.asks[request.function]
        self.feed(ev.InvocationArrived(activation, key, stem, concurrency))

    def initialized(self, request: Request, action: act.Dispatch) -> None:
        """The container took the function's code, or did not."""
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
        self._recorder.ran(request, self.now_ns + in_ns, good)
        self._after(in_ns + self._chance.logs_ns(request), partial(self.release, action, good))

    def release(self, action: act.Dispatch, reusable: bool) -> None:
        """The activation is out of its container."""
        self._alive -= 1
        self.feed(ev.RunFinished(action.container, action.activation, reusable))

    # --- time ---------------------------------------------------------------------------------------------------

    def _after(self, delay_ns: int, job: _Job) -> None:
        self._timeout(delay_ns, lambda _event: job())

    def _timeout(self, delay_ns: int, callback: Callable[[simpy.Event], None]) -> simpy.Event:
        timeout = self.environment.timeout(delay_ns)
        cast(Any, timeout).callbacks.append(callback)
        return timeout

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
            self._looks[name] = self._timeout(next_ns - self.now_ns, partial(self._look, name))

    def _look(self, name: str, look: simpy.Event) -> None:
        if self._looks[name] is not look:
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
        self._share("starts", took_ns, partial(self.feed, event))

    def _dispatch(self, action: act.Dispatch) -> None:
        request = self._requests.pop(action.activation)
        dispatched(request, self.now_ns, action)
        if action.kind == "warm":
            self._run(request, action)
        else:
            self._share("cpu", self._chance.init_ns(request), partial(self.initialized, request, action))

    def _refuse(self, action: act.Refuse) -> None:
        self._alive -= 1
        self._recorder.refused(self._requests.pop(action.activation), self.now_ns, action)

    def _pause(self, action: act.Pause) -> None:
        self._answer(*self._chance.pause(action.container))

    def _unpause(self, action: act.Unpause) -> None:
        self._answer(*self._chance.thaw(action.container))

    def _remove(self, action: act.Remove) -> None:
        removals = self._ledger.removals
        removals[action.reason] = removals.get(action.reason, 0) + 1
        self._answer(*self._chance.remove(action.container))

    def _answer(self, delay_ns: int, event: ev.AnyEvent) -> None:
        self._after(delay_ns, partial(self.feed, event))

    def _enqueue(self, _action: act.Enqueue) -> None:
        """It waits inside the pool, which answers for it later."""

    def _arm_timer(self, action: act.ArmTimer) -> None:
        delay_ns = action.at_ns - self.now_ns
        self._timers[action.timer] = self._timeout(delay_ns, partial(self._fire, action.timer))

    def _fire(self, name: ev.TimerName, timer: simpy.Event) -> None:
        if self._timers.get(name) is timer:
            del self._timers[name]
            self.feed(ev.TimerFired(name))

    def _cancel_timer(self, action: act.CancelTimer) -> None:
        self._timers.pop(action.timer, None)

    def _hold(self, _action: act.HoldIntake) -> None:
        self._ledger.holds += 1

    def _resume(self, _action: act.ResumeIntake) -> None:
        """A single node's invocations come over HTTP, which is never held."""

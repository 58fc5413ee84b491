"""◇ The driver of a node: the mirror of `invoker.driver`, with drawn latencies where that has a machine.

Its methods are those of the invoker's driver, one by one; nothing here decides. It runs on any kernel: on SimPy's it
proves the fast driver, and is the place to join the heart to models that others wrote; several of them on one kernel
are a cluster. It also knows what the fast driver leaves out for speed: runs that hang, and containers that die.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from invoker.policy import Pool, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId, ContainerId
from sim.body import Ledger, dispatched, requests
from sim.errors import SimulationError
from sim.kernel import Job, Kernel
from sim.node import LOG_WAIT_NS, Chance, Node, Request
from sim.recorder import Recorder
from sim.sharing import Sharing, of_cpus, of_table
from sim.workload import Workload


class _Stay(msgspec.Struct, eq=False):
    """An activation in a container that may die. `job` ends the stage that it is in."""

    request: Request
    action: act.Dispatch
    job: Job | None = None


class NodeDriver:
    """Joins a pool, a node's chance and a recorder to a kernel; `run` it once.

    `timers` and `looks` hold the number of the one that counts; an older one that comes up does nothing. `inside` are
    the activations in each container, where containers die; `dead` those that did and are not removed yet.
    """

    def __init__(
        self, kernel: Kernel, pool: Pool, node: Node, chance: Chance, recorder: Recorder, ledger: Ledger
    ) -> None:
        self.pool = pool
        self.kernel = kernel
        self._after = kernel.after
        self._node = node
        self._chance = chance
        self._recorder = recorder
        self._ledger = ledger
        self._requests: dict[ActivationId, Request] = {}
        self._alive = 0
        self._arriving = False
        self._number = 0
        self._timers: dict[ev.TimerName, int] = {}
        self._shared: dict[str, Sharing[Job]] = {}
        self._looks: dict[str, int] = {}
        self._inside: dict[ContainerId, dict[ActivationId, _Stay]] = {}
        self._dead: set[ContainerId] = set()
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
            act.Drained: self._note_drained,
        }

    @property
    def now_ns(self) -> int:
        """The heart's time."""
        return self.kernel.now_ns

    def run(self, workload: Workload) -> None:
        """From the first invocation until the last is settled. Raises SimulationError where one never is."""
        self.begin()
        arrivals = requests(workload, self._chance, self._recorder)
        self._arriving = True

        def arrive(request: Request) -> None:
            self.acquire(request)
            expect()

        def expect() -> None:
            request = next(arrivals, None)
            if request is not None:
                self._after(request.arrived_ns - self.now_ns, partial(arrive, request))
                return
            self._arriving = False
            if not self._alive:
                self.kernel.stop()

        expect()
        if not self.kernel.run():
            raise SimulationError(f"{self._alive} invocations wait for what will never happen: {self.pool!r}")
        self._ledger.close(self.now_ns)

    def begin(self) -> None:
        """The node is there, and learns which prewarmed containers are wanted."""
        if self._node.stock:
            self.feed(ev.StockChanged(self._node.stock))

    def feed(self, event: ev.AnyEvent) -> None:
        """One event in; the actions that follow are begun."""
        now_ns = self.kernel.now_ns
        actions = step(self.pool, now_ns, event)
        self._ledger.note(now_ns, event, actions)
        carry_out = self._carry_out
        for action in actions:
            carry_out[type(action)](action)

    # --- for the invocations ------------------------------------------------------------------------------------

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
        request.began_ns = self.kernel.now_ns
        if not self._chance.steady and self._chance.hangs(request):
            self._ended(request, action, self._node.limit_ns, good=False, hung=True)
        elif "cpu" in self._shared:
            self._stage(request, action, request.run_ns, partial(self._ran, request, action, 0))
        else:
            self._ran(request, action, request.run_ns)

    def _ran(self, request: Request, action: act.Dispatch, in_ns: int) -> None:
        """The run ends in so many ns, if its container lives."""
        chance = self._chance
        self._ended(request, action, in_ns, chance.flawless or not chance.run_fails(request))

    def _ended(self, request: Request, action: act.Dispatch, in_ns: int, good: bool, hung: bool = False) -> None:
        """The answer is there in so many ns; the container is busy until its log is collected."""
        request.ended_ns = self.kernel.now_ns + in_ns
        logs_ns = LOG_WAIT_NS if hung else self._chance.logs_ns(request)
        job = partial(self.release, request, action, good)
        self._after(in_ns + logs_ns, self._unless_cut(request, job) if self._chance.mortal else job)

    def release(self, request: Request, action: act.Dispatch, reusable: bool) -> None:
        """The activation is out of its container."""
        if self._chance.mortal:
            del self._inside[action.container][action.activation]
        self._recorder.ran(request, request.ended_ns, reusable)
        self._settled(request, None)
        self.feed(ev.RunFinished(action.container, action.activation, reusable))

    def _settled(self, request: Request, refusal: act.Refuse | None) -> None:
        """The node has done with the invocation."""
        self._alive -= 1
        if not (self._alive or self._arriving):
            self.kernel.stop()

    # --- deaths -------------------------------------------------------------------------------------------------

    def _started(self, event: ev.ContainerStarted, lifetime_ns: int) -> None:
        self._inside[event.container] = {}
        self._after(lifetime_ns, partial(self._died, event.container))
        self.feed(event)

    def _died(self, container: ContainerId) -> None:
        inside = self._inside.get(container)
        if inside is None:  # it was removed before
            return
        self._dead.add(container)
        self.feed(ev.ContainerDied(container))
        for stay in list(inside.values()):
            self._cut_off(stay)

    def _cut_off(self, stay: _Stay) -> None:
        """The container is dead: what is inside ends now, but for a log that is collected already."""
        request, now_ns = stay.request, self.now_ns
        if 0 <= request.ended_ns <= now_ns:
            return
        if stay.job is not None and "cpu" in self._shared:
            self._shared["cpu"].drop(now_ns, stay.job)
            self._look_again("cpu")
        if request.began_ns < 0:
            request.began_ns = now_ns
        request.cut = True
        request.ended_ns = now_ns
        self._after(self._chance.logs_ns(request), partial(self.release, request, stay.action, False))

    def _unless_cut(self, request: Request, job: Job) -> Job:
        return lambda: None if request.cut else job()

    # --- time ---------------------------------------------------------------------------------------------------

    def _stage(self, request: Request, action: act.Dispatch, work_ns: int, job: Job) -> None:
        """Part of a stay, on a CPU; `job` ends it, if the container lives."""
        if self._chance.mortal:
            job = self._unless_cut(request, job)
            self._inside[action.container][action.activation].job = job
        self._share("cpu", work_ns, job)

    def _share(self, name: str, work_ns: int, job: Job) -> None:
        """Do `job` after so much work on the shared processors, or after that time where nothing is shared."""
        shared = self._shared.get(name)
        if shared is None:
            self._after(work_ns, job)
            return
        shared.add(self.now_ns, work_ns, job)
        self._look_again(name)

    def _look_again(self, name: str) -> None:
        next_ns = self._shared[name].next_ns()
        self._looks[name] = self._number = number = self._number + 1
        if next_ns >= 0:
            self._after(next_ns - self.now_ns, partial(self._look, name, number))

    def _look(self, name: str, number: int) -> None:
        if self._looks[name] != number:
            return
        for job in self._shared[name].due(self.now_ns):
            job()
        self._look_again(name)

    # --- actions ------------------------------------------------------------------------------------------------

    def _start(self, action: act.Start) -> None:
        self._ledger.starts += 1
        request = self._requests.get(action.activation) if action.activation is not None else None
        took_ns, event = self._chance.start(action, request)
        if self._chance.mortal and isinstance(event, ev.ContainerStarted):
            self._share("starts", took_ns, partial(self._started, event, self._chance.lifetime_ns(request)))
        else:
            self._share("starts", took_ns, partial(self.feed, event))

    def _dispatch(self, action: act.Dispatch) -> None:
        request = self._requests.pop(action.activation)
        dispatched(request, self.kernel.now_ns, action)
        if self._chance.mortal:
            stay = self._inside[action.container][action.activation] = _Stay(request, action)
            if action.container in self._dead:  # nobody had noticed
                self._cut_off(stay)
                return
        if action.kind == "warm":
            self._run(request, action)
        else:
            init_ns = self._chance.init_ns(request)
            self._stage(request, action, init_ns, partial(self.initialized, request, action))

    def _refuse(self, action: act.Refuse) -> None:
        request = self._requests.pop(action.activation)
        self._recorder.refused(request, self.now_ns, action)
        self._settled(request, action)

    def _pause(self, action: act.Pause) -> None:
        delay_ns, event = self._chance.pause(action.container)
        if action.container in self._dead:
            event = ev.PauseFailed(action.container)
        self._after(delay_ns, partial(self.feed, event))

    def _unpause(self, action: act.Unpause) -> None:
        delay_ns, event = self._chance.thaw(action.container)
        self._after(delay_ns, partial(self._thawed, action.container, event))

    def _thawed(self, container: ContainerId, event: ev.AnyEvent) -> None:
        self.feed(ev.UnpauseFailed(container, "exited") if container in self._dead else event)

    def _remove(self, action: act.Remove) -> None:
        self._inside.pop(action.container, None)
        self._dead.discard(action.container)
        removals = self._ledger.removals
        removals[action.reason] = removals.get(action.reason, 0) + 1
        delay_ns, event = self._chance.remove(action.container)
        self._after(delay_ns, partial(self.feed, event))

    def _enqueue(self, _action: act.Enqueue) -> None:
        """It waits inside the pool, which answers for it later."""

    def _arm_timer(self, action: act.ArmTimer) -> None:
        self._timers[action.timer] = self._number = number = self._number + 1
        self._after(action.at_ns - self.now_ns, partial(self._fire, action.timer, number))

    def _fire(self, name: ev.TimerName, number: int) -> None:
        if self._timers.get(name) == number:
            del self._timers[name]
            self.feed(ev.TimerFired(name))

    def _cancel_timer(self, action: act.CancelTimer) -> None:
        self._timers.pop(action.timer, None)

    def _hold(self, _action: act.HoldIntake) -> None:
        self._ledger.holds += 1

    def _resume(self, _action: act.ResumeIntake) -> None:
        """A single node's invocations come over HTTP, which is never held."""

    def _note_drained(self, _action: act.Drained) -> None:
        """Only a node of a cluster is ever drained."""

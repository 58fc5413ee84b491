"""◆ The driver: the only place that calls `step`. It turns what happens into events and carries out the actions.

Nothing here decides. Each action that asks the world for something is begun as a task, which reports back with exactly
one event; `feed` never waits. A simulator's driver answers the same actions after drawn latencies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from invoker.errors import ContainerFault, InvokerError, StartFailed
from invoker.io.decision_log import DecisionLog
from invoker.policy import Pool, step
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.queueing import EarliestDeadline
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey
from invoker.ports import Clock, Container, ContainerEngine, ContainerSpec

log = logging.getLogger(__name__)


class Refused(InvokerError):
    """The pool will not run the activation. `fault` tells whose doing it is, `lost` the container that it waited for
    and that died or could not be thawed."""

    def __init__(self, reason: act.RefuseReason, fault: ev.Fault, lost: Container | None) -> None:
        super().__init__(f"the pool refused the activation: {reason}")
        self.reason: act.RefuseReason = reason
        self.fault: ev.Fault = fault
        self.lost = lost


class Request(msgspec.Struct, eq=False):
    """An activation's wish for a container. `names` is (namespace, action), for the container's name. `limit_ns` is
    its action's time limit."""

    activation: ActivationId
    key: WarmKey
    stem: PrewarmKey
    concurrency: int
    names: tuple[str, str]
    limit_ns: int = 0
    arrived_ns: int = 0
    start_asked_ns: int = 0
    evicted: tuple[Container, ...] = ()
    answer: Lease | Refused | None = None
    future: asyncio.Future[None] | None = None


class Lease(msgspec.Struct, eq=False):
    """A container for one activation. Give it back with `Driver.release`, whatever happened.

    Spans in ns, 0 where there was none: `start_ns` of this cold start, `pause_rest_ns` waited for the end of a pause
    that had begun, `unpause_ns` of the thaw, `evict_ns` waited for evictions. `evicted` are the containers that the
    activation's arrival drove out.
    """

    activation: ActivationId
    number: ContainerId
    container: Container
    kind: act.StartKind
    resumed: bool
    start_ns: int = 0
    pause_rest_ns: int = 0
    unpause_ns: int = 0
    evict_ns: int = 0
    evicted: tuple[Container, ...] = ()


class Driver:
    """Joins a pool, an engine and a clock. `images` gives a kind's image; `hold_intake` is told True and False.

    `now` 0 of the heart is the instant of construction.
    """

    def __init__(
        self,
        pool: Pool,
        engine: ContainerEngine,
        clock: Clock,
        images: Callable[[str], str | None],
        decision_log: DecisionLog | None = None,
        hold_intake: Callable[[bool], None] | None = None,
    ) -> None:
        self.pool = pool
        self._engine = engine
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._images = images
        self._decision_log = decision_log
        self._hold_intake = hold_intake
        self._requests: dict[ActivationId, Request] = {}
        self._containers: dict[ContainerId, Container] = {}
        self._thaw_ns: dict[ContainerId, int] = {}
        self._paused_ns: dict[ContainerId, tuple[int, int]] = {}  # when the last pause began and ended
        self._timers: dict[ev.TimerName, asyncio.TimerHandle] = {}
        self._losing: Container | None = None  # while the heart is told of its loss
        self._removed: list[Container] = []  # since an activation last arrived
        self._tasks: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()
        self._by_deadline = isinstance(pool.policies.queueing, EarliestDeadline)
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
        return self._clock.monotonic_ns() - self._began_ns

    def feed(self, event: ev.AnyEvent) -> None:
        """One event in; the actions that follow are begun."""
        now_ns = self.now_ns
        actions = step(self.pool, now_ns, event)
        if self._decision_log is not None:
            self._decision_log.append(now_ns, event, actions)
        carry_out = self._carry_out
        for action in actions:
            carry_out[type(action)](action)

    # --- for the runner -----------------------------------------------------------------------------------------

    async def acquire(self, request: Request) -> Lease:
        """Wait for a container. Raises Refused. Not to be cancelled: an accepted activation runs to its end."""
        while request.activation in self._requests or request.activation in self.pool.placed:
            # A controller that sends an activation twice gets it run twice, as from the reference.
            request.activation = ActivationId(request.activation + "'")
        self._requests[request.activation] = request
        request.arrived_ns = self.now_ns
        self._removed.clear()
        budget_ns = request.limit_ns if self._by_deadline else 0
        self.feed(ev.InvocationArrived(request.activation, request.key, request.stem, request.concurrency, budget_ns))
        if self._removed:
            request.evicted, self._removed = tuple(self._removed), []
        if request.answer is None:
            request.future = asyncio.get_running_loop().create_future()
            await request.future
        answer = request.answer
        if isinstance(answer, Lease):
            return answer
        assert answer is not None
        raise answer

    def initialized(self, lease: Lease, init_ns: int) -> None:
        """The container took the action's code."""
        self.feed(ev.ContainerInitialized(lease.number, init_ns))

    def release(self, lease: Lease, reusable: bool) -> None:
        """The activation is out of its container."""
        self.feed(ev.RunFinished(lease.number, lease.activation, reusable))

    # --- for the lifecycle --------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take nothing new, finish what was taken, remove every container; returns when the pool is drained."""
        self.feed(ev.DrainRequested())
        await self._drained.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abandon(self) -> None:
        """End all that is under way without waiting for it; the engine removes what stands."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- actions ------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, action: act.Start) -> None:
        request = self._requests.get(action.activation) if action.activation is not None else None
        kind, memory_mb = action.stem
        names = ("prewarm", kind) if request is None else request.names
        if request is not None:
            request.start_asked_ns = self.now_ns
        self._begin(self._do_start(ContainerSpec(action.container, kind, self._images(kind) or "", memory_mb, names)))

    async def _do_start(self, spec: ContainerSpec) -> None:
        number = spec.number
        try:
            container = await self._engine.start(spec, partial(self._died, number))
        except StartFailed as error:
            log.warning("container %d (%s) could not be started: %s", number, spec.kind, error)
            self.feed(ev.ContainerStartFailed(number, error.leaked))
        except Exception:
            log.exception("container %d (%s) could not be started", number, spec.kind)
            self.feed(ev.ContainerStartFailed(number))
        else:
            self._containers[number] = container
            self.feed(ev.ContainerStarted(number))

    def _died(self, number: ContainerId, oom: bool) -> None:
        self._lose(number, ev.ContainerDied(number, oom))

    def _lose(self, number: ContainerId, event: ev.ContainerDied | ev.UnpauseFailed) -> None:
        self._losing = self._containers.get(number)
        self.feed(event)
        self._losing = None

    def _dispatch(self, action: act.Dispatch) -> None:
        number = action.container
        request = self._requests.pop(action.activation)
        lease = Lease(action.activation, number, self._containers[number], action.kind, action.resumed)
        if action.kind == "cold" and request.start_asked_ns:
            lease.start_ns = self.now_ns - request.start_asked_ns
            lease.evict_ns = request.start_asked_ns - request.arrived_ns
        if action.resumed:
            lease.unpause_ns = self._thaw_ns.get(number, 0)
            began_ns, ended_ns = self._paused_ns.get(number, (0, 0))
            if began_ns < request.arrived_ns < ended_ns:
                lease.pause_rest_ns = ended_ns - request.arrived_ns
        lease.evicted = request.evicted
        self._answer(request, lease)

    def _refuse(self, action: act.Refuse) -> None:
        lost = self._losing if action.reason == "container lost" else None
        self._answer(self._requests.pop(action.activation), Refused(action.reason, action.fault, lost))

    def _answer(self, request: Request, answer: Lease | Refused) -> None:
        request.answer = answer
        if request.future is not None:
            request.future.set_result(None)

    def _pause(self, action: act.Pause) -> None:
        self._begin(self._do_pause(action.container, self._containers[action.container]))

    async def _do_pause(self, number: ContainerId, container: Container) -> None:
        began_ns = self.now_ns
        try:
            await container.pause()
        except ContainerFault as error:
            log.warning("container %d could not be paused: %s", number, error)
            self.feed(ev.PauseFailed(number))
        except Exception:
            log.exception("container %d could not be paused", number)
            self.feed(ev.PauseFailed(number))
        else:
            self._paused_ns[number] = (began_ns, self.now_ns)
            self.feed(ev.Paused(number))

    def _unpause(self, action: act.Unpause) -> None:
        self._begin(self._do_unpause(action.container, self._containers[action.container]))

    async def _do_unpause(self, number: ContainerId, container: Container) -> None:
        began_ns = self.now_ns
        try:
            await container.unpause()
        except ContainerFault as error:
            log.warning("container %d could not be thawed: %s", number, error)
            self._lose(number, ev.UnpauseFailed(number, error.fault))
        except Exception:
            log.exception("container %d could not be thawed", number)
            self._lose(number, ev.UnpauseFailed(number, "platform"))
        else:
            self._thaw_ns[number] = self.now_ns - began_ns
            self.feed(ev.Unpaused(number))

    def _remove(self, action: act.Remove) -> None:
        self._thaw_ns.pop(action.container, None)
        self._paused_ns.pop(action.container, None)
        container = self._containers.pop(action.container)
        self._removed.append(container)
        self._begin(self._do_remove(action.container, container))

    async def _do_remove(self, number: ContainerId, container: Container) -> None:
        try:
            await container.remove()
        except ContainerFault as error:
            log.error("container %d could not be removed, it stays taken: %s", number, error)
            self.feed(ev.RemoveFailed(number))
        except Exception:
            log.exception("container %d could not be removed, it stays taken", number)
            self.feed(ev.RemoveFailed(number))
        else:
            self.feed(ev.Removed(number))

    def _enqueue(self, action: act.Enqueue) -> None:
        log.debug("activation %s waits for memory", action.activation)

    def _arm_timer(self, action: act.ArmTimer) -> None:
        self._cancel(action.timer)
        delay_s = (action.at_ns - self.now_ns) / 1e9
        handle = asyncio.get_running_loop().call_later(max(0.0, delay_s), self._fire, action)
        self._timers[action.timer] = handle

    def _fire(self, action: act.ArmTimer) -> None:
        if self.now_ns < action.at_ns:  # the loop's clock is coarser than the heart's
            self._arm_timer(action)
            return
        del self._timers[action.timer]
        self.feed(ev.TimerFired(action.timer))

    def _cancel_timer(self, action: act.CancelTimer) -> None:
        self._cancel(action.timer)

    def _cancel(self, timer: ev.TimerName) -> None:
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def _hold(self, _action: act.HoldIntake) -> None:
        if self._hold_intake is not None:
            self._hold_intake(True)

    def _resume(self, _action: act.ResumeIntake) -> None:
        if self._hold_intake is not None:
            self._hold_intake(False)

    def _note_drained(self, _action: act.Drained) -> None:
        self._drained.set()

"""◇ `step`: one event in, the actions that follow out.

Rules of the heart: no I/O, no clock, no chance, no waiting. `now_ns` comes with the event; ids count; what is
iterated over is ordered. The same events give the same actions on every machine, so a recorded run can be replayed.

Below `step` stands one handler for each event, in the order of `events`. Each checks before it changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy import stock
from invoker.policy.container import TRANSITIONS, Container, Input, PolicyError, State
from invoker.policy.function import Function
from invoker.policy.pool import NOT_INSIDE, Pool
from invoker.policy.types import ActivationId, ContainerId

_BUSY, _TAINTED, _PAUSED, _PREWARM = State.BUSY, State.TAINTED, State.PAUSED, State.PREWARM  # an Enum's look-up is slow
_USED = (State.BUSY, State.TAINTED)
_UNUSED = (State.IDLE, State.PAUSING, State.PAUSED)
_EMPTIED = TRANSITIONS[State.BUSY]["emptied"]  # a row of the table, looked up once


def step(pool: Pool, now_ns: int, event: ev.AnyEvent) -> list[act.AnyAction]:
    """Feed one event at the instant `now_ns`, which never goes back. Returns the actions in the order to begin them.

    Raises PolicyError for an event that can't be, the pool unchanged.
    """
    if now_ns < pool.now_ns:
        raise PolicyError(f"time went back from {pool.now_ns} to {now_ns}")
    before_ns, pool.now_ns = pool.now_ns, now_ns
    made: list[act.AnyAction] = []
    pool.actions = made
    try:
        _HANDLERS[type(event)](pool, event)
    except PolicyError:
        pool.now_ns = before_ns
        raise
    if pool.draining:
        pool.finish_drain()
    return made


def _arrived(pool: Pool, event: ev.InvocationArrived) -> None:
    activation = event.activation
    if activation in pool.placed or activation in pool.waiting:
        raise PolicyError(f"activation {activation} is in the pool already")
    if pool.draining:
        pool.actions.append(act.Refuse(activation, "draining"))
    elif event.stem.memory_mb > pool.policies.capacity_mb - pool.quarantined_mb:
        pool.actions.append(act.Refuse(activation, "too large"))
    else:
        function = pool.functions.get(event.key) or pool.function(event.key, event.stem, event.concurrency)
        if pool.heeds_arrivals:
            pool.keep_alive.arrived(function, pool.now_ns)
        pool.admission.arrived(function, activation, event.budget_ns)
        if pool.foresees:  # its window is over, and perhaps it ran elsewhere
            pool.limit_surplus(function.stem, pool.now_ns + pool.policies.surplus_ns)


def _known(pool: Pool, number: ContainerId) -> Container | None:
    """The container; None for one that is gone, of which late news is no error."""
    container = pool.containers.get(number)
    if container is None and not 0 < number <= pool.last_id:
        raise PolicyError(f"there never was a container {number}")
    return container


def _standing(pool: Pool, number: ContainerId) -> Container:
    container = pool.containers.get(number)
    if container is None:
        _known(pool, number)
        raise PolicyError(f"container {number} is gone: this can't happen to it")
    return container


def _started(pool: Pool, event: ev.ContainerStarted) -> None:
    container = _standing(pool, event.container)
    owner = container.owner
    container.move("started" if owner is None else "assigned")
    container.start_ns = pool.now_ns - container.asked_ns
    pool.starting -= 1
    if owner is None:
        stem = pool.stem(container.stem)
        stem.starting -= 1
        stem.failures = 0
        pool.admission.stock_started(container)
    else:
        function = container.function
        assert function is not None
        container.owner = None
        del function.starting[owner]
        pool.run_in(container, owner, "cold")
    _after_release(pool)


def _start_failed(pool: Pool, event: ev.ContainerStartFailed) -> None:
    container = _standing(pool, event.container)
    container.move("start leaked" if event.leaked else "start failed")
    if event.leaked:
        _quarantine(pool, container)
    else:
        _gone(pool, container)
    pool.starting -= 1
    owner = container.owner
    pool.admission.start_failed(container, owned=owner is not None)
    if owner is None:
        stock.failed(pool, pool.stem(container.stem))
    else:
        container.owner = None
        function, claims = pool.part(container)
        del function.starting[owner]
        pool.settle(owner)
        pool.actions.append(act.Refuse(owner, "start failed"))
        _replace(pool, function, claims)
        pool.forget(function)
    _after_release(pool)


def _initialized(pool: Pool, event: ev.ContainerInitialized) -> None:
    container = _standing(pool, event.container)
    if container.state not in _USED or container.initialized:
        raise PolicyError(f"container {container.id} is {container.state.value}: it has nothing to initialise")
    container.initialized = True
    function = container.function
    assert function is not None
    cost_ns = container.start_ns + event.init_ns
    function.cost_ns = cost_ns if not function.cost_ns else (3 * function.cost_ns + cost_ns) // 4
    claims = list(container.claims)
    container.claims.clear()
    for activation in claims:
        container.move("join")
        pool.run_in(container, activation, "warm")


def _run_finished(pool: Pool, event: ev.RunFinished) -> None:
    activation = event.activation
    place = pool.placed.get(activation)
    if place is None or place[1].id != event.container or place[2] == NOT_INSIDE:
        raise PolicyError(f"activation {activation} does not run in container {_standing(pool, event.container).id}")
    function, container, dispatched_ns = place
    left = container.running > 1
    tainted = container.state is _TAINTED
    if event.reusable and not container.initialized:
        raise PolicyError(f"container {container.id} was never initialised: nothing good can have run in it")
    if event.reusable and not tainted:  # the way of nearly all, so calls are spared here
        if left or container.state is not _BUSY:
            container.move("finished" if left else "emptied")
        else:
            container.state = _EMPTIED
        container.running -= 1
        run_ns = pool.now_ns - dispatched_ns
        usual_ns = function.run_ns
        function.run_ns = usual_ns + ((run_ns - usual_ns) >> 3) if usual_ns else run_ns
        function.active -= 1
        del pool.placed[activation]
        if left:
            function.roomy[container.id] = container
        pool.admission.released(container, function, not left)
        return
    container.move(("finished" if tainted else "tainted") if left else "remove")
    container.running -= 1
    function.active -= 1
    pool.settle(activation)
    if left:
        function.roomy.pop(container.id, None)
        claims = list(container.claims)
        container.claims.clear()
    else:
        claims = pool.part(container)[1]
        pool.admission.spoilt(container)
        pool.send_away(container, "tainted")
    _replace(pool, function, claims)
    pool.forget(function)


def _replace(pool: Pool, function: Function, claims: list[ActivationId]) -> None:
    """Activations lost the container that they waited for: place them anew, before all who wait."""
    for activation in claims:
        pool.settle(activation)
    for activation in claims:
        pool.admission.replaced(function, activation)


def _paused(pool: Pool, event: ev.Paused) -> None:
    container = _known(pool, event.container)
    if container is None:
        return
    container.move("paused")
    if container.state is _PAUSED and container.claims:
        container.move("unpause")
        pool.actions.append(act.Unpause(container.id))


def _pause_failed(pool: Pool, event: ev.PauseFailed) -> None:
    container = _known(pool, event.container)
    if container is None:
        return
    if container.state is State.PAUSING:
        _lose(pool, container, "pause failed", "pause failed", "platform")
    else:
        container.move("pause failed")


def _unpaused(pool: Pool, event: ev.Unpaused) -> None:
    container = _known(pool, event.container)
    if container is None:
        return
    container.move("unpaused")
    claims = list(container.claims)
    container.claims.clear()
    for activation in claims:
        pool.run_in(container, activation, "warm", resumed=True)


def _unpause_failed(pool: Pool, event: ev.UnpauseFailed) -> None:
    container = _known(pool, event.container)
    if container is None:
        return
    if container.state is State.UNPAUSING:
        _lose(pool, container, "unpause failed", "unpause failed", event.fault)
    else:
        container.move("unpause failed")


def _lose(pool: Pool, container: Container, by: Input, reason: act.RemoveReason, fault: ev.Fault) -> None:
    """A container that was to serve again is of no use: remove it, and decide about those who waited for it."""
    if not container.claims:
        pool.remove_idle(container, reason, by)
        return
    container.move(by)
    pool.admission.lost(container, reason, fault)


def _removed(pool: Pool, event: ev.Removed) -> None:
    container = _standing(pool, event.container)
    container.move("removed")
    pool.removing_mb -= container.memory_mb
    _gone(pool, container)
    pool.admission.removed(container)
    _after_release(pool)


def _remove_failed(pool: Pool, event: ev.RemoveFailed) -> None:
    container = _standing(pool, event.container)
    container.move("remove failed")
    pool.removing_mb -= container.memory_mb
    _quarantine(pool, container)
    pool.admission.removed(container)
    _after_release(pool)


def _gone(pool: Pool, container: Container) -> None:
    del pool.containers[container.id]
    pool.charged_mb -= container.memory_mb


def _quarantine(pool: Pool, container: Container) -> None:
    """What it holds stays taken. Who can't ever fit into the rest is told so now."""
    pool.quarantined += 1
    pool.quarantined_mb += container.memory_mb
    left_mb = pool.policies.capacity_mb - pool.quarantined_mb
    for invocation in [waiter for waiter in pool.waiting.values() if waiter.function.memory_mb > left_mb]:
        pool.admission.withdraw(invocation)
        pool.actions.append(act.Refuse(invocation.activation, "too large"))


def _after_release(pool: Pool) -> None:
    pool.admission.serve()
    pool.restock_all()
    pool.gate_intake()


def _died(pool: Pool, event: ev.ContainerDied) -> None:
    container = _known(pool, event.container)
    if container is None:
        return
    if not pool.admission.heeds_deaths and (container.state is State.PREWARM or container.state in _UNUSED):
        return  # the reference finds out when it wants to use the container
    if container.state is State.PREWARM:
        pool.remove_ready(container, "died", "died")
        pool.restock(pool.stem(container.stem))
    elif container.state in _UNUSED:
        _lose(pool, container, "died", "died", "oom" if event.oom else "exited")
    else:
        container.move("died")


def _timer_fired(pool: Pool, event: ev.TimerFired) -> None:
    armed_ns = pool.armed.get(event.timer)
    if armed_ns is None:
        raise PolicyError(f"timer '{event.timer}' is not armed")
    if pool.now_ns < armed_ns:
        raise PolicyError(f"timer '{event.timer}' fired at {pool.now_ns}, before {armed_ns}")
    del pool.armed[event.timer]
    if event.timer == "pause":
        for number in pool.pauses.due(pool.now_ns):
            container = pool.containers[number]
            container.move("pause")
            pool.actions.append(act.Pause(container.id))
        _rearm(pool, "pause", pool.pauses.next_ns())
    elif event.timer == "expire":
        for number in pool.expiries.due(pool.now_ns):
            container = pool.containers[number]
            if container.state is not _PREWARM:
                pool.remove_idle(container, "expired")
            elif len(pool.stem(container.stem).ready) > pool.stem(container.stem).target:
                pool.remove_ready(container, "surplus")
        _rearm(pool, "expire", pool.expiries.next_ns())
    elif event.timer == "stock":
        stock.review(pool)
    else:
        pool.admission.overdue()
        _after_release(pool)


def _rearm(pool: Pool, timer: ev.TimerName, at_ns: int) -> None:
    if at_ns:
        pool.arm(timer, at_ns)


def _drain_requested(pool: Pool, _event: ev.DrainRequested) -> None:
    if pool.draining:
        raise PolicyError("the pool is draining already")
    pool.draining = True
    for stem in pool.stems.values():
        for container in list(stem.ready.values()):
            pool.remove_ready(container, "drain")
    for function in list(pool.functions.values()):
        for container in list(function.idle.values()):
            pool.remove_idle(container, "drain")


_HANDLERS: dict[type[ev.AnyEvent], Callable[[Pool, Any], None]] = {
    ev.InvocationArrived: _arrived,
    ev.ContainerStarted: _started,
    ev.ContainerStartFailed: _start_failed,
    ev.ContainerInitialized: _initialized,
    ev.RunFinished: _run_finished,
    ev.Paused: _paused,
    ev.PauseFailed: _pause_failed,
    ev.Unpaused: _unpaused,
    ev.UnpauseFailed: _unpause_failed,
    ev.Removed: _removed,
    ev.RemoveFailed: _remove_failed,
    ev.ContainerDied: _died,
    ev.TimerFired: _timer_fired,
    ev.StockChanged: stock.changed,
    ev.DrainRequested: _drain_requested,
}

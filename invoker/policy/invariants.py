"""◇ Statements that hold after every step, whatever happened.

`check` knows what must be true, not how the pool makes it true. It looks at everything, so it is for tests, simulation
and samples in production, not for each step there.
"""

from __future__ import annotations

from collections.abc import Iterator

from invoker.policy.admission import Charged
from invoker.policy.container import Container, State
from invoker.policy.deadlines import Deadlines
from invoker.policy.events import TimerName
from invoker.policy.pool import NOT_INSIDE, Pool
from invoker.policy.reference import REMOVALS_WAITING_MAX, Reference
from invoker.policy.types import ContainerId

_UNUSED = (State.IDLE, State.PAUSING, State.PAUSED)


def check(pool: Pool) -> list[str]:
    """What does not hold, in words; empty where all is well."""
    return [
        *_memory(pool),
        *_activations(pool),
        *_containers(pool),
        *_functions(pool),
        *_stock(pool),
        *_queues(pool),
        *_progress(pool),
    ]


def _memory(pool: Pool) -> Iterator[str]:
    """Charged memory is the sum over what stands, and (policy `charged`) never more than the node has."""
    standing_mb = sum(c.memory_mb for c in pool.containers.values())
    removing_mb = sum(c.memory_mb for c in pool.containers.values() if c.state is State.REMOVING)
    quarantined = [c.memory_mb for c in pool.containers.values() if c.state is State.QUARANTINED]
    if pool.charged_mb != standing_mb:
        yield f"{pool.charged_mb} MB are charged, but {standing_mb} MB stand"
    if pool.removing_mb != removing_mb:
        yield f"{pool.removing_mb} MB are said to be on their way out, but {removing_mb} MB are"
    if (pool.quarantined, pool.quarantined_mb) != (len(quarantined), sum(quarantined)):
        yield "the quarantine is miscounted"
    if pool.policies.accounting == "charged" and pool.charged_mb > pool.policies.capacity_mb:
        yield f"{pool.charged_mb} MB are charged on a node of {pool.policies.capacity_mb} MB"
    if isinstance(pool.admission, Charged):
        wanting_mb = sum(waiter.function.memory_mb for waiter in pool.admission.wanting)
        if pool.admission.wanting_mb != wanting_mb or any(
            pool.waiting.get(waiter.activation) is not waiter for waiter in pool.admission.wanting
        ):
            yield "those who want a start are miscounted"
    if isinstance(pool.admission, Reference):
        idle_mb = sum(c.memory_mb for c in pool.containers.values() if c.state in _UNUSED and not c.claims)
        if pool.admission.idle_mb != idle_mb:
            yield f"{pool.admission.idle_mb} MB are said to be idle, but {idle_mb} MB are"
        if not 0 <= pool.admission.in_flight_mb <= pool.policies.capacity_mb:
            yield f"{pool.admission.in_flight_mb} MB in flight on a node of {pool.policies.capacity_mb} MB"


def _activations(pool: Pool) -> Iterator[str]:
    """An activation is in one place, and a warm match never crosses namespace, action or revision."""
    running: dict[ContainerId, int] = {}
    for activation, (function, container, since_ns) in pool.placed.items():
        if activation in pool.waiting:
            yield f"activation {activation} is in two places"
        if pool.containers.get(container.id) is not container:
            yield f"activation {activation} is placed nowhere"
        if container.function is not function:
            yield f"activation {activation} is in a container of another function"
        if since_ns != NOT_INSIDE:
            running[container.id] = running.get(container.id, 0) + 1
        elif activation != container.owner and activation not in container.claims:
            yield f"activation {activation} is placed in container {container.id}, which does not know it"
    for container in pool.containers.values():
        expected = [*container.claims, *([container.owner] if container.owner else [])]
        for activation in expected:
            place = pool.placed.get(activation)
            if place is None or place[1] is not container or place[2] != NOT_INSIDE:
                yield f"container {container.id} waits for activation {activation}, but the pool places it elsewhere"
        if container.running != running.get(container.id, 0):
            yield f"container {container.id} counts {container.running} activations inside"
        if container.running + len(expected) > container.concurrency:
            yield f"container {container.id} has more activations than its limit, {container.concurrency}"


def _containers(pool: Pool) -> Iterator[str]:
    """A container's state and what is in it agree, and the records of its function know it."""
    for container in pool.containers.values():
        function, state = container.function, container.state
        if state is State.BUSY and not container.running:
            yield f"container {container.id} is busy with nothing"
        if container.running and state not in (State.BUSY, State.TAINTED):
            yield f"container {container.id} is {state.value} with activations running in it"
        if state in (State.PREWARM, State.REMOVING, State.QUARANTINED, State.GONE) and function is not None:
            yield f"container {container.id} is {state.value}, but a function's"
        if state in _UNUSED and not container.claims and (function is None or container.id not in function.idle):
            yield f"container {container.id} is {state.value}, but its function doesn't know it as idle"


def _functions(pool: Pool) -> Iterator[str]:
    """A function's record knows its containers, and is there for a reason."""
    for function in pool.functions.values():
        mine = [c for c in pool.containers.values() if c.function is function]
        if function.active != sum(container.running for container in mine):
            yield f"{function.key.name} counts {function.active} activations inside its containers"
        if len(mine) != function.containers:
            yield f"{function.key.name} counts {function.containers} containers, {len(mine)} stand"
        if not (mine or function.waiting or function.starting):
            yield f"{function.key.name} has nothing, yet is remembered"
        for container in function.idle.values():
            if container.state not in _UNUSED or container.claims:
                yield f"container {container.id} is {container.state.value}, yet listed as idle"
        for container in function.roomy.values():
            if container.room < 1 or not _can_be_joined(container):
                yield f"container {container.id} is {container.state.value}, yet listed as having room"


def _can_be_joined(container: Container) -> bool:
    return container.state in (State.STARTING, State.BUSY, State.PAUSING, State.UNPAUSING)


def _stock(pool: Pool) -> Iterator[str]:
    """Prewarmed containers, standing and starting, are counted."""
    ready = sum(len(stem.ready) for stem in pool.stems.values())
    starting = sum(stem.starting for stem in pool.stems.values())
    if ready != sum(c.state is State.PREWARM for c in pool.containers.values()):
        yield "the stock and the prewarmed containers differ"
    if starting != sum(c.state is State.STARTING and c.owner is None for c in pool.containers.values()):
        yield "the starts for stock are miscounted"
    if pool.starting != sum(c.state is State.STARTING for c in pool.containers.values()):
        yield "the starts under way are miscounted"
    if pool.policies.accounting == "charged" and pool.starting > pool.policies.starts_max:
        yield f"{pool.starting} containers start at a time, the limit is {pool.policies.starts_max}"


def _queues(pool: Pool) -> Iterator[str]:
    """Every queue is within its limit (those who had a place before may be put back above it), its views agree."""
    by_function = sum(len(function.waiting) for function in pool.functions.values())
    if by_function != len(pool.waiting):
        yield f"{len(pool.waiting)} wait, the functions count {by_function}"
    if len(pool.waiting) > pool.policies.queue_limit + len(pool.containers):
        yield f"{len(pool.waiting)} wait, the limit is {pool.policies.queue_limit}"
    if not pool.holding and len(pool.waiting) >= pool.policies.intake_limit:
        yield "enough wait, yet intake goes on"
    if pool.holding and len(pool.waiting) <= pool.policies.resume_at:
        yield "few wait, yet intake is held"
    if isinstance(pool.admission, Reference) and pool.admission.removals_waiting > _removals_max(pool):
        yield "the remover is too far behind"


def _removals_max(pool: Pool) -> int:
    """Expired containers come on top of the limit: nobody waits for their removal."""
    return REMOVALS_WAITING_MAX + sum(c.state is State.REMOVING for c in pool.containers.values())


def _progress(pool: Pool) -> Iterator[str]:
    """If someone waits, something is under way that will end the wait; a timer is armed where a deadline stands."""
    still = (*_UNUSED, State.PREWARM, State.QUARANTINED)
    moving = any(c.claims or c.state not in still for c in pool.containers.values())
    if pool.waiting and not moving and "queue" not in pool.armed:
        yield "activations wait, and nothing will end the wait"
    timers: list[tuple[TimerName, Deadlines]] = [("pause", pool.pauses), ("expire", pool.expiries)]
    for name, deadlines in timers:
        next_ns = deadlines.earliest_ns()
        armed_ns = pool.armed.get(name)
        if next_ns and not pool.drained and (armed_ns is None or armed_ns > next_ns):
            yield f"a deadline at {next_ns} has no '{name}' timer"
    if pool.drained and (pool.placed or pool.waiting or len(pool.containers) > pool.quarantined):
        yield "drained, yet not empty"

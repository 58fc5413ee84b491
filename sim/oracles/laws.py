"""◇ Laws that hold whatever the policy: Little's on every stage, what arrivals see, what goes in and comes out, and
what must not change when something that doesn't matter does."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np

from invoker.policy.keepalive import FixedTtl
from sim import ListWorkload, Node, PoissonWorkload, Result, SimFunction
from sim.latency import Constant, Exponential, Lognormal
from sim.oracles.model import NOTHING, PLENTY, SECOND_NS, Rows, plain, run
from sim.oracles.oracle import Oracle
from sim.rng import sequence
from sim.workload import Workload

STAGES = Node(
    cold=Lognormal(0.5 * SECOND_NS, 0.2),
    init=Exponential(0.3 * SECOND_NS),
    logs=Constant(SECOND_NS // 20),
    remove=Exponential(0.2 * SECOND_NS),
    slowdown=(),
)
"""A node where everything takes time. Containers go when their run ends, so each invocation makes one."""
SIZE_MB = 128
RATE_PER_S, ROOM = 2.0, 4
EVERY_NS = SECOND_NS // 4


def _stages(seed: int) -> dict[str, float]:
    """For each stage the mean number in it, sampled over time from the heart's own state, over the rate at which it is
    entered times the mean time spent in it."""
    functions = (SimFunction(name="f", memory_mb=SIZE_MB, run=Exponential(float(SECOND_NS))),)
    workload = PoissonWorkload(functions, (RATE_PER_S,), 4_000, seed)
    found: dict[str, float] = {}
    # Where a start takes time, who waits for one may get a container that comes free: then the queue is no stage
    for stage, node in (("queue", msgspec.structs.replace(STAGES, cold=NOTHING)), ("start", STAGES)):
        policy = plain(ROOM * SIZE_MB, keep_alive=FixedTtl(ttl_ns=0))
        result = run(workload, policy, seed, node, sample_every_ns=EVERY_NS)
        timeline, rows = result.timeline, Rows(result, warm_up=0.0)
        assert timeline is not None
        span_s = result.ended_ns / SECOND_NS
        rate = len(rows.arrived) / span_s
        if stage == "queue":
            found["queue"] = float(np.mean(timeline.waiting)) / (rate * float(rows.wait_s.mean()))
            continue
        starts = result.starts / span_s * node.cold.mean_ns / SECOND_NS
        found["start"] = float(np.mean(timeline.containers["starting"])) / starts
        busy_s = float((rows.ended - rows.dispatched).mean()) + node.logs.mean_ns / SECOND_NS
        found["init, run and log"] = float(np.mean(timeline.containers["busy"])) / (rate * busy_s)
    return found


def _kept_memory(seed: int) -> dict[str, float]:
    """The node's charged memory over time less what each invocation's stages come to, in MB ns: the same to the ns."""
    # Without a start nobody takes a container that came free meanwhile, and leaves an idle one behind
    node = msgspec.structs.replace(STAGES, cold=NOTHING, remove=Constant(SECOND_NS // 5))
    functions = (SimFunction(name="f", memory_mb=SIZE_MB, run=Exponential(float(SECOND_NS))),)
    # One more long after all others, so that every removal before it has ended when the simulation does
    arrivals = [(at, index, run_ns) for at, index, run_ns in _rows(PoissonWorkload(functions, (2.0,), 3_000, seed))]
    arrivals.append((arrivals[-1][0] + 3_600 * SECOND_NS, 0, SECOND_NS))
    result = run(ListWorkload(functions, arrivals), plain(PLENTY, keep_alive=FixedTtl(ttl_ns=0)), seed, node)
    columns = result.columns
    assert columns is not None
    logs_ns, remove_ns = SECOND_NS // 20, SECOND_NS // 5
    held_ns = sum(
        ended - dispatched + logs_ns + remove_ns
        for dispatched, ended in zip(columns.dispatched_ns, columns.ended_ns, strict=True)
    )
    return {"MB ns too many": float(result.memory_mb_ns - SIZE_MB * (held_ns - remove_ns))}


def _seen(seed: int) -> dict[str, float]:
    """What arrivals see over what there is: all slots of a queue in use."""
    functions = (SimFunction(name="f", memory_mb=1, run=Exponential(float(SECOND_NS))),)
    policy = plain(3)
    result = run(PoissonWorkload(functions, (2.0,), 8_000, seed), policy, seed, sample_every_ns=SECOND_NS // 4)
    timeline = result.timeline
    assert timeline is not None
    full = timeline.containers["busy"].count(3) / len(timeline)
    rows = Rows(result, warm_up=0.0)
    return {"arrivals that wait over the time in which all are busy": float((rows.wait_s > 0).mean()) / full}


def _mixed(seed: int, count: int = 4_000) -> Workload:
    functions = tuple(
        SimFunction(name=f"guest/f{at}", memory_mb=SIZE_MB * (1 + at % 3), run=Exponential(float(SECOND_NS)))
        for at in range(20)
    )
    return PoissonWorkload(functions, tuple((at + 1) ** -1.0 for at in range(20)), count, seed)


def _conserved(seed: int) -> dict[str, float]:
    """Under pressure and with a short queue: what came less what ended, and whether time went forward."""
    result = run(_mixed(seed), plain(4 * SIZE_MB, queue_limit=5), seed, STAGES)
    columns = result.columns
    assert columns is not None
    orderly = all(
        arrived <= dispatched <= began <= ended
        for arrived, dispatched, began, ended, kind in zip(
            columns.arrived_ns, columns.dispatched_ns, columns.began_ns, columns.ended_ns, columns.kind, strict=True
        )
        if kind
    )
    return {
        "invocations unsettled": float(result.outcomes["unsettled"]),
        "invocations too many": float(result.ran + result.refused - 4_000),
        "refused too few": float(result.refused == 0),
        "instants out of order": float(not orderly),
    }


def _rows(workload: Workload) -> list[tuple[int, int, int]]:
    """Its invocations, each with a run drawn from its function's law, so that they can be moved in time."""
    numbers = sequence(1, "oracle/runs")
    return [
        (at_ns, function, workload.functions[function].run.draw(numbers))  # pyright: ignore[reportOptionalMemberAccess]
        for block in workload.blocks()
        for at_ns, function in zip(block.at_ns, block.function, strict=True)
    ]


def _counts(result: Result) -> tuple[dict[str, int], dict[str, int], bytes]:
    assert result.columns is not None
    return result.kinds, result.outcomes, result.columns.kind.tobytes()


def _unchanged(seed: int) -> dict[str, float]:
    """1 for each change that changed something it must not."""
    made = _mixed(seed, 2_000)
    rows = _rows(made)
    functions = made.functions
    lifetime_ns = 20 * SECOND_NS
    policy = plain(12 * SIZE_MB, keep_alive=FixedTtl(ttl_ns=lifetime_ns))
    first = run(ListWorkload(functions, rows), policy, seed, hashing=True)
    slow = [(10 * at, function, 10 * run_ns) for at, function, run_ns in rows]
    slower = plain(12 * SIZE_MB, keep_alive=FixedTtl(ttl_ns=10 * lifetime_ns))
    renamed = tuple(msgspec.structs.replace(f, name=f"zz/{f.name[::-1].replace('/', '-')}") for f in functions)
    sampled = run(ListWorkload(functions, rows), policy, seed, hashing=True, sample_every_ns=SECOND_NS)
    gap_ns = rows[999][0] + 3_600 * SECOND_NS
    later = [(at + gap_ns, function, run_ns) for at, function, run_ns in rows[1_000:]]
    whole = run(ListWorkload(functions, [*rows[:1_000], *later]), policy, seed)
    halves = [run(ListWorkload(functions, part), policy, seed) for part in (rows[:1_000], later)]
    return {
        "ten times slower": float(_counts(run(ListWorkload(functions, slow), slower, seed)) != _counts(first)),
        "renamed": float(_counts(run(ListWorkload(renamed, rows), policy, seed)) != _counts(first)),
        "watched": float(sampled.decision_hash != first.decision_hash),
        "SimPy": float(
            run(ListWorkload(functions, rows), policy, seed, hashing=True, engine="simpy").decision_hash
            != first.decision_hash
        ),
        "cut where nothing is left": float(whole.kinds["cold"] - sum(half.kinds["cold"] for half in halves)),
    }


def _monotone(seed: int) -> dict[str, float]:
    """How often more lifetime, or more memory, gave more cold starts."""
    made = _mixed(seed, 2_000)
    lifetimes = [
        run(made, plain(PLENTY, keep_alive=FixedTtl(ttl_ns=round(seconds * SECOND_NS))), seed).kinds["cold"]
        for seconds in (0.5, 1, 2, 5, 10, 30)
    ]
    equal = tuple(msgspec.structs.replace(f, memory_mb=1, run=Constant(0)) for f in made.functions)
    calls = ListWorkload(equal, [(at, function, 0) for at, function, _ in _rows(made)])
    rooms = [run(calls, plain(room), seed).kinds["cold"] for room in (1, 2, 4, 8, 12, 16, 20)]
    return {
        "more lifetime, more cold starts": float(sum(b > a for a, b in pairwise(lifetimes))),
        "more memory, more cold starts": float(sum(b > a for a, b in pairwise(rooms))),
    }


def _nothing(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 0.0)


LAWS = (
    Oracle(
        "Little's law",
        "L = lambda W",
        "Little 1961",
        f"A node of {ROOM} containers where starts, initialisations, logs and removals take time. L is sampled from "
        "the heart's state four times a second, lambda and W come from the invocations' rows; the quotient is shown.",
        lambda: {"queue": 1.0, "start": 1.0, "init, run and log": 1.0},
        _stages,
        runs=10,
    ),
    Oracle(
        "Memory-time",
        "the integral of charged memory = memory times the sum of all stages",
        "Little's law, to the nanosecond",
        "Each invocation makes a container that goes after it; the last one's removal is not over when all is settled.",
        lambda: _nothing("MB ns too many"),
        _kept_memory,
        runs=3,
        exact=True,
    ),
    Oracle(
        "What arrivals see",
        "Poisson arrivals see time averages",
        "Wolff 1982",
        "Three slots, 2 erlangs.",
        lambda: {"arrivals that wait over the time in which all are busy": 1.0},
        _seen,
    ),
    Oracle(
        "Conservation",
        "what comes in is run or refused, once",
        "by definition",
        "20 functions of three sizes on a node for four of them, with a queue of five.",
        lambda: _nothing("invocations unsettled", "invocations too many", "refused too few", "instants out of order"),
        _conserved,
        runs=3,
        exact=True,
    ),
    Oracle(
        "What must not matter",
        "slower time, other names, a watcher, another kernel, a cut at an empty instant: nothing changes",
        "metamorphic relations",
        "The same functions under pressure and a lifetime; kinds and outcomes of every invocation are compared.",
        lambda: _nothing("ten times slower", "renamed", "watched", "SimPy", "cut where nothing is left"),
        _unchanged,
        runs=3,
        exact=True,
    ),
    Oracle(
        "What can only help",
        "a longer lifetime without limit of memory, or more memory for equal sizes, gives no more cold starts",
        "metamorphic relations; least recently used is a stack algorithm",
        "Six lifetimes, seven sizes of memory.",
        lambda: _nothing("more lifetime, more cold starts", "more memory, more cold starts"),
        _monotone,
        runs=3,
        exact=True,
    ),
)

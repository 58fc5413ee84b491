"""◆ What if: the arrivals of a recorded run, under another policy or with another memory, beside what really happened.

Three things stand side by side. What was *recorded*; the same *simulated*, under the recorded policies with latencies
fitted from the same log, whose difference from the recording is the model's error, and is told as such; and each
*variant*, to be held against the simulated one: both draw the same luck, so what differs is the policy's doing.

Every invocation runs for as long as it ran really; starts, initialisations, pauses, thaws and removals are drawn from
the samples of the log. What a log doesn't tell (`sim.traces.recorded`), a what-if doesn't know either: it takes
arrivals as given, as if nobody had waited with the next call for the answer to the last.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import msgspec

from invoker.policy import PolicySet
from invoker.policy.keepalive import Oracle
from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.policyset import AnyKeepAlive, AnyPausing
from invoker.protocol.sizes import format_size
from sim import simulate
from sim.errors import SimulationError
from sim.fit import Fit, fit_recorded
from sim.node import Node, warm_key
from sim.recorder import Columns
from sim.result import Result
from sim.traces.decisions import one_run, policies
from sim.traces.recorded import RecordedWorkload, recorded
from sim.workload import Workload


class Variant(NamedTuple):
    """What is to be tried, and what it is called."""

    name: str
    policy: PolicySet


class Column(msgspec.Struct, frozen=True):
    """The figures of one column, by name. `changed`: invocations that started otherwise than in the recording;
    `changed_by_policy`: than in the simulated recording; None where that says nothing."""

    name: str
    figures: dict[str, float]
    changed: int | None = None
    changed_by_policy: int | None = None


class WhatIf(NamedTuple):
    """The columns: the recording, the simulated recording, the variants. `results` are those of the same order, for
    whatever else is to be asked of them; `fit` is where the latencies come from."""

    columns: list[Column]
    results: list[Result]
    fit: Fit


def variants(
    policy: PolicySet,
    memory_mb: Sequence[int] = (),
    keep_alive: Sequence[AnyKeepAlive] = (),
    pausing: Sequence[AnyPausing] = (),
) -> list[Variant]:
    """All combinations of what is given, each a change of `policy`; where nothing is given of a kind, it stays."""
    made: list[Variant] = []
    for size_mb, kept, paused in product(memory_mb or [None], keep_alive or [None], pausing or [None]):
        changes: dict[str, Any] = {}
        words: list[str] = []
        if size_mb is not None:
            changes["capacity_mb"] = size_mb
            words.append(format_size(size_mb << 20))
        if kept is not None:
            changes["keep_alive"] = kept
            words.append(_kept(kept))
        if paused is not None:
            changes["pausing"] = paused
            words.append(_paused(paused))
        if changes:
            made.append(Variant(", ".join(words), msgspec.structs.replace(policy, **changes)))
    return made


def _kept(policy: AnyKeepAlive) -> str:
    """Its name, and the parameters that are not its defaults."""
    from invoker.config.values import format_duration  # brings all settings along

    default = type(policy)()
    told = [str(policy.__struct_config__.tag)]
    for name in policy.__struct_fields__:
        value = getattr(policy, name)
        if value != getattr(default, name) and not isinstance(policy, Oracle):
            told.append(f"{name.removesuffix('_ns')} {format_duration(value) if name.endswith('_ns') else value}")
    return " ".join(told)


def _paused(policy: AnyPausing) -> str:
    from invoker.config.values import format_duration  # brings all settings along

    match policy:
        case FixedGrace(grace=grace_ns):
            return f"pause after {format_duration(grace_ns)}"
        case AdaptiveGrace():
            return "pause adaptively"
        case NeverPause():
            return "never pause"


def what_if(where: pathlib.Path | Sequence[pathlib.Path], variants: Sequence[Variant] = (), *, seed: int = 1) -> WhatIf:
    """Simulate a recorded run anew, as it was and under each variant. `where`: the run's files, or the first of them.

    Raises TraceError where the files are no decision log, not all of one run, or its beginning is missing, and
    SimulationError where nothing ran.
    """
    files = one_run(where)
    policy = policies(files[0])
    run = recorded(files)
    fitted = fit_recorded([(files[0].name, run)], "samples")
    workload = RecordedWorkload(run, fitted.profile.apply(run.functions.known))
    node = fitted.profile.node(Node(stock=run.stock))
    really = run.result(policy)
    tried = [policy, *(variant.policy for variant in variants)]
    simulated = [simulate(workload, node, _foreseeing(each, workload), seed, hashing=False) for each in tried]
    results = [really, *simulated]
    names = ["recorded", "simulated", *(variant.name for variant in variants)]
    columns = [
        Column(
            name,
            figures(result),
            changed(really, result) if place else None,
            changed(simulated[0], result) if place > 1 else None,
        )
        for place, (name, result) in enumerate(zip(names, results, strict=True))
    ]
    return WhatIf(columns, results, fitted)


def figures(result: Result) -> dict[str, float]:
    """What a what-if compares: counts of starts, waits and latencies in ms, memory in MB, evictions."""
    spans = {
        f"{name}_p{round(share * 100)}_ms": quantile(share) / 1e6
        for name, quantile in (("wait", result.wait_ns), ("latency", result.latency_ns))
        for share in (0.5, 0.99)
    }
    kinds = {name: float(count) for name, count in result.kinds.items() if name != "none"}
    return {
        **kinds,
        "refused": float(result.refused),
        **spans,
        "mean_memory_mb": result.mean_memory_mb,
        "evictions": float(result.removals.get("evicted", 0)),
        "starts": float(result.starts),
    }


def changed(before: Result, after: Result) -> int:
    """How many of the invocations that were settled in both came to their container in another way (or to none)."""
    one, other = _columns(before), _columns(after)
    return sum(
        kind_before != kind_after and bool(settled_before and settled_after)
        for kind_before, kind_after, settled_before, settled_after in zip(
            one.kind, other.kind, one.outcome, other.outcome, strict=True
        )
    )


def _foreseeing(policy: PolicySet, workload: Workload) -> PolicySet:
    """An oracle that was told no future is told the workload's."""
    if not isinstance(policy.keep_alive, Oracle) or policy.keep_alive.future:
        return policy
    uses_ns: list[list[int]] = [[] for _ in workload.functions]
    for block in workload.blocks():
        for at_ns, function in zip(block.at_ns, block.function, strict=True):
            uses_ns[function].append(at_ns)
    future = tuple(
        (warm_key(function.name), tuple(uses)) for function, uses in zip(workload.functions, uses_ns, strict=True)
    )
    oracle = msgspec.structs.replace(policy.keep_alive, future=future)
    return msgspec.structs.replace(policy, keep_alive=oracle)


def _columns(result: Result) -> Columns:
    if result.columns is None:
        raise SimulationError("a result of sums has no rows to compare: simulate without `streaming`")
    return result.columns

"""◇ What came of a simulation, in words and tables for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from sim import ClusterResult, Result, frames
from sim.commands.present import memory, share, span, table
from sim.scenario import Scenario

_KINDS: Final = {
    "cold": "waited for a container to be made",
    "prewarm": "came into a prewarmed container",
    "warm": "came into a warm container",
    "thawed": "came into a paused container",
}
_QUANTILES: Final = {"mean": "mean", "p50": "half within", "p90": "90 %", "p99": "99 %", "p999": "99.9 %"}


def outcome(scenario: Scenario, result: Result, cut_short_ns: int | None) -> Iterator[str]:
    """The lines that `sim run` prints."""
    yield from about(scenario, result)
    if cut_short_ns is not None:
        yield f"Cut short at {span(cut_short_ns / 1e6)}: what follows is of the invocations until then."
    yield ""
    figures = frames.summary(result)
    if not figures["invocations"]:
        yield "Nothing was invoked."
        return
    yield from _counts(result, figures)
    yield ""
    yield from _spans(figures)
    yield ""
    yield from _containers(result, figures)


def about(scenario: Scenario, result: Result) -> Iterator[str]:
    """What was simulated, in two lines."""
    policy, workload = result.policy, scenario.workload
    chosen = [f"{policy.accounting} memory"] if policy.accounting != "charged" else []
    chosen += [
        f"{what} {spec.__struct_config__.tag}"
        for what, spec in (
            ("keep-alive", policy.keep_alive),
            ("pausing", policy.pausing),
            ("prewarm", policy.prewarm),
            ("queue", policy.queueing),
        )
    ]
    kind = str(workload.__struct_config__.tag)
    count = len(result.functions)
    yield f"{scenario.name}: {kind}, {count:,} function{'s' if count != 1 else ''}, seed {result.seed}"
    cpus = f"{scenario.node.cpus} CPUs" if scenario.node.cpus else "CPU for all"
    size = f"{memory(policy.capacity_mb)}, {cpus}; {', '.join(chosen)}"
    cluster = scenario.cluster
    if cluster is None:
        yield f"one node: {size}"
    else:
        own = sum(member.node is not None or member.policy is not None for member in cluster.members)
        besides = f" ({own} of them otherwise)" if own else ""
        yield f"{len(cluster.members)} nodes{besides}, each: {size}"
        balancer = cluster.balancer.__struct_config__.tag
        yield f"{cluster.controllers} controller{'s' if cluster.controllers > 1 else ''}, balancer {balancer}"


def _counts(result: Result, figures: dict[str, float]) -> Iterator[str]:
    total = figures["invocations"]
    length_ms = figures["ended_s"] * 1e3
    lines = [("invocations", f"{total:,}", "", f"in {span(length_ms)}, {total * 1e3 / length_ms:,.3g} a second")]
    lines += [
        (f"  {kind}", f"{figures[kind]:,}", share(figures[kind] / total), words) for kind, words in _KINDS.items()
    ]
    for name, count in result.outcomes.items():
        if name.startswith(("refused", "lost")) and count:
            lines.append((f"  {name}", f"{count:,}", share(count / total), "never ran, or not to an end"))
    if not figures["refused"]:
        lines.append(("  refused", "0", share(0), "never ran"))
    if figures["failed"]:
        lines.append(("  failed", f"{figures['failed']:,}", share(figures["failed"] / total), "ran, and spoilt it"))
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for name, number, part, words in lines:
        yield f"{name:<{widths[0]}}  {number:>{widths[1]}}  {part:>{widths[2]}}  {words}".rstrip()


def _spans(figures: dict[str, float]) -> Iterator[str]:
    rows = [
        [name, *(span(figures[f"{beginning}{quantile}_ms"]) for quantile in _QUANTILES)]
        for name, beginning in (("latency", ""), ("  of it wait", "wait_"))
    ]
    yield from table(["", *_QUANTILES.values()], rows)


def _containers(result: Result, figures: dict[str, float]) -> Iterator[str]:
    capacity_mb = result.capacity_mb if isinstance(result, ClusterResult) else result.policy.capacity_mb
    yield (
        f"memory      {memory(figures['mean_memory_mb'])} of {memory(capacity_mb)} on the average "
        f"({share(figures['memory_share'])})"
    )
    removed = cast("dict[str, int]", result.removals)
    parts = [f"{figures['starts']:,} started", *(f"{count:,} {reason}" for reason, count in sorted(removed.items()))]
    yield f"containers  {', '.join(parts)}"
    if isinstance(result, ClusterResult):
        yield from _overflow(result)
    else:
        times = f"{result.holds:,} time{'s' if result.holds != 1 else ''}" if result.holds else "never"
        yield f"overflow    so many waited that reading from the topic was held: {times}"


def _overflow(result: ClusterResult) -> Iterator[str]:
    spans = result.overflows
    if spans:
        total_ms = sum(end - begin for begin, end in spans) / 1e6
        first, last = span(spans[0][0] / 1e6), span(spans[-1][1] / 1e6)
        yield (
            f"overflow    {share(result.overflow_share)} went by topics; something was in them for {span(total_ms)} in "
            f"all, from {first} to {last}"
        )
    else:
        yield "overflow    none: all went by HTTP"
    yield f"balance     the busiest node ran {result.imbalance:.2f} times the mean of all"

"""◆ `sim replay`: a recorded run decided again, and simulated under other policies beside what really happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from invoker.commands.exit_codes import ExitCode
from sim.commands import present
from sim.errors import SimulationError

if TYPE_CHECKING:
    from invoker.policy import PolicySet
    from invoker.policy.policyset import AnyKeepAlive, AnyPausing
    from sim.whatif import Column, Variant, WhatIf


def replay(
    log: Path,
    /,
    *logs: Path,
    memory: list[str] | None = None,
    keep_alive: list[str] | None = None,
    pause_grace: list[str] | None = None,
    seed: int = 1,
    json: present.JsonFlag = False,
) -> int:
    """Feed a decision log to the pool again and compare; then simulate its arrivals, as they were and otherwise.

    Options may be repeated: every combination of them is a column. The invocations arrive when they did and run for as
    long as they did; what else takes time is drawn from what the log shows. The column `simulated` is the run as it
    was, simulated: how far it lies from `recorded` is the model's error.

    Parameters
    ----------
    log
        The log's first file (those that follow it are found), or the directory of one run.
    logs
        More of its files.
    memory
        What all containers together may use, such as "8 GB".
    keep_alive
        A keep-alive policy of docs/policies.md, with parameters as in fixed-ttl:ttl=20min. `oracle` knows the future.
    pause_grace
        Idle time before a container is frozen, such as 50ms; or never, or adaptive.
    seed
        The seed of all chance.
    json
        Print the comparison and all figures as JSON.
    """
    from invoker.replay import replay as decided_again
    from sim.traces.decisions import one_run, policies
    from sim.whatif import what_if

    files = one_run([log, *logs])
    tried = _variants(policies(files[0]), memory or [], keep_alive or [], pause_grace or [])
    with present.progress("deciding again", None, lambda _done: ""):
        report = decided_again(files)
    with present.progress("simulating", None, lambda _done: ""):
        found = what_if(files, tried, seed=seed)
    if json:
        present.say_json({"replay": report, "columns": found.columns, "warnings": found.fit.warnings})
    else:
        present.say(report.verdict())
        if report.difference is not None:
            present.say(report.difference.text())
        for line in told(found):
            present.say(line)
    return ExitCode.OK if report.identical else ExitCode.DIFFERENT


def _variants(
    recorded: PolicySet, memory: Sequence[str], keep_alive: Sequence[str], pause_grace: Sequence[str]
) -> list[Variant]:
    from sim.scenario.values import size_mb
    from sim.whatif import variants

    sizes_mb = [_read("--memory", text, size_mb) for text in memory]
    kept = [keep_alive_of(text, recorded) for text in keep_alive]
    return variants(recorded, sizes_mb, kept, [_pausing(text) for text in pause_grace])


def _read(option: str, text: str, reader: Any) -> int:
    try:
        return reader(text)
    except ValueError as error:
        raise SimulationError(f"{option} {error}") from error


def keep_alive_of(text: str, recorded: PolicySet) -> AnyKeepAlive:
    """`NAME` or `NAME:PARAMETER=VALUE,...`, spans with their units (`ttl=20min` is `ttl_ns`). A `ttl_ns` that isn't
    given is the recorded policy's, as the invoker's is IDLE_TIME whatever the policy."""
    from invoker.policy import policyset

    name, _, rest = text.partition(":")
    spec = policyset.KEEP_ALIVES.get(name)
    fields = spec.__struct_fields__ if spec is not None else ()
    given: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        parameter, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise SimulationError(f"--keep-alive {text}: {parameter!r} has no value; write {name}:{parameter}=VALUE")
        parameter = f"{parameter}_ns" if f"{parameter}_ns" in fields else parameter
        given[parameter] = _value(parameter, value)
    if "ttl_ns" in fields and (ttl_ns := getattr(recorded.keep_alive, "ttl_ns", None)) is not None:
        given.setdefault("ttl_ns", ttl_ns)
    try:
        return policyset.keep_alive(name, given)
    except ValueError as error:
        raise SimulationError(f"--keep-alive {text}: {error}") from error


def _value(parameter: str, text: str) -> Any:
    from sim.scenario.values import span_ns

    if parameter.endswith("_ns"):
        return _read(f"--keep-alive: {parameter}", text, span_ns)
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _pausing(text: str) -> AnyPausing:
    from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
    from sim.scenario.values import span_ns

    if text in ("never", "adaptive"):
        return NeverPause() if text == "never" else AdaptiveGrace()
    return FixedGrace(_read("--pause-grace", text, span_ns))


_ROWS = {
    "cold": "cold",
    "prewarm": "prewarmed",
    "warm": "warm",
    "thawed": "thawed",
    "refused": "refused",
    "wait_p50_ms": "wait, p50",
    "wait_p99_ms": "wait, p99",
    "latency_p50_ms": "latency, p50",
    "latency_p99_ms": "latency, p99",
    "mean_memory_mb": "memory, mean",
    "evictions": "evictions",
    "starts": "starts",
}


def told(found: WhatIf) -> Iterator[str]:
    """The columns as a table, and the model's error in words."""
    columns = found.columns
    rows = [(words, *(_figure(name, column.figures[name]) for column in columns)) for name, words in _ROWS.items()]
    rows.append(("started otherwise", *("" if each.changed is None else f"{each.changed:,}" for each in columns)))
    if len(columns) > 2:
        by_policy = ("" if each.changed_by_policy is None else f"{each.changed_by_policy:,}" for each in columns)
        rows.append(("  by the policy", *by_policy))
    yield ""
    yield from present.table(("", *(column.name for column in columns)), rows)
    yield ""
    yield f"the model's error (simulated against recorded): {_error(columns[0], columns[1])}"
    for warning in found.fit.warnings:
        if not warning.endswith("the node's run holds"):  # each runs for as long as it did
            yield f"! {warning}"


def _figure(name: str, value: float) -> str:
    if name.endswith("_ms"):
        return present.span(value)
    return present.memory(value) if name.endswith("_mb") else f"{value:,.0f}"


def _error(recorded: Column, simulated: Column) -> str:
    """The relative difference of the figures that matter most."""
    told: list[str] = []
    for name in ("cold", "starts", "latency_p50_ms", "latency_p99_ms", "mean_memory_mb"):
        was, came = recorded.figures[name], simulated.figures[name]
        told.append(f"{_ROWS[name]} {(came - was) / was:+.1%}" if was else f"{_ROWS[name]} {came - was:+.0f}")
    return "; ".join(told)

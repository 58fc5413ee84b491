"""◆ `sim fit`: decision logs to a profile of the node that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from sim.commands import present
from sim.errors import SimulationError
from sim.fit.choose import How

if TYPE_CHECKING:
    from sim.fit import Fit
    from sim.profile import Fitted, Profile


def fit(
    log: Path,
    /,
    *logs: Path,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    how: Annotated[How, Parameter(name="--as")] = "best",
    samples_min: int = 30,
    logs_ms: float = 0.0,
    json: present.JsonFlag = False,
) -> None:
    """Measure how long things take on a node, from the decision logs of its invoker.

    Parameters
    ----------
    log
        A decision log's first file (those that follow it are found), or a directory of logs.
    logs
        More of them, of nodes that are alike.
    output
        Write the profile here: YAML, or JSON where the name ends in .json.
    how
        samples: what was measured, thinned to 512. fitted: the distribution that fits best (lowest BIC). best: that
        one where it passes the Kolmogorov-Smirnov test at 5 %, else the samples.
    samples_min
        A function has latencies of its own from so many samples on; below, the node's hold.
    logs_ms
        What the collection of a run's log takes, if you know it (the metrics tell): it is taken off the runs.
    json
        Print the profile as JSON.
    """
    from sim.fit import fit as fitted
    from sim.profile import save

    if samples_min < 1 or not 0 <= logs_ms < 3_600_000:
        raise SimulationError("--samples-min is a count from 1 on, --logs-ms milliseconds from 0 to an hour")
    with present.progress("measuring", None, lambda _done: ""):
        found = fitted([log, *logs], how, samples_min, round(logs_ms * 1e6))
    if output is not None:
        save(found.profile, output)
    if json:
        present.say_json(found._asdict())
        return
    for line in told(found):
        present.say(line)
    if output is not None:
        present.say(f"\nwritten to {output}")


def told(found: Fit) -> Iterator[str]:
    """A fit in words and tables."""
    profile = found.profile
    runs, invocations = len(profile.sources), sum(source.invocations for source in profile.sources)
    span_s = sum(source.span_s for source in profile.sources)
    yield f"{invocations:,} invocations in {runs} {'run' if runs == 1 else 'runs'}, {present.span(span_s * 1e3)}\n"
    stages: list[tuple[str, ...]] = []
    for name, fitted in profile.stages.items():
        ks = "-" if fitted.ks is None else f"{fitted.ks:.3f}"
        stages.append((name, _MEANINGS[name], fitted.words, *_figures(fitted), ks))
        if name == "init" and found.before_init is not None:
            stages.append(("", "  of it, before /init", "", *_figures(found.before_init), ""))
    yield from present.table(("stage", "", "taken as", "n", "p50", "p99", "KS"), stages, left=3)
    yield ""
    yield from _slowdown(found)
    shares: dict[str, float] = msgspec.structs.asdict(profile.failures)
    deaths = shares.pop("deaths_per_hour")
    failed = [f"{name} {present.share(share)}" for name, share in shares.items() if share]
    failed += [f"{deaths:.3g} deaths an hour of an unused container"] if deaths else []
    yield f"failed: {', '.join(failed) or 'nothing'}"
    yield _functions(profile)
    for warning in found.warnings:
        yield f"! {warning}"


_MEANINGS = {
    "cold": "a start, alone",
    "init": "/init of a new container",
    "run": "/run, log collected",
    "pause": "freezing",
    "thaw": "thawing",
    "remove": "removal",
}


def _figures(fitted: Fitted) -> tuple[str, str, str]:
    return f"{fitted.n:,}", present.span(fitted.p50_ns / 1e6), present.span(fitted.p99_ns / 1e6)


def _slowdown(found: Fit) -> Iterator[str]:
    factors = found.profile.slowdown
    if factors is None:
        return
    ended = [*found.starts_ended, *[0] * len(factors)]
    rows = [(str(n), f"{ended[n - 1]:,}", f"{factor / 1000:.2f}") for n, factor in enumerate(factors, 1)]
    yield from present.table(("starts at once", "ended", "times as long"), rows, left=0)
    yield ""


def _functions(profile: Profile) -> str:
    stages = ("cold", "init", "run")
    own = {stage: sum(getattr(each, stage) is not None for each in profile.functions.values()) for stage in stages}
    latencies = ", ".join(f"{stage} {count}" for stage, count in own.items())
    return f"functions: {len(profile.functions)}; with a latency of their own: {latencies}"

"""◇ What a report says in words: the findings as sentences, the numbers as people write them."""

# Matplotlib's and pandas' own types leave much open, which would be reported at nearly every line here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import numpy as np
import pandas as pd

from sim.report.run import Run
from sim.report.style import span_words


def count(number: float) -> str:
    """A number of things, with separators."""
    return f"{number:,.0f}"


def percent(share: float) -> str:
    """A share in percent, with as many digits as tell it from nothing and from all."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    near = min(share, 1.0 - share)
    return (
        f"{share:.0%}"
        if near >= 0.1
        else f"{share:.1%}"
        if near >= 0.01
        else f"{share:.2%}"
        if near >= 1e-4
        else ("under 0.01%" if share < 0.5 else "over 99.99%")
    )


def memory(memory_mb: float) -> str:
    """A size in MB or GB."""
    return f"{memory_mb:.0f} MB" if memory_mb < 1024 else f"{memory_mb / 1024:.3g} GB"


def rate(per_s: float) -> str:
    """How often, in the unit that gives a number above 1."""
    for unit_s, unit in ((1, "a second"), (60, "a minute"), (3600, "an hour")):
        if per_s * unit_s >= 1:
            return f"{per_s * unit_s:,.3g} {unit}"
    return f"{per_s * 86400:,.3g} a day"


def headline(run: Run) -> list[str]:
    """The findings, a sentence each, the most important first."""
    rows = run.invocations
    if rows.empty:
        return ["The workload has no invocations: nothing happened."]
    ran = rows[rows["kind"] != "none"]
    span = span_words(run.ended_ns / 1e6)
    calling = rows["function"].nunique()
    found = [
        f"In {span}, {count(len(rows))} invocations of {count(calling)} functions arrived, "
        f"{rate(len(rows) / max(run.ended_ns / 1e9, 1e-9))}."
    ]
    if ran.empty:
        return [*found, "None of them ever ran."]
    cold = float((ran["kind"] == "cold").mean())
    latency_ms = (ran["ended_ns"] - ran["arrived_ns"]) / 1e6
    found += [
        f"{percent(1 - cold)} found a container that stood ready; {percent(cold)} had to wait for a cold start.",
        f"Half of the answers came within {span_words(_quantile(latency_ms, 0.5))}, 99 of 100 within "
        f"{span_words(_quantile(latency_ms, 0.99))}, runs included.",
        _lost_time(ran),
        _never_ran(rows),
        *_overflow(rows),
        _memory(run),
    ]
    return found


def _quantile(spans_ms: pd.Series[float], share: float) -> float:
    """As `sim.Result` has it: the smallest that so many don't pass."""
    return float(np.quantile(spans_ms.to_numpy(), share, method="inverted_cdf"))


def _lost_time(ran: pd.DataFrame) -> str:
    waited_ms = (ran["dispatched_ns"] - ran["arrived_ns"]) / 1e6
    whole_ms = float(waited_ms.sum())
    if not whole_ms:
        return "Nobody ever waited for a container."
    cold_ms = float(waited_ms[ran["kind"] == "cold"].sum())
    return (
        f"Waiting for a container cost {span_words(whole_ms / len(ran))} an invocation on the average; "
        f"{percent(cold_ms / whole_ms)} of that was waited by cold starts."
    )


def _never_ran(rows: pd.DataFrame) -> str:
    never = rows[rows["kind"] == "none"]
    if never.empty:
        return "All of them ran."
    reasons = never["outcome"].astype(str).value_counts()
    told = ", ".join(f"{reason} {count(number)}" for reason, number in reasons.items())
    return f"{percent(len(never) / len(rows))} never ran ({told})."


def _overflow(rows: pd.DataFrame) -> list[str]:
    """Of a cluster: who took the way round by a topic."""
    if "path" not in rows:
        return []
    by_topic = float((rows["path"] == "topic").mean())
    return [f"{percent(by_topic)} went to their nodes by a topic, as there was no room when they came."]


def _memory(run: Run) -> str:
    mean_mb = run.summary["mean_memory_mb"]
    used = f"Containers held {memory(mean_mb)} on the average, {percent(mean_mb / run.capacity_mb)} of"
    return f"{used} {memory(run.capacity_mb)}."


def tiles(run: Run) -> list[tuple[str, str]]:
    """(figure, what it is) for those that one looks at first."""
    ran = run.invocations[run.invocations["kind"] != "none"]
    if ran.empty:
        return [(count(len(run.invocations)), "invocations")]
    latency_ms = (ran["ended_ns"] - ran["arrived_ns"]) / 1e6
    waited_ms = (ran["dispatched_ns"] - ran["arrived_ns"]) / 1e6
    return [
        (count(len(run.invocations)), "invocations"),
        (percent(float((ran["kind"] == "cold").mean())), "cold starts"),
        (span_words(_quantile(latency_ms, 0.5)), "median latency"),
        (span_words(_quantile(latency_ms, 0.99)), "p99 latency"),
        (span_words(_quantile(waited_ms, 0.99)), "p99 wait"),
        (percent(1 - len(ran) / len(run.invocations)), "never ran"),
        (memory(run.summary["mean_memory_mb"]), "memory held"),
    ]


def sufferers(run: Run, most: int = 12) -> pd.DataFrame:
    """The functions whose invocations waited longest altogether, a row each.

    `function`, `invocations`, `cold` (share of those that ran), `never_ran` (number), `p50_ms` and `p99_ms` (latency),
    `waited_ms` (mean wait for a container) and `share` (of all the time that was waited).
    """
    rows = run.invocations
    ran = rows[rows["kind"] != "none"]
    by = ran["function"].astype(str)
    waited_ms = ((ran["dispatched_ns"] - ran["arrived_ns"]) / 1e6).groupby(by)
    latency_ms = ((ran["ended_ns"] - ran["arrived_ns"]) / 1e6).groupby(by)
    never_ran = (rows["kind"] == "none").groupby(rows["function"].astype(str)).sum()
    whole_ms = waited_ms.sum()
    worst = whole_ms[whole_ms > 0].nlargest(most).index
    frame = pd.DataFrame(
        {
            "invocations": rows["function"].astype(str).value_counts(),
            "cold": (ran["kind"] == "cold").groupby(by).mean(),
            "never_ran": never_ran,
            "p50_ms": latency_ms.quantile(0.5),
            "p99_ms": latency_ms.quantile(0.99),
            "waited_ms": waited_ms.mean(),
            "share": whole_ms / max(float(whole_ms.sum()), 1e-12),
        }
    )
    return frame.loc[worst].rename_axis("function").reset_index()

"""◇ The pictures of one simulation. Each takes frames and gives a `Picture`, for a page, a notebook or a talk.

What is drawn over time is drawn by the instant of arrival, in bins of a round length. A bin in which too little arrived
to speak of a quantile stays empty.
"""

# Matplotlib's and pandas' own types leave much open, which would be reported at nearly every line here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.report.run import memory_gb
from sim.report.style import Picture, canvas, colour, label_ends, span_axis, span_words, styled, time_axis
from sim.timeline import STATES

BINS_MAX = 96
_ROUND_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 10_800, 21_600, 86_400)
BIN_INVOCATIONS_MIN = 20
LABELLED = 0.003
"""A state that holds less of the capacity than this is too thin to be seen, and has no label."""
QUEUED_MS = 1.0
"""Who waited longer than this for a container that stood already was queued; a thaw is quicker."""

AT_ONCE_MS = 1e-2
COMPARED = ("ink", "cold", "busy", "warm", "queued", "prewarm", "thawed", "gone")
COMPARED_MAX = len(COMPARED)

STATE_ROLES: dict[str, str] = dict(
    zip(STATES, ("busy", "cold", "warm", "thawed", "prewarm", "gone", "lost"), strict=True)
)
KIND_ROLES = {"warm": "warm", "thawed": "thawed", "prewarm": "prewarm", "cold": "cold", "none": "lost"}
KIND_WORDS = {
    "warm": "warm",
    "thawed": "warm, thawed",
    "prewarm": "prewarmed",
    "cold": "cold",
    "none": "never ran",
}


def bin_ns(span_ns: int) -> int:
    """The length of the bins for a simulation of that length: a round one, so that there are at most BINS_MAX."""
    lengths_ns = (length_s * 1_000_000_000 for length_s in _ROUND_S)
    return next((length for length in lengths_ns if span_ns <= length * BINS_MAX), -(-span_ns // BINS_MAX))


def span_words_of(length_ns: float) -> str:
    """A bin's length in words."""
    return span_words(length_ns / 1e6)


def _binned(invocations: pd.DataFrame, span_ns: int) -> tuple[pd.Series[int], int]:
    length_ns = bin_ns(span_ns)
    return invocations["arrived_ns"] // length_ns, length_ns


def _ran(invocations: pd.DataFrame) -> pd.DataFrame:
    return invocations[invocations["kind"] != "none"]


def _steps(column: pd.Series[float], length_ns: int, unit_ns: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middles of the bins and the values, with nan where a bin is missing."""
    if column.empty:
        return np.empty(0), np.empty(0)
    whole = column.reindex(range(int(column.index.max()) + 1))
    return (whole.index.to_numpy() + 0.5) * (length_ns / unit_ns), np.asarray(whole, np.float64)


@styled
def latency_over_time(invocations: pd.DataFrame, span_ns: int) -> Picture:
    """Quantiles of the latency by the time of arrival."""
    picture, axes = canvas("Latency over time")
    ran = _ran(invocations)
    bins, length_ns = _binned(ran, span_ns)
    latency_ms = (ran["ended_ns"] - ran["arrived_ns"]) / 1e6
    grouped = latency_ms.groupby(bins)
    enough = grouped.size() >= BIN_INVOCATIONS_MIN
    unit_ns = time_axis(axes, span_ns)
    labels: list[tuple[float, str, str]] = []
    told: list[str] = []
    for share, role in ((0.5, "thawed"), (0.95, "busy"), (0.99, "ink")):
        column = grouped.quantile(share)[enough].clip(lower=1e-3)
        at, value_ms = _steps(column, length_ns, unit_ns)
        axes.plot(at, value_ms, color=colour(role))
        if len(column):
            labels.append((float(column.iloc[-1]), f"p{share * 100:.0f}", role))
            told.append(f"p{share * 100:.0f} between {span_words(column.min())} and {span_words(column.max())}")
    span_axis(axes)
    axes.set_ylabel("arrival to answer")
    label_ends(axes, labels)
    picture.alt = f"Latency over time, in bins of {span_words_of(length_ns)}: {'; '.join(told) or 'too few to tell'}."
    return picture


@styled
def rates_over_time(invocations: pd.DataFrame, span_ns: int) -> Picture:
    """The shares that started cold, were queued, never ran, came by a topic (of a cluster), by the time of arrival."""
    picture, axes = canvas("Cold starts and queueing over time")
    bins, length_ns = _binned(invocations, span_ns)
    waited_ms = (invocations["dispatched_ns"] - invocations["arrived_ns"]) / 1e6
    kind = invocations["kind"]
    shares = {
        "cold": kind == "cold",
        "queued": kind.isin(["warm", "thawed", "prewarm"]) & (waited_ms > QUEUED_MS),
        "never ran": kind == "none",
        "by topic": invocations["path"] == "topic" if "path" in invocations else kind == "",
    }
    unit_ns = time_axis(axes, span_ns)
    labels: list[tuple[float, str, str]] = []
    told: list[str] = []
    for word, role in (("cold", "cold"), ("queued", "queued"), ("never ran", "lost"), ("by topic", "busy")):
        column = shares[word].groupby(bins).mean() * 100.0
        if word in ("never ran", "by topic") and not shares[word].any():
            continue
        at, percent = _steps(column, length_ns, unit_ns)
        axes.plot(at, percent, color=colour(role))
        labels.append((float(column.iloc[-1]) if len(column) else 0.0, word, role))
        told.append(f"{word} {shares[word].mean():.2%} of all, at most {column.max() / 100:.1%} of a bin")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of arrivals (%)")
    label_ends(axes, labels)
    picture.alt = f"Rates over time, in bins of {span_words_of(length_ns)}: {'; '.join(told)}."
    return picture


@styled
def memory_over_time(samples: pd.DataFrame, span_ns: int, capacity_mb: int) -> Picture:
    """Memory by what its containers are doing, stacked, under the capacity."""
    picture, axes = canvas("Memory by state of the containers")
    unit_ns = time_axis(axes, span_ns)
    columns = memory_gb(samples)
    at = samples["at_ns"].to_numpy() / unit_ns
    floor = np.zeros(len(samples))
    labels: list[tuple[float, str, str]] = []
    for state, column in columns.items():
        role = STATE_ROLES[state]
        axes.fill_between(at, floor, floor + column, color=colour(role), linewidth=0, step="post")
        recent = slice(-max(1, len(samples) // 20), None)
        if column.mean() > LABELLED * capacity_mb / 1024:
            labels.append((float((floor + column / 2)[recent].mean()), state, role))
        floor = floor + column
    capacity_gb = capacity_mb / 1024
    axes.axhline(capacity_gb, color=colour("ink"), linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"capacity {capacity_gb:g} GB",
        (0.0, capacity_gb),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
    )
    axes.set_ylim(0, capacity_gb * 1.02)
    axes.set_ylabel("memory (GB)")
    label_ends(axes, labels)
    means = ", ".join(f"{state} {column.mean():.2f} GB" for state, column in columns.items())
    picture.alt = f"Memory by state over time, of {capacity_gb:g} GB; on the average {means or 'none'}."
    return picture


@styled
def waiting_over_time(samples: pd.DataFrame, span_ns: int) -> Picture:
    """How many invocations wait for memory or a container."""
    picture, axes = canvas("Invocations that wait for memory")
    unit_ns = time_axis(axes, span_ns)
    at, waiting = samples["at_ns"].to_numpy() / unit_ns, samples["waiting"].to_numpy()
    axes.fill_between(at, 0, waiting, color=colour("queued"), linewidth=0, step="post")
    axes.set_ylim(0, max(1.0, float(waiting.max()) * 1.05))
    axes.set_ylabel("invocations")
    picture.alt = f"Length of the queue over time: {waiting.mean():.2f} on the average, {waiting.max()} at most."
    return picture


@styled
def starts_by_kind(invocations: pd.DataFrame) -> Picture:
    """How many invocations came to a container in which way."""
    picture, axes = canvas("Starts by kind", height_in=2.4)
    counts = {kind: int((invocations["kind"] == kind).sum()) for kind in reversed(KIND_ROLES)}
    counts = {kind: count for kind, count in counts.items() if count}
    words = [KIND_WORDS[kind] for kind in counts]
    bars = axes.barh(words, list(counts.values()), color=[colour(KIND_ROLES[kind]) for kind in counts], height=0.66)
    total = max(1, len(invocations))
    texts = [f"{count:,}  ({count / total:.2%})" for count in counts.values()]
    axes.bar_label(bars, texts, padding=4, color=colour("ink"), fontsize=8.5)
    axes.margins(x=0.32)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", labelcolor=colour("ink"))
    axes.grid(visible=False)
    parts = [f"{word} {text}" for word, text in zip(reversed(words), reversed(texts), strict=True)]
    picture.alt = f"Starts by kind: {'; '.join(parts)}."
    return picture


@styled
def overhead_by_kind(invocations: pd.DataFrame) -> Picture:
    """What share of the invocations of a kind had its run begin later than a span after its arrival."""
    ran = _ran(invocations)
    groups = {
        (KIND_WORDS[kind], role): rows
        for kind, role in KIND_ROLES.items()
        if len(rows := ran[ran["kind"] == kind]) >= BIN_INVOCATIONS_MIN
    }
    return _tails("Time until the run begins, by kind of start", groups)


@styled
def overhead_compared(runs: dict[str, pd.DataFrame]) -> Picture:
    """The same for all invocations of several simulations, by their labels (8 at most)."""
    groups = {(label, role): _ran(rows) for (label, rows), role in zip(runs.items(), COMPARED, strict=False)}
    return _tails("Time until the run begins, compared", groups)


def _tails(title: str, groups: dict[tuple[str, str], pd.DataFrame]) -> Picture:
    """Both axes logarithmic, as what matters is seldom and long. What begins at once is drawn at AT_ONCE_MS."""
    picture, axes = canvas(title)
    told: list[str] = []
    labels: list[tuple[float, str, str]] = []
    rarest = 0.1
    for place, ((label, role), rows) in enumerate(groups.items()):
        if rows.empty:
            continue
        span_ms = np.sort((rows["began_ns"] - rows["arrived_ns"]).to_numpy()) / 1e6
        ranks = np.unique(np.geomspace(1, len(span_ms), 400).astype(np.int64))
        rarest = min(rarest, 1 / len(span_ms))
        axes.plot(np.maximum(span_ms[-ranks], AT_ONCE_MS), ranks / len(span_ms) * 100, color=colour(role))
        labels.append((10.0 ** (2.0 - 0.01 * place), label, role))
        told.append(f"{label} {span_words(float(np.quantile(span_ms, 0.99)))}")
    axes.set_xlim(left=AT_ONCE_MS)
    span_axis(axes, "x")
    axes.set_yscale("log")
    axes.set_ylim(max(1e-3, rarest * 100), 130)
    axes.yaxis.set_major_formatter(lambda percent, _: f"{percent:g} %")
    axes.set_xlabel("arrival to the begin of the run")
    axes.set_ylabel("begin later than that")
    label_ends(axes, labels)
    picture.alt = f"{title}. Of each, 1 % begins later than: {', '.join(told)}."
    return picture


@styled
def load_by_node(invocations: pd.DataFrame) -> Picture:
    """Of a cluster: how many invocations each node was sent by which way."""
    nodes = int(invocations["node"].max()) + 1
    picture, axes = canvas("Invocations by node", height_in=1.2 + 0.2 * nodes)
    floor = np.zeros(nodes)
    told: list[str] = []
    for path, role in (("http", "thawed"), ("topic", "busy")):
        counts = np.bincount(invocations.loc[invocations["path"] == path, "node"], minlength=nodes)
        axes.barh(range(nodes), counts, left=floor, color=colour(role), height=0.66, label=path)
        floor = floor + counts
        told.append(f"{int(counts.sum()):,} by {path}")
    axes.set_yticks(range(nodes), [f"node {node}" for node in range(nodes)])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelcolor=colour("ink"))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")
    axes.set_xlabel("invocations")
    picture.legend(loc="outside right upper", frameon=False, handlelength=1, handleheight=1)
    picture.alt = f"Invocations by node, of {nodes}: {', '.join(told)}; the most for one are {int(floor.max()):,}."
    return picture


@styled
def functions_by_rate(invocations: pd.DataFrame, span_ns: int) -> Picture:
    """A point for each function: how often it is called, and how many of its starts are cold."""
    picture, axes = canvas("Cold starts by how often a function is called")
    by = invocations["function"].astype(str)
    ran = _ran(invocations)
    cold = (ran["kind"] == "cold").groupby(ran["function"].astype(str)).mean() * 100
    per_h = by.value_counts()[cold.index] / max(span_ns, 1) * 3600e9
    axes.scatter(per_h, cold, s=16, color=colour("cold"), alpha=0.55, linewidths=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:,g}")
    axes.set_ylim(-3, 103)
    axes.set_xlabel("invocations of the function per hour")
    axes.set_ylabel("of those, cold (%)")
    often = int((cold <= 1).sum())
    picture.alt = (
        f"Cold share against rate, by function: of {len(cold)} functions {often} have at most 1 % cold starts."
    )
    return picture

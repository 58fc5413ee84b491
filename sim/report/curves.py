"""◇ Figures against a choice, with intervals: what planning is about."""

# Matplotlib's and pandas' own types leave much open, which would be reported at nearly every line here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from sim.report.style import SERIES, Picture, canvas, colour, label_ends, styled
from sim.statistics import Interval

Value: TypeAlias = float | Interval
WIDE: Final = 10.0
"""From this ratio of the largest to the smallest on, the y axis is logarithmic."""


@styled
def with_intervals(
    title: str,
    axes_labels: tuple[str, str],
    series: Mapping[str, Sequence[tuple[Value, Value]]],
    *,
    under: Sequence[tuple[float, float]] = (),
    target: tuple[float, str] | None = None,
) -> Picture:
    """A line for each of `series` (8 at most), through points (x, y) that may be intervals, labelled at its end.

    `under`: steps to draw beneath, as a Pareto front; `target`: (a value of y, its words) to draw as a dashed line.
    """
    picture, axes = canvas(title)
    if under:
        x, y = zip(*under, strict=True)
        axes.step(x, y, where="post", color=colour("grid"), linewidth=8, zorder=1)
    labels: list[tuple[float, str, str]] = []
    for (name, points), role in zip(series.items(), SERIES, strict=False):
        x, y = [_mean(point[0]) for point in points], [_mean(point[1]) for point in points]
        axes.errorbar(
            x,
            y,
            xerr=_reach([point[0] for point in points]),
            yerr=_reach([point[1] for point in points]),
            color=colour(role),
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.9,
            capsize=2,
        )
        labels.append((y[-1], name, role))
    axes.set_xlim(left=0)
    means = [_mean(y) for points in series.values() for _, y in points]
    if min(means, default=0.0) > 0 and max(means) >= WIDE * min(means):
        _logarithmic(axes, min(means), max(means))
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(axes_labels[0])
    axes.set_ylabel(axes_labels[1])
    if target is not None:
        axes.axhline(target[0], color=colour("ink"), linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            target[1],
            (1.0, target[0]),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
        )
    if len(series) > 1:
        label_ends(axes, labels)
    picture.alt = f"{title}: {axes_labels[1]} against {axes_labels[0]} for {', '.join(series)}."
    return picture


def _logarithmic(axes: Axes, lowest: float, highest: float) -> None:
    """Around the means, whatever the intervals: one that reaches down to 0 would take all the room."""
    axes.set_yscale("log")
    axes.set_ylim(lowest / 1.6, highest * 1.6)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _mean(value: Value) -> float:
    return value.mean if isinstance(value, Interval) else value


def _reach(values: Sequence[Value]) -> list[list[float]]:
    """How far the intervals go below and above their means."""
    below = [max(0.0, value.mean - value.low) if isinstance(value, Interval) else 0.0 for value in values]
    return [below, [max(0.0, value.high - value.mean) if isinstance(value, Interval) else 0.0 for value in values]]

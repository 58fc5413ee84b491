"""◇ How pictures look: one palette, one size, one way to say a time; and a picture as part of a page.

Colours are those of Okabe and Ito, which people with any colour vision tell apart. A picture names them by role. In a
notebook it is drawn in the light ones; in a page each becomes a CSS variable, so the page decides between light and
dark, and prints in light.
"""

# Matplotlib's and pandas' own types leave much open, which would be reported at nearly every line here.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools
import io
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullLocator

Parameters = ParamSpec("Parameters")

COLOURS: Final[dict[str, tuple[str, str]]] = {
    "ink": ("#1b2733", "#e8edf2"),
    "faint": ("#5d6b79", "#9fb0c0"),
    "grid": ("#dfe4e9", "#33414e"),
    "paper": ("#fffffe", "#151c23"),
    "cold": ("#d55e00", "#ff8a3d"),
    "prewarm": ("#e69f00", "#f5b72e"),
    "warm": ("#009e73", "#2cc39a"),
    "thawed": ("#56b4e9", "#7cc7f2"),
    "queued": ("#b0548c", "#dd8fbd"),
    "busy": ("#0072b2", "#4aa8e0"),
    "gone": ("#9aa5b1", "#74828f"),
    "lost": ("#3d4852", "#c9d3dc"),
}
"""Role to (on light paper, on dark paper)."""

SERIES: Final = ("busy", "cold", "warm", "queued", "prewarm", "thawed", "gone", "lost")
"""The roles whose colours tell series apart that have no meaning of their own."""

_WIDTH_IN, _HEIGHT_IN = 5.2, 3.3
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": COLOURS["faint"][0],
    "axes.labelcolor": COLOURS["faint"][0],
    "axes.titlecolor": COLOURS["ink"][0],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": COLOURS["paper"][0],
    "figure.facecolor": COLOURS["paper"][0],
    "savefig.facecolor": COLOURS["paper"][0],
    "grid.color": COLOURS["grid"][0],
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "text.color": COLOURS["ink"][0],
    "xtick.color": COLOURS["faint"][0],
    "ytick.color": COLOURS["faint"][0],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "svg.fonttype": "none",
    "svg.hashsalt": "functions-invoker",
}


def colour(role: str) -> str:
    """The colour of the role on light paper."""
    return COLOURS[role][0]


class Picture(Figure):
    """A figure that notebooks show as it is. `alt`: what it shows, in words, for those who don't see it."""

    alt: str = ""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with mpl.rc_context(_STYLE):
            self.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
        return buffer.getvalue()

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file, 832 pixels wide."""
        return self._repr_png_()

    def svg(self, name: str) -> str:
        """The picture as an `svg` element of a page; `name`, unique in the page, tells its ids from others'."""
        buffer = io.StringIO()
        with mpl.rc_context(_STYLE):
            self.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        return _as_element(buffer.getvalue(), name, self.alt)


def _as_element(svg: str, name: str, alt: str) -> str:
    """An SVG file without what only a file needs: prologue, metadata, namespaces, sizes, ids that nothing refers to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda hit: f' id="{name}-{hit[1]}"' if hit[1] in used else "", svg)
    svg = re.sub(r"(url\(|href=\")#([\w-]+)", rf"\1#{name}-\2", svg)
    svg = svg.replace("xlink:href", "href")
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    svg = re.sub(r"<svg[^>]*>", f'<svg role="img" aria-label="{_quoted(alt)}" viewBox="{box[1]}">', svg, count=1)
    for role, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{role})")
    return re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1system-ui, sans-serif", svg)


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def styled(draw: Callable[Parameters, Picture]) -> Callable[Parameters, Picture]:
    """Draw in this style, whatever the process has set."""

    @functools.wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Picture:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def canvas(title: str, *, height_in: float = _HEIGHT_IN) -> tuple[Picture, Axes]:
    """An empty picture with one pair of axes, to be filled by a `styled` function."""
    picture = Picture(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = picture.add_subplot()
    axes.set_title(title)
    return picture, axes


def time_unit(span_ns: float) -> tuple[str, float]:
    """The unit in which a stretch of time is best told, and its length in ns."""
    for word, unit_ns in (("days", 86_400e9), ("h", 3_600e9), ("min", 60e9)):
        if span_ns >= 3 * unit_ns:
            return word, unit_ns
    return "s", 1e9


def time_axis(axes: Axes, span_ns: float, label: str = "simulated time") -> float:
    """Make the x axis one of time from 0 to `span_ns`; returns its unit in ns."""
    word, unit_ns = time_unit(span_ns)
    length = max(span_ns, 1) / unit_ns
    steps = (1, 2, 3, 6, 12, 24, 48) if word == "h" else (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120)
    axes.xaxis.set_major_locator(MultipleLocator(next((step for step in steps if length / step <= 9), length / 6)))
    axes.set_xlim(0, length)
    axes.set_xlabel(f"{label} ({word})")
    axes.grid(visible=False, axis="x")
    return unit_ns


_MARKS_MS: Final = [
    digit * unit_ms
    for unit_ms, digits in (
        *((10.0**power, (1, 2, 5)) for power in range(-3, 4)),
        (1e4, (1, 2, 3)),
        (60e3, (1, 2, 5, 10, 20, 30)),
        (3.6e6, (1, 2, 6, 12, 24)),
    )
    for digit in digits
]
_SPARSE_MS: Final = [*(10.0**power for power in range(-3, 5)), 60e3, 600e3, 3.6e6, 36e6]


def span_axis(axes: Axes, which: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis of spans given in ms, marked in the units that people use; what is drawn stands already."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    low, high = axes.get_ylim() if which == "y" else axes.get_xlim()
    marks = [mark for mark in _SPARSE_MS if low <= mark <= high]
    if len(marks) < 3:
        marks = [mark for mark in _MARKS_MS if low <= mark <= high]
    axis.set_major_locator(FixedLocator(marks))
    axis.set_major_formatter(FuncFormatter(lambda span_ms, _: span_words(span_ms)))
    axis.set_minor_locator(NullLocator())


def span_words(span_ms: float) -> str:
    """A span in three digits at most and the unit that suits it."""
    for limit_ms, unit_ms, unit in ((1.0, 1e-3, "µs"), (1e3, 1.0, "ms"), (60e3, 1e3, "s"), (3.6e6, 60e3, "min")):
        if span_ms < limit_ms * 0.9995:
            return f"{_short(span_ms / unit_ms)} {unit}"
    return f"{_short(span_ms / 3.6e6)} h"


def _short(number: float) -> str:
    digits = 0 if number >= 99.5 else 1 if number >= 9.95 else 2
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _height_in(axes: Axes) -> float:
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure.get_figheight()


def label_ends(axes: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
    """Write (value on the y axis, text, role of the colour) to the right of the axes, moved apart where they meet."""
    gap = 11.5 / (_height_in(axes) * 72 * 0.72)  # a line of text, as a share of the axes' height
    axes.get_ylim()  # has the axes look at their data, which the transformation doesn't
    to_share = axes.transData + axes.transAxes.inverted()
    ordered = sorted(labels)
    places = [min(1.0, max(0.0, float(to_share.transform((0.0, value))[1]))) for value, _, _ in ordered]
    for lower, upper in itertools.pairwise(range(len(places))):
        places[upper] = max(places[upper], places[lower] + gap)
    ceiling = 1.0
    for place in reversed(range(len(places))):
        places[place] = min(places[place], ceiling)
        ceiling = places[place] - gap
    for at, (_, text, role) in zip(places, ordered, strict=True):
        axes.annotate(
            text,
            (1.0, at),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour(role),
            fontweight="bold",
            fontsize=8.5,
        )

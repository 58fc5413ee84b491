"""Pictures show the numbers that they are given, and say them in words for those who don't see them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sim.report import figures
from sim.report.style import COLOURS, Picture, canvas, label_ends, styled
from sim.timeline import STATES

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS


def _invocations() -> pd.DataFrame:
    """A day: a call a minute; in the third hour all are cold and wait a second, in the fourth all are refused."""
    arrived = np.arange(0, DAY_NS, 60 * 10**9)
    hour = arrived // HOUR_NS
    kind = np.where(hour == 2, "cold", np.where(hour == 3, "none", "warm"))
    wait = np.where(hour == 2, 10**9, 0)
    frame = pd.DataFrame({"function": "f", "arrived_ns": arrived, "kind": kind, "outcome": "ok"})
    frame["dispatched_ns"] = frame["began_ns"] = frame["arrived_ns"] + wait
    frame["ended_ns"] = frame["began_ns"] + 10**8
    return frame


def _lines(picture: Picture) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in picture.axes[0].lines]


@pytest.mark.parametrize(
    ("span_ns", "length_ns"),
    [(10**9, 10**9), (600 * 10**9, 10 * 10**9), (DAY_NS, HOUR_NS // 4), (7 * DAY_NS, 3 * HOUR_NS), (900 * DAY_NS, 0)],
)
def test_bins_are_of_a_round_length(span_ns: int, length_ns: int) -> None:
    assert figures.bin_ns(span_ns) == length_ns or (not length_ns and figures.bin_ns(span_ns) > 9 * DAY_NS)
    assert span_ns / figures.bin_ns(span_ns) <= figures.BINS_MAX


def test_rates_over_time_are_those_of_each_bin() -> None:
    picture = figures.rates_over_time(_invocations(), DAY_NS)
    cold, queued, refused = _lines(picture)
    assert list(cold[1]) == [100.0 if 8 <= place < 12 else 0.0 for place in range(96)]
    assert list(refused[1]) == [100.0 if 12 <= place < 16 else 0.0 for place in range(96)]
    assert not queued[1].any()
    assert cold[0][0] == pytest.approx(0.125)
    assert "cold 4.17% of all" in picture.alt


def test_who_waited_for_a_container_that_stood_was_queued() -> None:
    rows = _invocations()
    rows["kind"] = rows["kind"].replace("cold", "warm")
    queued = _lines(figures.rates_over_time(rows, DAY_NS))[1]
    assert queued[1][8:12].min() == 100.0


def test_quantiles_are_drawn_where_there_is_enough_to_tell() -> None:
    """A quarter of an hour has 15 calls, too few; in a week, three hours have 180."""
    few = figures.latency_over_time(_invocations(), DAY_NS)
    assert all(not len(y) for _, y in _lines(few))
    enough = figures.latency_over_time(_invocations(), 7 * DAY_NS)
    median = _lines(enough)[0][1]
    assert median[1] == pytest.approx(100.0)
    assert _lines(enough)[2][1][0] == pytest.approx(1100.0)


def test_memory_is_stacked_up_to_what_is_charged() -> None:
    samples = pd.DataFrame({"at_ns": np.arange(4) * HOUR_NS, "waiting": 0, **dict.fromkeys(STATES, 0)})
    samples["busy"], samples["paused"] = 1024, [0, 1024, 2048, 3072]
    picture = figures.memory_over_time(samples, 4 * HOUR_NS, 8192)
    heights = [collection.get_paths()[0].vertices[:, 1].max() for collection in picture.axes[0].collections]
    assert heights == [1.0, 4.0]
    assert "busy 1.00 GB, paused 1.50 GB" in picture.alt


def test_starts_by_kind_counts() -> None:
    picture = figures.starts_by_kind(_invocations())
    assert [bar.get_width() for bar in picture.axes[0].patches] == [60, 60, 1320]
    assert "warm 1,320  (91.67%)" in picture.alt


def test_tails_end_at_the_longest() -> None:
    picture = figures.overhead_by_kind(_invocations())
    ends = [x.max() for x, _ in _lines(picture)]
    assert ends == [figures.AT_ONCE_MS, 1000.0]


def test_functions_by_rate_has_a_point_for_each() -> None:
    rows = pd.concat([_invocations(), _invocations().assign(function="g").head(200)])
    offsets = np.asarray(figures.functions_by_rate(rows, DAY_NS).axes[0].collections[0].get_offsets())
    assert sorted(offsets[:, 0]) == pytest.approx([200 / 24, 60])
    assert sorted(offsets[:, 1]) == pytest.approx([100 * 60 / 1380, 100 * 60 / 180])


@styled
def _crowded() -> Picture:
    picture, axes = canvas("crowded")
    axes.plot([0, 1], [0, 1])
    label_ends(axes, [(1.0, "one", "cold"), (0.999, "two", "warm"), (0.998, "three", "busy"), (0.0, "four", "ink")])
    return picture


def test_labels_at_the_ends_don_t_meet() -> None:
    places = sorted(text.xy[1] for text in _crowded().axes[0].texts)  # type: ignore[attr-defined]
    assert places[-1] <= 1.0
    assert min(np.diff(places)) > 0.05


def test_a_picture_is_the_same_twice_and_in_a_page_leaves_its_colours_open() -> None:
    one, two = (figures.starts_by_kind(_invocations()) for _ in range(2))
    assert one.svg("a") == two.svg("a")
    assert one.png() == two.png()
    assert not any(light in one.svg("a") for light, _ in COLOURS.values())


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        part = channel / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_its_paper(side: int) -> None:
    """WCAG 2: 4.5 for text; 3 for the bold labels and for lines, of which the light yellow and blue are the least."""
    paper = _luminance(COLOURS["paper"][side])

    def contrast(role: str) -> float:
        other = _luminance(COLOURS[role][side])
        return (max(paper, other) + 0.05) / (min(paper, other) + 0.05)

    assert contrast("ink") > 10
    assert contrast("faint") >= 4.5
    assert min(contrast(role) for role in ("cold", "warm", "queued", "busy", "lost")) >= 3
    assert min(contrast(role) for role in ("prewarm", "thawed", "gone")) >= 2

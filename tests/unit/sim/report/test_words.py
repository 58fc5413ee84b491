"""What a report says in words is what people say, and true."""

from __future__ import annotations

import pandas as pd
import pytest

from sim.report import words
from sim.report.run import Run
from sim.report.style import span_words


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0.0004, "0.4 µs"),
        (0.06, "60 µs"),
        (1, "1 ms"),
        (12.34, "12.3 ms"),
        (999.4, "999 ms"),
        (999.9, "1 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (90_000, "1.5 min"),
        (3.6e6, "1 h"),
        (86.4e6, "24 h"),
    ],
)
def test_spans(span_ms: float, text: str) -> None:
    assert span_words(span_ms) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.5, "50%"),
        (0.0123, "1.2%"),
        (0.00123, "0.12%"),
        (0.00001, "under 0.01%"),
        (0.99999, "over 99.99%"),
        (0.9988, "99.88%"),
    ],
)
def test_a_share_is_neither_nothing_nor_all_unless_it_is(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(25.0, "25 a second"), (0.5, "30 a minute"), (0.001, "3.6 an hour"), (0.0001, "8.64 a day")]
)
def test_rates(per_s: float, text: str) -> None:
    assert words.rate(per_s) == text


def _run(rows: list[tuple[str, int, int, int, str, str]]) -> Run:
    columns = ["function", "arrived_ns", "dispatched_ns", "ended_ns", "kind", "outcome"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["began_ns"] = frame["dispatched_ns"]
    return Run("x", "policy", frame, {"mean_memory_mb": 512.0}, 10**10, 2048)


SECOND = 10**9
ROWS = [
    ("a", 0, SECOND, 3 * SECOND, "cold", "ok"),
    ("a", 0, 0, 2 * SECOND, "warm", "ok"),
    ("b", 0, 3 * SECOND, 4 * SECOND, "thawed", "ok"),
    ("c", 0, 0, 0, "none", "refused: queue full"),
]


def test_the_findings_in_sentences() -> None:
    told = " ".join(words.headline(_run(ROWS)))
    assert "In 10 s, 4 invocations of 3 functions arrived, 24 a minute." in told
    assert "67% found a container that stood ready; 33% had to wait for a cold start." in told
    assert "25% of that was waited by cold starts" in told
    assert "25% never ran (refused: queue full 1)." in told
    assert "Containers held 512 MB on the average, 25% of 2 GB." in told


def test_who_suffers_is_ranked_by_time_waited() -> None:
    worst = words.sufferers(_run(ROWS))
    assert list(worst["function"]) == ["b", "a"]
    assert list(worst["share"]) == [0.75, 0.25]
    assert list(worst["cold"]) == [0.0, 0.5]
    assert list(worst["invocations"]) == [1, 2]
    assert list(worst["waited_ms"]) == [3000.0, 500.0]


def test_nothing_and_nothing_but_refusals_have_words() -> None:
    assert words.headline(_run([])) == ["The workload has no invocations: nothing happened."]
    assert words.headline(_run(ROWS[3:]))[-1] == "None of them ever ran."
    assert words.sufferers(_run(ROWS[3:])).empty

"""A report is one page that needs nothing else; a browser shows it and has no complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from invoker.policy import policyset
from invoker.policy.types import SECOND_NS
from sim import ListWorkload, Node, PoissonWorkload, Result, SimFunction, SimulationError, simulate
from sim.latency import Exponential
from sim.planning.task import Setting
from sim.planning.workers import ThisProcess
from sim.report.front import measured
from sim.report.page import Content, render
from sim.report.run import run_of

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RECIPE = 'workload:\n  type: poisson\nnote: a < b & "c"\n'


def _result(memory_mb: int = 1024, seed: int = 1, streaming: bool = False, invocations: int = 2500) -> Result:
    functions = tuple(SimFunction(name=f"ns/<f{i}>", memory_mb=256, run=Exponential(0.2 * SECOND_NS)) for i in range(8))
    workload = PoissonWorkload(functions, tuple(4.0 / (i + 1) ** 2 for i in range(8)), invocations, seed)
    policy = policyset.default(memory_mb)
    sample_every_ns = None if streaming else SECOND_NS
    return simulate(workload, Node(), policy, seed, streaming=streaming, sample_every_ns=sample_every_ns)


def _measure(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
    capacity_mb, policy = settings["policy.memory_mb"], settings["policy.keep_alive.name"]
    assert isinstance(capacity_mb, int)
    cold_share = 200 / capacity_mb + seed / 1000 + len(str(policy)) / 1e4
    return {"mean_memory_mb": capacity_mb * 0.9 + seed, "cold_share": cold_share}


@pytest.fixture(scope="module")
def page() -> str:
    run, other = run_of("a day", _result(), 10**10), run_of("twice the memory", _result(2048))
    policies = {name: (("policy.keep_alive.name", name),) for name in ("lru-ttl", "fixed-ttl")}
    front = measured(ThisProcess(_measure), policies, [1024, 2048], [1, 2, 3], "All of it.")
    return render(Content(run, RECIPE, [other], front))


class _Outline(HTMLParser):
    """The headings, the figures' alternative texts, and whatever would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.figures: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self._in_heading = tag in ("h1", "h2")
        if tag == "svg":
            self.figures.append(told["aria-label"])
        if "id" in told:
            self.ids.append(told["id"])
        if tag in ("script", "link", "iframe", "img"):
            self.fetched.append(tag)
        self.fetched += [value for name, value in told.items() if name in ("src", "href") and not value.startswith("#")]

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def _outline(text: str) -> _Outline:
    outline = _Outline()
    outline.feed(text)
    return outline


HEADINGS = [
    "Simulation report: a day",
    "Over time",
    "How invocations came to a container",
    "The functions that suffer most",
    "Compared",
    "Memory against cold starts",
    "How it was made",
]


def test_the_page_has_its_sections_and_figures(page: str) -> None:
    outline = _outline(page)
    assert outline.headings == HEADINGS
    assert len(outline.figures) == 9
    assert all(len(alt) > 40 and alt.endswith(".") for alt in outline.figures)
    assert "It was cut short at 10 s." in page
    assert "a &lt; b &amp; &quot;c&quot;" in page
    assert "ns/&lt;f" in page
    assert "<f7>" not in page


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    outline = _outline(page)
    assert outline.fetched == []
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert len(outline.ids) == len(set(outline.ids))


def test_colours_are_left_to_the_page(page: str) -> None:
    """A colour that is written into a figure would stay light on dark paper."""
    body = page[page.index("<body>") :]
    assert not re.search(r"(?:fill|stroke|stop-color): ?#", body)
    assert "var(--cold)" in body


def test_the_same_gives_the_same_bytes() -> None:
    one, two = (render(Content(run_of("a minute", _result(invocations=200)), RECIPE)) for _ in range(2))
    assert one == two


def test_the_findings_are_those_of_the_result(page: str) -> None:
    result = _result()
    assert f"{result.invocations:,} invocations of 8 functions" in page
    assert f"{result.cold_share:.0%} had to wait for a cold start" in page
    assert result.decision_hash in page


def test_sums_are_not_enough() -> None:
    with pytest.raises(SimulationError, match="without `streaming`"):
        run_of("sums", _result(streaming=True))


@pytest.mark.parametrize(
    "invocations",
    [[], [(0, 1, 10**9)], [(0, 0, 0), (0, 0, 0)]],
    ids=["none", "refused alone", "two at once"],
)
def test_little_is_enough_for_a_page(invocations: list[tuple[int, int, int]]) -> None:
    functions = (SimFunction(name="small"), SimFunction(name="large", memory_mb=4096))
    workload = ListWorkload(functions, invocations)
    result = simulate(workload, Node(), policyset.default(512), 1, sample_every_ns=SECOND_NS)
    assert "How it was made" in render(Content(run_of("little", result), RECIPE))


@pytest.mark.skipif(BROWSER is None, reason="no browser to open the page in: install chromium")
def test_a_browser_shows_it_without_an_error(page: str, tmp_path: Path) -> None:
    dom, console = _opened(page, tmp_path)
    outline = _outline(dom)
    assert outline.headings == HEADINGS
    assert len(outline.figures) == 9
    assert console == []


@pytest.mark.skipif(BROWSER is None, reason="no browser to open the page in: install chromium")
def test_an_error_in_the_console_would_be_seen(page: str, tmp_path: Path) -> None:
    _, console = _opened(page.replace("</main>", "</main><script>console.error('oh')</script>"), tmp_path)
    assert len(console) == 1


def _opened(page: str, directory: Path) -> tuple[str, list[str]]:
    """The page's DOM after it was opened, and what the browser said of it."""
    assert BROWSER is not None
    file = directory / "report.html"
    file.write_text(page, "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    options += [f"--user-data-dir={directory / 'browser'}", "--window-size=1200,2000"]
    done = subprocess.run([BROWSER, *options, file.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]

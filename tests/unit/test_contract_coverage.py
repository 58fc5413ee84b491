"""docs/contract.md: every section has a test that proves something of it, and what the page names is in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from invoker.config import DevSettings, ServeSettings
from invoker.io.metrics import Metrics
from invoker.policy import outcome
from invoker.policy.outcome import Reply
from invoker.protocol.logs import SENTINEL
from tests.support import contract_coverage as coverage
from tests.support.contract_coverage import CONTRACT, PAGE, ROOT, Row, Unreadable, proofs

TEXT = CONTRACT.read_text("utf-8")
SECTIONS = [str(number) for number in range(1, 20)]
OTHER_CAPITALS = {"KB", SENTINEL.decode()}
HOW = "run: python -m tests.support.contract_coverage --write"


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return coverage.rows(TEXT, coverage.sources())


def test_the_page_has_the_sections_that_the_code_names() -> None:
    assert list(coverage.titles(TEXT)) == SECTIONS
    named: set[str] = set()
    for path in (ROOT / "invoker").rglob("*.py"):
        source = path.read_text("utf-8")
        named.update(
            number
            for found in re.findall(r"contract[^)\n]{0,20}, sections? ([\d, and]+)", source)
            for number in re.findall(r"\d+", found)
        )
    assert named <= set(SECTIONS)
    assert len(named) > 10


def test_every_section_has_a_test(table: list[Row]) -> None:
    assert [row.section for row in table if not row.tests] == []


def test_the_committed_page_is_current(table: list[Row]) -> None:
    assert PAGE.read_text("utf-8") == coverage.page(table), HOW


@pytest.mark.parametrize("page", [CONTRACT, PAGE], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_settings_that_are_named_exist() -> None:
    known = {info.alias for model in (ServeSettings, DevSettings) for info in model.model_fields.values()}
    named = set(re.findall(r"`([A-Z]{2}[A-Z_]*)(?:=[a-z-]+)?`", TEXT)) - OTHER_CAPITALS
    assert named - known == set()
    assert {"ID", "KAFKA_HOSTS", "POLICY"} <= named


def test_metrics_that_are_named_exist() -> None:
    known = {metric.name for metric in Metrics().registry.collect()}
    named = set(re.findall(r"`((?:counter|histogram|gauge)_\w+[a-zA-Z])`", TEXT))
    assert {name.removesuffix("_total") for name in named} - known == set()
    assert len(named) >= 8


def said() -> list[str]:
    """Every message that section 14 shows, as the heart makes it."""
    late = Reply(timed_out=True)
    inits = [outcome.of_init(reply, 7) for reply in (late, Reply(500, b""))]
    ends = [
        outcome.not_found(),
        outcome.not_fetched(),
        outcome.not_provisioned(),
        outcome.not_provisioned("oom"),
        outcome.not_provisioned("exited"),
        outcome.of_run(late, 7),
        outcome.of_run(Reply(200, b"no"), 7),
        outcome.of_run(Reply(200, b"{}", announced=9, truncated=True), 7),
        *[end for end in inits if end is not None],
    ]
    return [end.error or "" for end in ends]


def test_messages_that_are_quoted_are_the_hearts() -> None:
    page = " ".join(TEXT.split())
    places = [("7 milli", "<ms> milli"), ("response: no", "response: <text>"), ("9 > 2", "<got> > <allowed>")]
    for message in said():
        for value, place in [*places, ("was: {}", "was: <text>")]:
            message = message.replace(value, place)
        assert f"`{message}`" in page, message


# --- the reader of markers ------------------------------------------------------------------------------------------

MARKED = """
import pytest
pytestmark = [pytest.mark.docker, pytest.mark.contract("4")]
@pytest.mark.contract("5", "6")
def test_one(): pass
@pytest.mark.parametrize("x", [1])
async def test_two(x): pass
class TestAll:
    @pytest.mark.contract("7")
    def test_three(self): pass
def helper(): pass
TestMachine = Machine.TestCase
"""


def test_markers_are_read_wherever_pytest_takes_them() -> None:
    assert {proof.test: set(proof.sections) for proof in proofs(MARKED, "x.py")} == {
        "test_one": {"4", "5", "6"},
        "test_two": {"4"},
        "TestAll.test_three": {"4", "7"},
        "TestMachine": {"4"},
    }
    assert proofs("def test_one(): pass", "x.py") == []


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.contract(4)\ndef test_one(): pass",
        "@pytest.mark.contract()\ndef test_one(): pass",
        "@pytest.mark.contract\ndef test_one(): pass",
        "@pytest.mark.contract(*all)\ndef test_one(): pass",
        "@pytest.mark.contract('4')\ndef helper(): pass",
        "proves = pytest.mark.contract('4')",
        "if True:\n    @pytest.mark.contract('4')\n    def test_one(): pass",
    ],
)
def test_a_marker_that_would_not_count_is_refused(source: str) -> None:
    with pytest.raises(Unreadable, match=r"^x\.py:\d+: a contract marker"):
        proofs(source, "x.py")


def test_a_section_that_there_is_not_is_refused() -> None:
    contract = "## 1. One\n\n### 2. No\n\n## 3. Three\n"
    marked = ("t.py", "@pytest.mark.contract('1')\ndef test_a(): pass")
    assert [(row.section, row.title, row.files) for row in coverage.rows(contract, [marked])] == [
        ("1", "One", {"t.py": 1}),
        ("3", "Three", {}),
    ]
    with pytest.raises(Unreadable, match=r"t\.py: test_a is marked with '2', which is no section"):
        coverage.rows(contract, [(marked[0], marked[1].replace("'1'", "'2'"))])


def test_the_table_says_what_has_no_test(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert coverage.main([]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "section | title | tests | where"
    monkeypatch.setattr(coverage, "sources", lambda: [("t.py", "@pytest.mark.contract('1')\ndef test_a(): pass")])
    assert coverage.main(["--brief"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "contract  1  Topology: 1 tests in 1 files"
    assert told.err.startswith("no test proves anything of section 2, 3, ")

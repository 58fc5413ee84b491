"""Which tests prove which section of docs/contract.md, by the markers `@pytest.mark.contract("4", "19")`.

The tests' syntax trees are read and nothing is imported, so it is quick and sees also what a machine can't run. A
marker that this can't read (not on a test, a class or `pytestmark`; its sections no text; a section that there isn't)
is an error, for a proof that isn't counted misleads.

    python -m tests.support.contract_coverage            a table; fails where a section has no test
    python -m tests.support.contract_coverage --brief    a line for each section
    python -m tests.support.contract_coverage --write    docs/contract-coverage.md
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "docs" / "contract.md"
PAGE = ROOT / "docs" / "contract-coverage.md"
TESTS = ROOT / "tests"
HEAD = """\
# Which tests prove the contract

Of each section of [contract.md](contract.md), the files with tests that prove something of it, by the marker
`pytest.mark.contract`. Made by `python -m tests.support.contract_coverage --write`; without `--write` it counts the
tests.

| section | title | where |
| --- | --- | --- |
"""

MARKER = "pytest.mark.contract"
_HEADING = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)


class Unreadable(Exception):
    """A marker that can't be counted; the text says where and why."""


class Proof(NamedTuple):
    """One test function (or state machine) and the sections that it is marked with."""

    test: str
    sections: frozenset[str]


class Row(NamedTuple):
    """One section: `files` are path in the tree -> number of tests, those with most first."""

    section: str
    title: str
    files: dict[str, int]

    @property
    def tests(self) -> int:
        """How many tests prove something of it."""
        return sum(self.files.values())


def titles(contract: str) -> dict[str, str]:
    """Section -> title, in the page's order."""
    return {match[1]: match[2].strip() for match in _HEADING.finditer(contract)}


def proofs(source: str, name: str) -> list[Proof]:
    """The marked tests of a file. Raises Unreadable."""
    tree = ast.parse(source)
    unread = {node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == MARKER}
    found = list(_of_body(tree.body, "", frozenset(), unread, name))
    if unread:
        line = min(node.lineno for node in unread)
        raise Unreadable(f"{name}:{line}: a contract marker on no test, class or pytestmark is not counted")
    return found


def _of_body(
    body: list[ast.stmt], prefix: str, outer: frozenset[str], unread: set[ast.Attribute], name: str
) -> Iterator[Proof]:
    """The tests of a module or class; each marker that was read is taken out of `unread`."""
    sections = outer | _sections(_marks_of(body), unread, name)
    for statement in body:
        match statement:
            case ast.FunctionDef(name=test) | ast.AsyncFunctionDef(name=test) if test.startswith("test"):
                own = sections | _sections(statement.decorator_list, unread, name)
                if own:
                    yield Proof(prefix + test, own)
            case ast.ClassDef(name=group) if group.startswith("Test"):
                own = sections | _sections(statement.decorator_list, unread, name)
                yield from _of_body(statement.body, f"{prefix}{group}.", own, unread, name)
            case ast.Assign(targets=[ast.Name(id=machine)]) if machine.startswith("Test") and sections:
                yield Proof(prefix + machine, sections)  # a state machine's TestCase
            case _:
                pass


def _marks_of(body: list[ast.stmt]) -> list[ast.expr]:
    """What `pytestmark` holds."""
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                return value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
            case _:
                pass
    return []


def _sections(marks: Iterable[ast.expr], unread: set[ast.Attribute], name: str) -> frozenset[str]:
    sections: set[str] = set()
    for mark in marks:
        marker = mark.func if isinstance(mark, ast.Call) else mark
        if not isinstance(marker, ast.Attribute) or marker not in unread:
            continue
        unread.discard(marker)
        named = mark.args if isinstance(mark, ast.Call) else []
        texts = [each.value for each in named if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if not named or len(texts) < len(named):
            raise Unreadable(f"{name}:{mark.lineno}: a contract marker names its sections, each as text")
        sections.update(texts)
    return frozenset(sections)


def rows(contract: str, files: Iterable[tuple[str, str]]) -> list[Row]:
    """The table, from the contract's text and (path, source) of the test files. Raises Unreadable."""
    known = titles(contract)
    counts: dict[str, Counter[str]] = {section: Counter() for section in known}
    for name, source in files:
        for proof in proofs(source, name):
            for section in proof.sections:
                if section not in counts:
                    raise Unreadable(f"{name}: {proof.test} is marked with {section!r}, which is no section")
                counts[section][name] += 1
    return [
        Row(section, title, dict(sorted(counts[section].items(), key=lambda file: (-file[1], file[0]))))
        for section, title in known.items()
    ]


def sources() -> list[tuple[str, str]]:
    """(path in the tree, source) of every test file."""
    return [(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in sorted(TESTS.rglob("test_*.py"))]


def page(table: list[Row]) -> str:
    """docs/contract-coverage.md, without numbers: it changes only when a file begins or ceases to prove a section."""
    lines: list[str] = []
    for row in table:
        where = ", ".join(f"[{Path(file).stem}](../{file})" for file in sorted(row.files))
        lines.append(f"| {row.section} | {row.title} | {where} |\n")
    return HEAD + "".join(lines)


def _print(table: list[Row], brief: bool) -> None:
    if brief:
        for row in table:
            print(f"contract {row.section:>2}  {row.title}: {row.tests} tests in {len(row.files)} files")
        return
    print("section | title | tests | where")
    for row in table:
        where = ", ".join(f"{file} ({count})" for file, count in row.files.items())
        print(f"{row.section} | {row.title} | {row.tests} | {where or 'NONE'}")


def main(arguments: list[str]) -> int:
    """Print or write the table; 1 where a section has no test, or a marker can't be read."""
    parser = argparse.ArgumentParser(prog="contract_coverage", description="Which tests prove which section.")
    parser.add_argument("--brief", action="store_true", help="a line for each section")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args(arguments)
    try:
        table = rows(CONTRACT.read_text("utf-8"), sources())
    except Unreadable as problem:
        print(problem, file=sys.stderr)
        return 1
    if asked.write:
        PAGE.write_text(page(table), "utf-8")
    else:
        _print(table, asked.brief)
    bare = [row.section for row in table if not row.files]
    if bare:
        print(f"no test proves anything of section {', '.join(bare)}", file=sys.stderr)
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

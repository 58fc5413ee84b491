"""The house rules of CONTRIBUTING.md that a machine can check: sizes, legends, loose ends, what a file may not hold."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for package in ("invoker", "sim", "loadtest") for path in (ROOT / package).rglob("*.py"))
LEGENDED = [path for path in MODULES if path.parent.name != "examples"]  # those are functions, as users write them

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
FILE_BYTES_MAX = 1_000_000

LONGER = {
    "invoker/commands/dev.py:dev": "a table: each option with its help, from which the command line is made",
    **{
        f"sim/commands/{name}.py:{name}": "half of it is the table of its options"
        for name in ("capacity", "compare", "sweep")
    },
}
"""Modules and functions (`path` or `path:name`) that may be longer, each with its reason."""

NOT_OURS = {".git", ".venv", ".state", ".hypothesis", "build", "dist", "node_modules", "__pycache__", ".invoker"}


def own_files() -> Iterator[Path]:
    """Every file of the tree that a person wrote or a command of ours made."""
    for directory, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in NOT_OURS and not name.endswith(("_cache", ".egg-info"))]
        yield from (Path(directory, name) for name in files)


def own_texts() -> Iterator[tuple[str, str]]:
    """(path in the tree, text) of every file that is text."""
    for path in own_files():
        try:
            yield str(path.relative_to(ROOT)), path.read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


def findings(pattern: str, text: str) -> list[str]:
    """`line: match` for each place that the pattern is found."""
    return [f"{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}" for hit in re.finditer(pattern, text)]


def long_functions(source: str) -> list[str]:
    """The names of functions that don't fit a screen."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_a_sitting_and_a_function_a_screen(path: Path) -> None:
    name, source = str(path.relative_to(ROOT)), path.read_text("utf-8")
    lines = source.count("\n")
    assert lines <= MODULE_LINES_MAX or name in LONGER, f"{name} has {lines} lines, more than {MODULE_LINES_MAX}"
    long = [function for function in long_functions(source) if f"{name}:{function}" not in LONGER]
    assert not long, f"{name}: longer than {FUNCTION_LINES_MAX} lines: {long}"


def test_the_exceptions_are_still_there() -> None:
    assert [name for name in LONGER if not (ROOT / name.partition(":")[0]).exists()] == []


@pytest.mark.parametrize("path", LEGENDED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_tells_pure_from_impure(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = docstring.partition("\n")[0]
    if path == ROOT / "invoker" / "__init__.py":  # both at once: it holds the legend
        assert "◇" in docstring
        assert "◆" in docstring
        return
    assert first.startswith(("◇ ", "◆ ")), f"the docstring's first line needs the legend: {first!r}"
    if path.parent.name in ("policy", "protocol") and path.parent.parent.name == "invoker":
        assert first.startswith("◇ "), "this room is pure"


def test_no_loose_ends() -> None:
    words = "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX(?!_)", "HA" + "CK"])
    left = [f"{name}:{place}" for name, text in own_texts() for place in findings(rf"\b(?:{words})\b", text)]
    assert not left, "\n".join(left)


def test_no_file_names_a_place_of_one_machine() -> None:
    places = "|".join(["/wo" + "rk/", "/ho" + "me/[a-z]", "/Use" + "rs/[A-Za-z]", "(?<![a-z])/ro" + "ot/"])
    left = [f"{name}:{place}" for name, text in own_texts() for place in findings(places, text)]
    assert not left, "\n".join(left)


def test_no_file_names_a_registry_of_packages() -> None:
    """Each machine installs from where its own clients are set up to; a host in a file would tie it to one."""
    hosts = registry_hosts()
    left = [f"{name}: {host}" for name, text in own_texts() for host in hosts if host in text]
    assert not left, "\n".join(left)


def test_nothing_is_there_that_holds_hosts_or_is_huge() -> None:
    names = {path.name for path in own_files()}
    assert "uv.lock" not in names
    assert "package-lock.json" not in names
    huge = [str(path) for path in own_files() if path.exists() and path.stat().st_size > FILE_BYTES_MAX]
    assert not huge


def registry_hosts() -> set[str]:
    """The hosts that this machine's package clients are set up with, as far as the clients are here to be asked."""
    told = [value for name, value in os.environ.items() if re.search("INDEX|PROXY|REGISTRY", name, re.IGNORECASE)]
    questions = [
        ["python3", "-m", "pip", "config", "list"],
        ["npm", "config", "get", "registry"],
        ["go", "env", "GOPROXY"],
    ]
    told += [answer(question) for question in questions if shutil.which(question[0])]
    for sources in Path("/etc/apt").glob("sources.list*/*"):
        told += [line for line in sources.read_text().splitlines() if not line.startswith("#")]
    hosts = {host for text in told for host in re.findall(r"https?://(?:[^/@\s'\"]*@)?([^/:\s,'\"|]+)", text)}
    return {host for host in hosts if not re.fullmatch(r"localhost|127\..*|\[.*", host)}


def answer(question: list[str]) -> str:
    """What a package client says of itself."""
    return subprocess.run(question, capture_output=True, text=True, timeout=30, cwd="/", check=False).stdout


def test_the_checks_can_fail() -> None:
    body = "\n".join(["    x = 1"] * FUNCTION_LINES_MAX)
    assert long_functions(f"def long():\n{body}\n") == ["long"]
    assert long_functions(f"class A:\n  async def long():\n{body}\n") == ["long"]
    assert not long_functions("def short():\n" + "\n".join(["    x = 1"] * (FUNCTION_LINES_MAX - 1)) + "\n")
    assert findings("b+", "a\nbb b") == ["2: bb", "2: b"]

"""The heart is pure: this walks the syntax trees of the pure rooms for whatever would make a replay differ.

A decision that depends on a clock, on chance, on a set's order or on an object's address can't be made twice alike;
one that does I/O can't be made in the simulator. The checker itself is tested on bad and good examples below.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

INVOKER = Path(__file__).parents[2] / "invoker"
ROOMS = ("policy", "protocol", "firewall")
PURE_MODULES = sorted(path for room in ROOMS for path in INVOKER.glob(f"{room}/**/*.py"))

# Modules of the standard library without a clock, chance or I/O. `datetime` has a clock, and integers do.
STANDARD = frozenset(
    {"__future__", "abc", "base64", "binascii", "bisect", "collections", "dataclasses", "enum", "functools", "heapq"}
    | {"itertools", "json", "math", "re", "string", "struct", "types", "typing", "urllib.parse"}
)

ALLOWED = {
    "policy": STANDARD | {"msgspec", "invoker.policy"},
    "protocol": STANDARD | {"msgspec", "cryptography", "invoker.protocol", "invoker.errors"},
    "firewall": STANDARD | {"ipaddress", "msgspec", "invoker.firewall", "invoker.errors"},
}

FORBIDDEN_CALLS = frozenset(
    {"__import__", "breakpoint", "compile", "eval", "exec", "globals", "hash", "id", "input", "locals", "open", "print"}
)
SET_MAKERS = frozenset({"set", "frozenset"})
# Calls whose result doesn't depend on the order of what they are given.
ORDER_BLIND = frozenset({"sorted", "len", "any", "all", "set", "frozenset", "isinstance"})


def offences(source: str, room: str) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) for each thing that a pure room may not hold."""
    line = 0  # of the nearest node that has one: a comprehension's clause has none
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", line)
        for what in _of_node(node, room):
            yield line, what


def _of_node(node: ast.AST, room: str) -> Iterator[str]:
    match node:
        case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await():
            yield f"async: {type(node).__name__}"
        case ast.Import(names=names):
            yield from (f"import of {name.name}" for name in names if not _allowed(name.name, room))
        case ast.ImportFrom(level=0, module=str(module)):
            if not _allowed(module, room):
                yield f"import of {module}"
        case ast.ImportFrom(level=level) if level > 0:
            yield "relative import (its room can't be seen)"
        case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
            yield f"call of {name}()"
        case ast.Global():
            yield "state outside the state"
        case ast.For(iter=over) | ast.comprehension(iter=over) | ast.Starred(value=over) if _is_set(over):
            yield "iteration over a set, whose order differs between runs"
        case ast.Call(func=ast.Name(id=name), args=[first, *_]) if _is_set(first) and name not in ORDER_BLIND:
            yield f"{name}() of a set, whose order differs between runs"
        case ast.Call(func=ast.Attribute(value=taken_from, attr="pop")) if _is_set(taken_from):
            yield "pop() from a set, whose order differs between runs"
        case _:
            pass


def _allowed(module: str, room: str) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:length]) in ALLOWED[room] for length in range(1, len(parts) + 1))


def _is_set(node: ast.expr) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in SET_MAKERS
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return _is_set(left) or _is_set(right)
        case _:
            return False


@pytest.mark.parametrize("path", PURE_MODULES, ids=lambda path: str(path.relative_to(INVOKER)))
def test_pure_rooms_hold_nothing_impure(path: Path) -> None:
    room = path.relative_to(INVOKER).parts[0]
    found = [f"{path.name}:{line}: {what}" for line, what in offences(path.read_text("utf-8"), room)]
    assert not found, "\n".join(found)


def test_all_rooms_are_looked_at() -> None:
    assert {path.relative_to(INVOKER).parts[0] for path in PURE_MODULES} == set(ROOMS)


BAD = [
    "async def f(): pass",
    "async def f():\n    await g()",
    "import time",
    "from time import monotonic_ns",
    "import datetime",
    "from datetime import datetime\nnow = datetime.now()",
    "import random",
    "import secrets",
    "import uuid",
    "import logging",
    "import os",
    "import os.path",
    "import sys",
    "from pathlib import Path",
    "import asyncio",
    "import threading",
    "import socket",
    "import structlog",
    "from invoker.io import docker_engine",
    "from invoker import driver",
    "from . import pool",
    "def f():\n    import time",
    "open('x')",
    "print('x')",
    "input()",
    "exec('x')",
    "__import__('time')",
    "hash('x')",
    "key = id(object())",
    "for x in {1, 2}: pass",
    "for x in set(y): pass",
    "[x for x in {1, 2}]",
    "[x for x in set(a) | b]",
    "list(set(a))",
    "tuple({1, 2})",
    "next(iter(frozenset(a)))",
    "f(*{1, 2})",
    "set(a).pop()",
    "def f():\n    global x\n    x = 1",
]

GOOD = [
    "from __future__ import annotations\nimport msgspec\nfrom heapq import heappush",
    "from invoker.policy.types import ContainerId",
    "from collections.abc import Iterator",
    "for x in [1, 2]: pass",
    "for x in dict.fromkeys(y): pass",
    "ok = x in {1, 2}",
    "sorted(set(a))",
    "len(set(a))",
    "for x in sorted(set(a)): pass",
    "self.open()",
    "container.id",
    "print_job(1)",
]


@pytest.mark.parametrize("source", BAD)
def test_the_checker_sees_what_is_impure(source: str) -> None:
    assert list(offences(source, "policy"))


@pytest.mark.parametrize("source", GOOD)
def test_the_checker_lets_pure_code_be(source: str) -> None:
    assert not list(offences(source, "policy"))


def test_the_rooms_differ_in_what_they_may_import() -> None:
    aead = "from cryptography.hazmat.primitives.ciphers.aead import AESGCM"
    assert not list(offences(aead, "protocol"))
    assert list(offences(aead, "policy"))
    assert list(offences("from invoker.policy.types import PrewarmKey", "protocol"))
    assert list(offences("from invoker.protocol.message import decode_message", "policy"))


def test_importing_the_heart_loads_nothing_that_talks_to_the_world() -> None:
    """What the syntax trees can't show: the imports of imports. Foreign code of msgspec's own is let be."""
    names = [f"invoker.policy.{path.stem}" for path in PURE_MODULES if path.parent.name == "policy"]
    check = (
        "import sys, msgspec; allowed = set(sys.modules)\n"
        f"for name in {[name for name in names if not name.endswith('__init__')]!r}: __import__(name)\n"
        "print(*sorted({n.partition('.')[0] for n in set(sys.modules) - allowed} & "
        "{'asyncio', 'socket', 'ssl', 'subprocess', 'logging', 'random', 'aiohttp', 'aiodocker', 'structlog'}))"
    )
    environment = {"PYTHONPATH": str(INVOKER.parent), "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""

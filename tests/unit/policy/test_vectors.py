"""Each policy's conformance vectors: events in, actions out, as data (tests/unit/policy/vectors/*.toml).

A file names the policies and the functions, then tells a story step by step, each with the reason for what is decided.
Events and actions are written as in a decision log. Whoever writes a policy in another language can run them too.
"""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

import msgspec
import pytest

from invoker.policy import PolicySet, Pool, invariants, step
from invoker.policy.actions import AnyAction
from invoker.policy.events import AnyEvent
from invoker.policy.policyset import KEEP_ALIVES

VECTORS = sorted(pathlib.Path(__file__).with_name("vectors").glob("*.toml"))


def event_of(words: list[Any], functions: dict[str, Any]) -> AnyEvent:
    """An event; `["arrive", activation, function]` is short for InvocationArrived with that function's keys."""
    if words[0] == "arrive":
        function = functions[words[2]]
        key = ["ns", "path", words[2], "1", "r", ""]
        stem = [function.get("kind", "k"), function["memory_mb"]]
        words = ["InvocationArrived", words[1], key, stem, function.get("concurrency", 1)]
    return msgspec.convert(words, AnyEvent)


@pytest.mark.contract("13")
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_vector_comes_out_as_written(path: pathlib.Path) -> None:
    vector = tomllib.loads(path.read_text())
    pool = Pool(msgspec.convert(vector["policies"], PolicySet))
    for number, entry in enumerate(vector["step"], start=1):
        event = event_of(entry["event"], vector["functions"])
        expected = msgspec.convert(entry["actions"], list[AnyAction])
        decided = step(pool, entry["at_ms"] * 1_000_000, event)
        told = f"{path.name}, step {number} ({entry['why']})"
        assert decided == expected, f"{told}:\n decided {decided}\n written {expected}"
        assert invariants.check(pool) == [], told


def test_there_is_a_vector_for_every_policy() -> None:
    told = "".join(path.read_text() for path in VECTORS)
    for name in (*KEEP_ALIVES, "adaptive", "never", "reactive", "charged", "reference"):
        assert f'"{name}"' in told, f"no vector names {name}"

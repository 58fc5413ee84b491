"""Broken input by the thousand: a seeded mutator, and the loop that holds a decoder to a value or its one error.

Half of the mutations work on bytes and mostly end in broken JSON; half replace a value of the document by an odd one,
and so get past the parser.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

SEED = int(os.environ.get("FUZZ_SEED", "20160919"))
Json: TypeAlias = Any

TOKENS = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"\\u0000", b"null", b"true"),
    *(b"1e400", b"-0", b"1.0", b"9" * 40, b"NaN", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\n", b" ", b"//"),
    *(b"[" * 2000, b'{"a":' * 2000, b"9" * 5000, b'"transid"', b'"content"', b'"code"', b"mem:", b"couch:", b"=="),
]

ODD_VALUES: list[Json] = [
    *(None, True, False, 0, -1, 1, 1.5, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308, "", "x", "\u0000", "\U0001f600"),
    *("\ud800", "mem:", "mem:!", "couch:", "256 MB", "a" * 3000, [], {}, [[]], [None], {"": None}, {"key": 1}),
    *([["id", 1]], ["id", 1], ["id", 1, True, ["p", 2]], {"attachmentName": "x"}, {"\udc00": "\ud800"}),
]


def mutated(rng: random.Random, documents: list[bytes]) -> bytes:
    """One of the documents, broken in one to four places."""
    data = rng.choice(documents)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = _replaced(rng, data) if rng.random() < 0.5 else _scrambled(rng, data)
    return data


def _scrambled(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((0, 1, 1, 2, 8, 64)))
    match rng.randrange(5):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:end] + data[start:]
        case 2:
            return data[:start] + rng.choice(TOKENS) + data[end:]
        case 3:
            return data[:start] + bytes([rng.randrange(256)]) + data[start + 1 :]
        case _:
            return data[:start]


def _replaced(rng: random.Random, data: bytes) -> bytes:
    """Another value in one place of the document; the bytes as they are where they aren't JSON."""
    try:
        tree: Json = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Json, Any]] = list(_places(tree))
    if not places:
        return data
    parent, key = rng.choice(places)
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = rng.choice(ODD_VALUES)
    return json.dumps(tree).encode()


def _places(tree: Json) -> Iterator[tuple[Json, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            yield node, key
            waiting.append(node[key])


def hold(
    decode: Callable[[bytes], object], error: type[Exception], documents: list[bytes], rounds: int
) -> tuple[int, int]:
    """Feed `rounds` mutated documents; (values, errors) that came of them. A failure tells the seed and the bytes."""
    rng = random.Random(SEED)
    values = errors = 0
    for each in range(rounds):
        data = mutated(rng, documents)
        try:
            decode(data)
            values += 1
        except error:
            errors += 1
        except Exception as problem:
            raise AssertionError(f"FUZZ_SEED={SEED}, round {each}, {type(problem).__name__} at {data!r}") from problem
    return values, errors

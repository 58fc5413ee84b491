"""Parameters and results pass through the whole invoker as they were written, byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import RAW, Machine, message, serving

VALUES = [
    b"1.0",
    b"8.70",
    b"-0",
    b"1e400",
    b"1E+2",
    b"1234567890123456789012345678901234567890",
    b'"\\u0041\\/\\n"',
    b'"\\ud83d\\ude00"',
    '"😀 é"'.encode(),
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'{"z":1,"a":2,"m":3}',
    b'{"k":1,"k":{"k":2,"k":3}}',
    b"[ 1 ,\t2,{ } ]",
    b"null",
]
CONTENT = b'{"z":{"k":1,"k":2},' + b",".join(b'"v%d":%b' % pair for pair in enumerate(VALUES)) + b',"a":true}'


@pytest.mark.contract("3")
async def test_the_container_gets_the_parameters_as_they_were_written(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path) as node:
        await node.put("echo", "{}", RAW)
        ended = await node.call("echo", CONTENT)
        got: str = ended.result["body"]
        assert got.startswith('{"value":' + CONTENT.decode() + ',"activation_id":')
        # With some parameters taken out for /init, each of the others is still as it was written.
        names = tuple(f"v{number}" for number in range(0, len(VALUES), 2))
        second = await node.call("echo", CONTENT, init_args=names, action=another("echo"))
        run: str = second.result["body"]
        for number, value in enumerate(VALUES):
            there = f'"v{number}":{value.decode()}' in run
            assert there == (number % 2 == 1), (number, run)
        environment: dict[str, str] = second.result["environment"]
        for number in range(0, len(VALUES), 2):
            text = VALUES[number].decode()
            assert environment[f"v{number}"] == (json.loads(text) if text.startswith('"') else text)


def another(name: str) -> dict[str, Any]:
    """Another version of the action: it gets a container of its own."""
    return {"path": "guest", "name": name, "version": "0.0.2"}


@pytest.mark.contract("7")
async def test_the_caller_and_the_record_get_the_result_as_it_was_written(machine: Machine, tmp_path: Path) -> None:
    async with serving(machine, tmp_path) as node:
        await node.put("echo", "{}", RAW)
        activation = "0" * 31 + "1"
        order = {"raw": {"answer": CONTENT.decode()}}
        response = await node.send(message("echo", order, activation=activation))
        body = await response.body()
        assert b'"response":{"result":' + CONTENT + b',"statusCode":0,"size":%d}' % len(CONTENT) in body
        await node.stored(activation)
        assert CONTENT in (await node.dev.store.record("guest", activation)).record

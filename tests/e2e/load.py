"""Load that a small node can't bear without queueing, evicting and pausing, and that is not all well-behaved."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.support.node import Response, message, request

ACTIONS = 6
MEMORY_MB = 128
TIGHT_MB = 3 * MEMORY_MB
BLOCK = 25
"""So many activations in a row are mostly of one action; then it changes, and another has to go."""

CODE = """
import os, time

def main(args):
    print("number", args["number"])
    if args["do"] == "fail":
        raise ValueError("no such luck")
    if args["do"] == "exit":
        os._exit(3)
    if args["do"] == "nap":
        time.sleep(args["s"])
    return {"number": args["number"]}
"""


class Sent(NamedTuple):
    """One activation of the load: what was sent, and the answer whose head has come."""

    activation: str
    number: int
    do: str
    blocking: bool
    response: Response


class Load:
    """`total` activations over ACTIONS actions, `in_flight` at a time, the same ones each time for a seed.

    `sent` are those whose head was seen, `answers` the completion messages by activation, `refused` counts those that
    were not accepted, `broken` the answers that were cut short.
    """

    def __init__(self, port: int, total: int, in_flight: int = 16, seed: int = 1) -> None:
        self._port = port
        self._total = total
        self._in_flight = in_flight
        self._chance = random.Random(seed)
        self._numbers = iter(range(total))
        self.sent: list[Sent] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.refused = 0
        self.broken = 0
        self._stopped = False

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def run(self) -> None:
        """Send all and read every answer."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._in_flight):
                group.create_task(self._client())

    async def _client(self) -> None:
        for number in self._numbers:
            if self._stopped:
                return
            sent = await self._send(number)
            if sent is not None:
                try:
                    self.answers[sent.activation] = json.loads(await sent.response.body())
                except (ConnectionError, asyncio.IncompleteReadError):
                    self.broken += 1

    async def _send(self, number: int) -> Sent | None:
        """None where the node takes nothing any more."""
        chance = self._chance
        action = number // BLOCK if chance.random() < 0.8 else chance.randrange(ACTIONS)
        do = chance.choices(("nap", "quick", "fail", "exit"), (40, 52, 6, 2))[0]
        blocking = chance.random() < 0.5
        activation = uuid.UUID(int=chance.getrandbits(128)).hex
        content = {"number": number, "do": do, "s": round(chance.uniform(0.001, 0.03), 3)}
        body = message(f"load{action % ACTIONS}", content, activation=activation, blocking=blocking)
        try:
            response = await request(self._port, "POST", "/invoke", body)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.refused += 1
            return None
        if response.status != 200:
            assert response.status == 503
            await response.leave()
            self.refused += 1
            return None
        sent = Sent(activation, number, do, blocking, response)
        self.sent.append(sent)
        return sent


async def put_actions(put: Callable[[str, str], Awaitable[object]]) -> None:
    """Keep the load's actions."""
    for number in range(ACTIONS):
        await put(f"load{number}", CODE)


def judge(sent: Sent, record: dict[str, Any]) -> None:
    """The activation's record has to be its own, and its result what was to come of it."""
    status, result = record["response"]["statusCode"], record["response"]["result"]
    assert record["activationId"] == sent.activation
    if sent.do in ("nap", "quick"):
        assert (status, result) == (0, {"number": sent.number})
    else:
        assert status == 2
    assert f"stdout: number {sent.number}" in [line[31:] for line in record["logs"]]

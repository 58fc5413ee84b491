"""◆ The intake: where an activation message becomes the invoker's own affair.

A message is read and judged before anything is promised. Then the promise (the flushed head over HTTP), and from there
on the activation runs to its end in a task of its own, whatever becomes of its caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from invoker.errors import CallerFault
from invoker.io.http.messages import JSON, Exchange, Request, error_body
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner

IN_FLIGHT_MAX = 20_000
"""Activations accepted and not yet answered; more are refused with 503, before anything is promised."""


class Intake:
    """Takes messages for a runner until it is closed."""

    def __init__(self, runner: Runner, keys: KeyRing) -> None:
        self._runner = runner
        self._keys = keys
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Accepted and not finished."""
        return len(self._tasks)

    def handle(self, request: Request, exchange: Exchange) -> None:
        """POST /invoke (contract, section 4)."""
        try:
            message = decode_message(request.body, self._keys)
        except CallerFault as fault:
            exchange.respond(400, error_body(str(fault)), JSON)
            return
        if self._closed or len(self._tasks) >= IN_FLIGHT_MAX:
            why = "the invoker is stopping" if self._closed else "too many activations are under way here"
            exchange.respond(503, error_body(f"{why}; send it to another invoker"), JSON, [("Retry-After", "1")])
            return
        exchange.begin()
        self._begin(self._runner.run(message, "http", exchange.finish, request.headers))

    async def invoke(self, body: bytes) -> bytes:
        """Take a message from a door of this process, and see it through to its stored record; the completion message.

        Raises CallerFault where the message can't be used.
        """
        message = decode_message(body, self._keys)
        if self._closed:
            raise CallerFault("the invoker is stopping; try again when it is back")
        return await asyncio.shield(self._begin(self._see_through(message)))

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True

    async def finished(self) -> None:
        """Wait until all that was accepted is answered, recorded and logged."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Cut off what is under way."""
        for task in self._tasks:
            task.cancel()

    async def _see_through(self, message: ActivationMessage) -> bytes:
        answers: list[bytes] = []
        await self._runner.run(message, "http", answers.append, {})
        return answers[0]

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

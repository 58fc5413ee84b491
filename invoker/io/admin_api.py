"""◆ Enable and disable, as upstream's invoker serves them for its operators.

A disabled invoker only tells so: the controllers get one ping that says it and then none, and stop choosing this
invoker. It goes on reading its topic and serving HTTP, for what was sent to it already has to run; nothing is drained.
The state is not kept over a restart. Who may call this is a guard's affair, around these handlers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from invoker.io.http.server import Exchange, Request, Router

log = logging.getLogger(__name__)

TEXT = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"


class AdminApi:
    """The switch and its three routes. `switched(enabled)` is awaited whenever it has changed; must not raise."""

    def __init__(self, instance: int, switched: Callable[[bool], Awaitable[None]]) -> None:
        self._name = f"invoker{instance}"
        self._switched = switched
        self.enabled = True

    def register(self, router: Router) -> None:
        """Add the routes."""
        router.add("POST", "/enable", self.enable)
        router.add("POST", "/disable", self.disable)
        router.add("GET", "/isEnabled", self.show)

    async def enable(self, _request: Request, exchange: Exchange) -> None:
        """POST /enable: pings begin again."""
        await self._switch(True, exchange)

    async def disable(self, _request: Request, exchange: Exchange) -> None:
        """POST /disable: a last ping, then none."""
        await self._switch(False, exchange)

    def show(self, _request: Request, exchange: Exchange) -> None:
        """GET /isEnabled."""
        exchange.respond(200, b'{"enabled":%b}' % (b"true" if self.enabled else b"false"), JSON_TYPE)

    async def _switch(self, enabled: bool, exchange: Exchange) -> None:
        word = "enabled" if enabled else "disabled"
        if self.enabled is enabled:
            exchange.respond(200, f"{self._name} is already {word}.".encode(), TEXT)
            return
        self.enabled = enabled
        log.info("%s is now %s", self._name, word)
        await self._switched(enabled)
        exchange.respond(200, f"{self._name} is now {word}.".encode(), TEXT)

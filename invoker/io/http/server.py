"""◆ An HTTP/1.1 listener: routes to handlers, and an orderly end.

Every listener of the invoker is one of these. aiohttp.web was measured at 121 µs of CPU for a small POST with an early
head, where this takes a fraction; `http_connection` does the wire, this file starts, dispatches and drains.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from invoker.errors import PlatformFault
from invoker.io.http.connection import Connection
from invoker.io.http.messages import JSON, Exchange, Request, error_body
from invoker.io.http.shared import Limits, Shared
from invoker.io.http.tls_layer import TlsLayer

__all__ = ["Exchange", "Handler", "HttpServer", "Limits", "Request", "Router"]

Handler: TypeAlias = Callable[[Request, Exchange], Awaitable[None] | None]
"""Answers a request on its exchange. One that returns None may finish the exchange later; a coroutine has to itself."""

BACKLOG_CONNECTIONS = 1024
ABORT_WAIT_S = 2.0


Wrapper: TypeAlias = Callable[[Handler], Handler]
"""Puts something before a handler: a guard."""


class Router:
    """Which handler answers a method and a path. Exact paths win over prefixes, longer prefixes over shorter ones."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._prefixes: dict[str, dict[str, Handler]] = {}
        self._guards: list[tuple[str, Wrapper]] = []

    def guard(self, prefix: str, guard: Wrapper) -> None:
        """Put `guard` before every route under `prefix`, those that are there and those that are added later."""
        self._guards.append((prefix, guard))
        for routes in (self._exact, self._prefixes):
            for path, methods in routes.items():
                if path.startswith(prefix):
                    routes[path] = {method: guard(handler) for method, handler in methods.items()}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Serve `path` itself. HEAD is answered by GET's handler, its body left out."""
        self._exact.setdefault(path, {})[method] = self._guarded(path, handler)

    def add_prefix(self, method: str, prefix: str, handler: Handler) -> None:
        """Serve every path that begins with `prefix`."""
        self._prefixes.setdefault(prefix, {})[method] = self._guarded(prefix, handler)
        self._prefixes = dict(sorted(self._prefixes.items(), key=lambda item: -len(item[0])))

    def _guarded(self, path: str, handler: Handler) -> Handler:
        for prefix, guard in self._guards:
            if path.startswith(prefix):
                handler = guard(handler)
        return handler

    def find(self, method: str, path: str) -> Handler:
        """The handler, or one that answers 404, or 405 with Allow."""
        methods = self._exact.get(path)
        if methods is None:
            methods = next((found for prefix, found in self._prefixes.items() if path.startswith(prefix)), None)
            if methods is None:
                return _not_found
        handler = methods.get(method)
        if handler is None and method == "HEAD":
            handler = methods.get("GET")
        return handler if handler is not None else partial(_not_allowed, sorted(methods))


def _not_found(_request: Request, exchange: Exchange) -> None:
    exchange.respond(404, error_body("there is nothing at this path"), JSON)


def _not_allowed(methods: list[str], request: Request, exchange: Exchange) -> None:
    allowed = ", ".join(methods)
    text = f"{request.method} is not served at this path; use {allowed}"
    exchange.respond(405, error_body(text), JSON, [("Allow", allowed)])


class HttpServer:
    """A listener. `start`, then `stop_accepting`, then `close`.

    With an `ssl_context` it speaks TLS; a function that gives one is asked at each accept (`ServerTls.current`).
    `on_error(what, exception)` is told of a handler's exception: one log line. `on_refused(status)` is told of each
    request that was refused before a handler saw it, `on_handshake_failed(reason)` of each TLS handshake that came to
    nothing: `timeout`, `refused` (by either side), `left`, `crowded` (too many at once) or `closing`; for metrics.
    """

    def __init__(
        self,
        router: Router,
        limits: Limits | None = None,
        ssl_context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
        *,
        on_error: Callable[[str, BaseException], None],
        on_refused: Callable[[int], None] = lambda _status: None,
        on_handshake_failed: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._router = router
        self._limits = limits or Limits()
        self._ssl_context = ssl_context
        self._on_error = on_error
        self._on_refused = on_refused
        self._on_handshake_failed = on_handshake_failed
        self._tasks: set[asyncio.Future[None]] = set()
        self._changed = asyncio.Event()
        self._shared: Shared | None = None
        self._server: asyncio.Server | None = None
        self._port = 0

    def __repr__(self) -> str:
        return f"<HttpServer port={self._port} connections={self.connections} handlers={len(self._tasks)}>"

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._port

    @property
    def connections(self) -> int:
        """How many connections are open, handshakes included."""
        shared = self._shared
        return 0 if shared is None else len(shared.connections) + len(shared.handshakes)

    async def start(self, host: str, port: int) -> None:
        """Listen on `host`, port 0 meaning any free one. Raises PlatformFault where that can't be."""
        shared = Shared(self._limits, self._dispatch, self._changed.set, self._on_refused, self._on_handshake_failed)
        loop = asyncio.get_running_loop()
        accept = self._protocol_factory(shared)
        try:
            self._server = await loop.create_server(accept, host, port, backlog=BACKLOG_CONNECTIONS, reuse_address=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PlatformFault(f"can't listen on {host}:{port}: {reason}; free the port or choose another") from error
        self._shared = shared
        self._port = self._server.sockets[0].getsockname()[1]

    def _protocol_factory(self, shared: Shared) -> Callable[[], asyncio.Protocol]:
        context = self._ssl_context
        if context is None:
            return partial(Connection, shared)
        if isinstance(context, ssl.SSLContext):
            return partial(TlsLayer, shared, context)
        return lambda: TlsLayer(shared, context())

    def stop_accepting(self) -> None:
        """Take no new connection; answers from here on say `Connection: close`."""
        if self._server is not None:
            self._server.close()
        if self._shared is not None:
            self._shared.draining = True

    async def close(self, grace_s: float) -> None:
        """End: idle connections now, busy ones once answered, all others after `grace_s`, their handlers cancelled."""
        self.stop_accepting()
        if self._shared is None or self._server is None:
            return
        for layer in tuple(self._shared.handshakes):
            layer.fail("closing")
        for connection in tuple(self._shared.connections):
            connection.close_if_idle()
        if not await self._quiet(grace_s):
            for connection in tuple(self._shared.connections):
                connection.abort()
            for task in tuple(self._tasks):
                task.cancel()
            await self._quiet(ABORT_WAIT_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(ABORT_WAIT_S):
                await self._server.wait_closed()

    async def _quiet(self, bound_s: float) -> bool:
        """Wait until no connection and no handler is left; False where they are still there after `bound_s`."""
        try:
            async with asyncio.timeout(bound_s):
                while self._tasks or self.connections:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _dispatch(self, request: Request, exchange: Exchange) -> None:
        try:
            pending = self._router.find(request.method, request.path)(request, exchange)
        except Exception as error:  # noqa: BLE001 - a handler's defect ends its own request, nothing else
            self._failed(f"{request.method} {request.path}", exchange, error)
            return
        if pending is not None:
            task = asyncio.ensure_future(pending)
            self._tasks.add(task)
            task.add_done_callback(partial(self._task_done, f"{request.method} {request.path}", exchange))

    def _task_done(self, what: str, exchange: Exchange, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if task.cancelled():
            exchange.fail()
            return
        error = task.exception()
        if error is None and not exchange.done:
            error = RuntimeError("the handler returned without finishing its exchange")
        if error is not None:
            self._failed(what, exchange, error)

    def _failed(self, what: str, exchange: Exchange, error: BaseException) -> None:
        self._on_error(what, error)
        exchange.fail()

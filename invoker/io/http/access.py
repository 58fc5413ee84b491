"""◆ Who may call what: client certificates for /invoke, a bearer token for what looks inside or changes the node.

A guard wraps a handler (`guard(handler)`), or all routes under a path, present and to come
(`router.guard(path, guard)`). Routes that nobody guards are open: /ping and /metrics, so that probes and scrapers need
no secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import msgspec

from invoker.errors import SettingsError
from invoker.io.http.messages import JSON, Exchange, Request, error_body
from invoker.io.http.server import Handler
from invoker.io.watched import LOOK_EVERY_S, Watched, WatchedFile

TOKEN_CHARACTERS_MIN = 16
TOKENS_MAX = 16
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via", "origin")
"""Fields of a request that another machine's caller made, or a page in a browser on this one."""


class Clients:
    """Lets a handler run for clients that showed a certificate of the listener's authority.

    `subjects`: common or alternative names (DNS, URI, email, IP address), one of which the certificate has to bear;
    empty: every certificate of the authority will do. `on_refused(reason)`, `no_certificate` or `subject`, is told of
    each call that is refused: one count.
    """

    def __init__(self, subjects: frozenset[str], *, on_refused: Callable[[str], None] = lambda _reason: None) -> None:
        self._subjects = subjects
        self._on_refused = on_refused

    def __call__(self, handler: Handler) -> Handler:
        """The handler behind the guard."""

        def guarded(request: Request, exchange: Exchange) -> Awaitable[None] | None:
            peer = request.peer
            if peer.subject is None:
                self._on_refused("no_certificate")
                text = "this path asks for a client certificate; connect with one of the authority trusted here"
            elif self._subjects and self._subjects.isdisjoint(peer.names):
                self._on_refused("subject")
                text = f"the certificate of {peer.subject!r} may not call this path; TLS_CLIENT_SUBJECTS names who may"
            else:
                return handler(request, exchange)
            exchange.respond(403, error_body(text), JSON)
            return None

        return guarded


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where tokens come from; each that is known is good, so they can be rolled without a gap.

    `file` has a token on each line, and is read again when it changes.
    """

    token: str | None = None
    file: Path | None = None
    look_every_s: float = LOOK_EVERY_S

    def __repr__(self) -> str:
        return f"TokenSettings(file={self.file})"


class Guard(Watched[tuple[bytes, ...]]):
    """Lets a handler run for callers that show the bearer token; without one set, for callers on this machine alone.

    Where there is a token, it is asked of everyone. `on_refused(reason)`, `no_token`, `token` or `remote`, is told of
    each call that is refused; `on_reload("token", taken)` of each change of the file.
    """

    def __init__(
        self,
        settings: TokenSettings,
        *,
        on_refused: Callable[[str], None] = lambda _reason: None,
        on_reload: Callable[[str, bool], None] = lambda _what, _taken: None,
    ) -> None:
        self._settings = settings
        self._on_refused = on_refused
        self._fixed = (_digest(settings.token),) if settings.token is not None else ()
        self._digests = self._fixed
        files = () if settings.file is None else (WatchedFile(settings.file, "the token file", "ADMIN_TOKEN_FILE"),)
        super().__init__("token", files, parse_tokens, self._know, every_s=settings.look_every_s, on_reload=on_reload)

    def __repr__(self) -> str:
        return f"<Guard tokens={len(self._digests)}>"

    async def check(self) -> str:
        """Who is let in. Raises PlatformFault where the token file can't be used."""
        count = len(self._fixed) + len(await self.tried())
        return f"who shows one of {count} tokens" if count else "callers on this machine; ADMIN_TOKEN lets others in"

    def __call__(self, handler: Handler) -> Handler:
        """The handler behind the guard."""

        def guarded(request: Request, exchange: Exchange) -> Awaitable[None] | None:
            if not (self._digests or self._settings.file is not None):
                if _is_local(request):
                    return handler(request, exchange)
                self._on_refused("remote")
                text = "this path answers callers on the invoker's own machine; set ADMIN_TOKEN to let others in"
                exchange.respond(403, error_body(text), JSON)
                return None
            shown = request.headers.get("authorization")
            if shown is not None and self._knows(shown):
                return handler(request, exchange)
            self._on_refused("no_token" if shown is None else "token")
            text = "this path asks for the bearer token" if shown is None else "this token is not known here"
            exchange.respond(401, error_body(text), JSON, [("WWW-Authenticate", 'Bearer realm="invoker"')])
            return None

        return guarded

    def _knows(self, authorization: str) -> bool:
        """Whether it is `Bearer <a token>`. How long it takes tells neither which token nor how much of it is right."""
        scheme, _, token = authorization.partition(" ")
        shown = _digest(token.strip())
        matches = [hmac.compare_digest(shown, known) for known in self._digests]
        return scheme.lower() == "bearer" and any(matches)

    def _know(self, tokens: tuple[bytes, ...]) -> None:
        self._digests = (*self._fixed, *tokens)


def parse_tokens(contents: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Digests of the tokens of a file, one a line. Raises SettingsError, which shows none of them."""
    if not contents:
        return ()
    lines = [line.strip() for line in contents[0].splitlines()]
    tokens = [line for line in lines if line]
    if not 0 < len(tokens) <= TOKENS_MAX:
        raise SettingsError(f"the token file has {len(tokens)} tokens; give 1 to {TOKENS_MAX}, one a line")
    for number, token in enumerate(tokens, 1):
        if len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() or b" " in token:
            raise SettingsError(
                f"token {number} of the token file is no token: {TOKEN_CHARACTERS_MIN} or more ASCII characters "
                "without spaces, for example from `openssl rand -hex 32`"
            )
    return tuple(_digest(token.decode("ascii")) for token in tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8")).digest()


def _is_local(request: Request) -> bool:
    """From this machine and made there: not handed on by a proxy here, nor by a browser for a page from elsewhere.

    A page can have its own name lead to 127.0.0.1; the Host field then still bears that name.
    """
    headers = request.headers
    if not request.peer.on_this_machine or any(field in headers for field in FORWARDED):
        return False
    host = headers.get("host", "localhost")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False

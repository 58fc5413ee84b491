"""◆ The developer's door seen from outside: the same questions to a running invoker, or to its files when none runs.

Light on imports, because every command line begins with it: HTTP by the standard library, the store only where it is
opened. A door takes a request and gives an answer; what is asked is the same at each.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from invoker.errors import CallerFault, PlatformFault
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked, unmask

ANSWER_WAIT_MAX_S = 90.0  # a blocking invocation is answered within 60 s, with its id at the least
API = "/api/v1"


class Refused(CallerFault):
    """The door said no. `status` is HTTP's: 404 not there, 409 in the way, 400 the request is wrong."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Unreachable(PlatformFault):
    """Nobody answers."""


class Door(Protocol):
    """One way to ask."""

    def ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """The status and the JSON body. Raises Unreachable."""
        ...


class HttpDoor:
    """A running invoker at `url`; `ca_file` holds the certificate to trust where the system doesn't know it."""

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            host, self._port = parts.hostname, parts.port
        except ValueError:
            parts, host = None, None
        if parts is None or parts.scheme not in ("http", "https") or not host:
            raise CallerFault(f"--url is something like http://127.0.0.1:8080, not {url!r}")
        self._url = url
        self._host = host
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._context = ssl.create_default_context(cafile=ca_file)
            except OSError as problem:
                raise CallerFault(f"the certificate {ca_file} can't be read: {problem}") from problem

    def ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """As Door; a connection for each request."""
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=ANSWER_WAIT_MAX_S, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_WAIT_MAX_S)
        try:
            target = f"{path}?{query}" if query else path
            connection.request(method, target, body or None, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        except ssl.SSLCertVerificationError as problem:
            raise Unreachable(
                f"the invoker at {self._url} shows a certificate that isn't trusted here ({problem.verify_message}): "
                "give the one to trust with --ca-file"
            ) from problem
        except (OSError, http.client.HTTPException) as problem:
            raise Unreachable(
                f"no invoker answers at {self._url}: {problem}; start one with `invoker dev`, or give its --url"
            ) from problem
        finally:
            connection.close()


class FileDoor:
    """The store of a data directory that no invoker serves. Actions and records are there; invoking is not."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """As Door, answered by the same code as a running invoker's."""
        import asyncio

        return asyncio.run(self._ask(method, path, query, body))

    async def _ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        from invoker.io.dev.api import DevApi, DevInfo
        from invoker.io.sqlite.store import SqliteStore

        async def nobody(_message: bytes) -> bytes:
            raise PlatformFault("no invoker runs that could run the action")

        info = DevInfo(str(self._store.parent), "none", {}, "none", (), _ANY_MEMORY_MB)
        async with SqliteStore(self._store) as store:
            return await DevApi(store, nobody, lambda: info).answer(method, path, query, body)


_ANY_MEMORY_MB = 1_048_576


class Activation(msgspec.Struct):
    """An activation that ended: its record (contract, section 7), and how it came about (section 16), both raw JSON."""

    record: msgspec.Raw = msgspec.field(name="activation")
    facts: msgspec.Raw


_ACTIVATION = msgspec.json.Decoder(Activation)


class Client:
    """What a developer asks. Names of actions are `namespace/[package/]name`; bodies are JSON as bytes.

    Every method raises Refused where the door says no, Unreachable where nobody answers.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    def info(self) -> bytes:
        """Which invoker this is."""
        return self._ask("GET", f"{API}/")

    def put(self, action: str, request: Mapping[str, object], *, overwrite: bool) -> bytes:
        """Keep an action; the answer is its document without the code."""
        body = msgspec.json.encode(request)
        return self._ask("PUT", _path(action), {"overwrite": "true"} if overwrite else {}, body)

    def get(self, action: str, *, code: bool) -> bytes:
        """An action's document."""
        return self._ask("GET", _path(action), {} if code else {"code": "false"})

    def delete(self, action: str) -> None:
        """Delete an action."""
        self._ask("DELETE", _path(action), {"code": "false"})

    def actions(self, namespace: str, *, limit: int, skip: int) -> bytes:
        """A namespace's actions."""
        return self._ask("GET", f"{API}/namespaces/{quote(namespace)}/actions", {"limit": limit, "skip": skip})

    def invoke(self, action: str, parameters: bytes) -> Activation | str:
        """Run an action and wait for its end; its id where it takes longer than the door waits."""
        status, body = self._door.ask("POST", _path(action), "blocking=true&facts=true", parameters)
        if status == 202:
            return _decode_accepted(body).activation_id
        try:
            ended = decode_masked(_ACTIVATION, body)
        except DECODE_ERRORS:
            raise _refusal(status, body) from None
        return Activation(msgspec.Raw(unmask(ended.record)), msgspec.Raw(unmask(ended.facts)))

    def begin(self, action: str, parameters: bytes) -> str:
        """Run an action without waiting; its activation's id."""
        status, body = self._door.ask("POST", _path(action), "", parameters)
        if status != 202:
            raise _refusal(status, body)
        return _decode_accepted(body).activation_id

    def activation(self, namespace: str, activation_id: str, part: str = "") -> bytes:
        """An activation's record, or its part `logs`, `result` or `facts`."""
        path = f"{API}/namespaces/{quote(namespace)}/activations/{quote(activation_id)}"
        return self._ask("GET", f"{path}/{part}" if part else path)

    def activations(self, namespace: str, *, limit: int, skip: int, **filters: object) -> bytes:
        """A namespace's activations, newest first. `filters`: `name`, `since`, `upto` (Unix ms), `docs`."""
        query = {key: value for key, value in filters.items() if value is not None}
        path = f"{API}/namespaces/{quote(namespace)}/activations"
        return self._ask("GET", path, {"limit": limit, "skip": skip, **query})

    def pool(self) -> bytes:
        """The pool as it is now."""
        return self._ask("GET", "/debug/pool")

    def _ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: bytes = b"") -> bytes:
        status, answer = self._door.ask(method, path, urlencode(query or {}), body)
        if status != 200:
            raise _refusal(status, answer)
        return answer


class _Error(msgspec.Struct):
    error: str


class _Accepted(msgspec.Struct):
    activation_id: str = msgspec.field(name="activationId")


_decode_accepted = msgspec.json.Decoder(_Accepted).decode


def _refusal(status: int, body: bytes) -> Refused:
    try:
        text = msgspec.json.decode(body, type=_Error).error
    except msgspec.MsgspecError:
        text = f"the answer was HTTP {status} and no JSON: is this an invoker's address?"
    return Refused(status, text)


def _path(action: str) -> str:
    """The resource of `namespace/[package/]name`. Raises CallerFault where it is no such name."""
    namespace, *names = action.removeprefix("/").split("/")
    if not 1 <= len(names) <= 2 or not all((namespace, *names)):
        raise CallerFault(f"an action's name is NAMESPACE/NAME or NAMESPACE/PACKAGE/NAME, not {action!r}")
    return f"{API}/namespaces/{quote(namespace)}/actions/{'/'.join(quote(name) for name in names)}"

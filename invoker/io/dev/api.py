"""◆ The developer's door: OpenWhisk's own REST interface, as far as one invoker needs it, so that habits carry over.

It plays the controller: it keeps actions, makes activation messages and hands them to the intake that `/invoke` uses.
There are no users: whoever reaches it may run code, so it belongs on loopback, and it answers nobody who came by
another name or from another web site's page.

    GET                 /api/v1/
    GET                 /api/v1/namespaces/{ns}/actions
    GET PUT DELETE POST /api/v1/namespaces/{ns}/actions/[{package}/]{name}
    GET                 /api/v1/namespaces/{ns}/activations[/{id}[/logs|/result|/facts]]

Ours, beside OpenWhisk's: `facts`, the log line's fields, which tell how an activation came about; `?facts=true` on an
invocation answers `{"activation": ..., "facts": ...}`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, cast
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from invoker.errors import ActionNotFound, CallerFault, InvokerError
from invoker.io.dev.documents import action_document, activation_message, check_name
from invoker.io.http.messages import JSON, Exchange, Refusal, Request, error_body
from invoker.io.http.server import Router
from invoker.io.sqlite.store import (
    LIST_ROWS_MAX,
    ActionConflict,
    RecordNotFound,
    SqliteStore,
    StoredAction,
    StoredRecord,
)
from invoker.protocol.raw_json import decode_masked, unmask

PREFIX = "/api/v1"
DEFAULT_NAMESPACE = "guest"  # what the namespace `_` means
BLOCKING_WAIT_MAX_S = 60.0  # after it, a blocking caller gets the activation's id, as from a controller
INVOCATIONS_MAX = 1000  # under way through this door
LIST_ROWS_DEFAULT = 30

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_STATUS_OF_RECORD = {0: 200, 1: 502, 2: 502, 3: 500}


Invoke: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Take an activation message (contract, section 3), see it through, and return the completion message (section 6).

By then the record is in the store, a blocking one's too, for there is no controller to keep it. Raises CallerFault
where the message can't be used.
"""


class DevInfo(msgspec.Struct, frozen=True):
    """What a developer wants to know of the invoker.

    `isolation` is the engine's description of itself. Actions may be put of `kinds`; of any kind where it is empty.
    """

    url: str
    engine: str
    isolation: dict[str, str]
    policy: str
    kinds: Sequence[str]
    memory_mb: int


class _Response(msgspec.Struct):
    status: int = msgspec.field(name="statusCode")
    result: msgspec.Raw


class _Record(msgspec.Struct):
    response: _Response
    logs: msgspec.Raw


class _Completion(msgspec.Struct):
    response: msgspec.Raw


class _ActionSummary(msgspec.Struct):
    """The members of an action's document that a list shows."""

    namespace: str
    name: str
    version: str
    limits: msgspec.Raw
    exec: _ExecSummary
    updated: int
    revision: str = msgspec.field(name="_rev")


class _ExecSummary(msgspec.Struct):
    kind: str
    binary: bool = False


_COMPLETION = msgspec.json.Decoder(_Completion)
_RECORD = msgspec.json.Decoder(_Record)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode_members = _MEMBERS.decode


class DevApi:
    """Serves the routes from `store` and `invoke`. `register` them on a router; `close` after the last request."""

    def __init__(
        self,
        store: SqliteStore,
        invoke: Invoke,
        info: Callable[[], DevInfo],
        *,
        blocking_wait_max_s: float = BLOCKING_WAIT_MAX_S,
        invocations_max: int = INVOCATIONS_MAX,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._invoke = invoke
        self._info = info
        self._blocking_wait_max_s = blocking_wait_max_s
        self._invocations_max = invocations_max
        self._now_ms = now_ms
        self._under_way: set[asyncio.Future[bytes]] = set()

    def register(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", PREFIX, self.handle)
        for method in ("GET", "PUT", "POST", "DELETE"):
            router.add_prefix(method, f"{PREFIX}/", self.handle)

    async def close(self) -> None:
        """Wait for the activations under way; their end is in the hands of the intake."""
        while self._under_way:
            await asyncio.wait(tuple(self._under_way))

    async def handle(self, request: Request, exchange: Exchange) -> None:
        """Answer a request that came over HTTP."""
        try:
            _refuse_strangers(request)
        except Refusal as refusal:
            exchange.respond(refusal.status, error_body(refusal.text), JSON)
        else:
            exchange.respond(*await self.answer(request.method, request.path, request.query, request.body), JSON)

    async def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """The status and the JSON body. What is wrong becomes `{"error": ...}` with a status that says whose fault."""
        try:
            return await self._route(method, path, _Query(query), body)
        except Refusal as refusal:
            return refusal.status, error_body(refusal.text)
        except (ActionNotFound, RecordNotFound) as problem:
            return 404, error_body(str(problem))
        except ActionConflict as problem:
            return 409, error_body(str(problem))
        except CallerFault as problem:
            return 400, error_body(str(problem))
        except InvokerError as problem:
            return 500, error_body(str(problem))

    async def _route(self, method: str, whole_path: str, query: _Query, body: bytes) -> tuple[int, bytes]:
        match [unquote(part) for part in whole_path.removeprefix(PREFIX).split("/") if part]:
            case []:
                return 200, msgspec.json.encode(self._info())
            case ["namespaces", namespace, "actions"] if method == "GET":
                return 200, await self._list_actions(_namespace(namespace), query)
            case ["namespaces", namespace, "actions", *names] if 1 <= len(names) <= 2:
                path = "/".join((_namespace(namespace), *(check_name("a package", name) for name in names[:-1])))
                return await self._action(method, path, check_name("an action", names[-1]), query, body)
            case ["namespaces", namespace, "activations"] if method == "GET":
                return 200, await self._list_activations(_namespace(namespace), query)
            case ["namespaces", namespace, "activations", activation_id, *part] if method == "GET":
                record = await self._store.record(_namespace(namespace), activation_id)
                return 200, _part(record, part)
            case _:
                raise Refusal(404, f"{method} {whole_path} is not served; GET {PREFIX}/ tells where you are")

    # --- actions ------------------------------------------------------------------------------------------------

    async def _action(self, method: str, path: str, name: str, query: _Query, body: bytes) -> tuple[int, bytes]:
        if method == "POST":
            return await self._invoke_action(path, name, body, query)
        if method == "PUT":
            return 200, await self._put(path, name, body, overwrite=query.flag("overwrite"))
        action = await self._store.action(path, name, query.text("revision"))
        if method == "DELETE":
            await self._store.delete_action(path, name, expected=action.revision)
        return 200, action.document if query.flag("code", default=True) else _without_code(action)

    async def _put(self, path: str, name: str, body: bytes, *, overwrite: bool) -> bytes:
        former: StoredAction | None = None
        try:
            former = await self._store.action(path, name)
        except ActionNotFound:
            pass
        else:
            if not overwrite:
                raise ActionConflict(f"action {path}/{name} exists already: add ?overwrite=true to replace it")
        info = self._info()
        document = action_document(
            path,
            name,
            body,
            former.document if former else None,
            kinds=info.kinds,
            memory_mb_max=info.memory_mb,
            now_ms=self._now_ms(),
        )
        put = await self._store.put_action(path, name, document, expected=former.revision if former else None)
        return _without_code(put)

    async def _list_actions(self, namespace: str, query: _Query) -> bytes:
        actions = await self._store.actions(namespace, limit=query.limit(), skip=query.number("skip", 0))
        return msgspec.json.encode([msgspec.json.decode(each.document, type=_ActionSummary) for each in actions])

    # --- activations --------------------------------------------------------------------------------------------

    async def _invoke_action(self, path: str, name: str, payload: bytes, query: _Query) -> tuple[int, bytes]:
        action = await self._store.action(path, name)
        blocking = query.flag("blocking")
        activation_id = uuid.uuid4().hex
        message = activation_message(
            path,
            name,
            action.document,
            payload,
            activation_id=activation_id,
            blocking=blocking,
            now_ms=self._now_ms(),
        )
        if len(self._under_way) >= self._invocations_max:
            raise Refusal(429, f"{self._invocations_max} activations are under way: wait for some to end")
        task = asyncio.ensure_future(self._invoke(message))
        self._under_way.add(task)
        task.add_done_callback(self._settle)
        accepted = msgspec.json.encode({"activationId": activation_id})
        if not blocking:
            return 202, accepted
        done, _ = await asyncio.wait((task,), timeout=self._blocking_wait_max_s)
        if not done:
            return 202, accepted
        record = msgspec.Raw(unmask(decode_masked(_COMPLETION, task.result()).response))
        response = decode_masked(_RECORD, bytes(record)).response
        if query.flag("facts"):
            body = msgspec.json.encode({"activation": record, "facts": await self._facts(path, activation_id)})
        else:
            body = unmask(response.result) if query.flag("result") else bytes(record)
        return _STATUS_OF_RECORD.get(response.status, 500), body

    async def _facts(self, path: str, activation_id: str) -> msgspec.Raw:
        """How an activation that just ended came about; nothing where its record could not be stored."""
        try:
            stored = await self._store.record(path.partition("/")[0], activation_id)
        except RecordNotFound:
            return msgspec.Raw(b"{}")
        return msgspec.Raw(stored.facts)

    def _settle(self, task: asyncio.Future[bytes]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # a blocking caller was told; to others the missing record tells

    async def _list_activations(self, namespace: str, query: _Query) -> bytes:
        records = await self._store.records(
            namespace,
            limit=query.limit(),
            skip=query.number("skip", 0),
            since_ms=query.optional_number("since"),
            upto_ms=query.optional_number("upto"),
            name=query.text("name"),
        )
        return msgspec.json.encode([_summary(each, whole=query.flag("docs")) for each in records])


class _Query:
    """The parameters behind the question mark. Raises CallerFault naming the one that is wrong."""

    def __init__(self, query: str) -> None:
        self._values = parse_qs(query, keep_blank_values=True, max_num_fields=32)

    def text(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[-1] if values else None

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.text(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise CallerFault(f"?{name}= is true or false, not {text!r}")
        return text == "true"

    def optional_number(self, name: str) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= 15):
            raise CallerFault(f"?{name}= is a whole number, not {text!r}")
        return int(text)

    def number(self, name: str, default: int) -> int:
        found = self.optional_number(name)
        return default if found is None else found

    def limit(self) -> int:
        """How many rows of a list, 0 meaning as many as there may be."""
        return min(self.number("limit", LIST_ROWS_DEFAULT) or LIST_ROWS_MAX, LIST_ROWS_MAX)


def _refuse_strangers(request: Request) -> None:
    """Only who asked for a loopback name is a developer at this machine: a web page elsewhere can't pass for one."""
    headers = request.headers
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    if host not in _LOOPBACK_NAMES:
        raise Refusal(403, f"this door is for this machine's developers: reach it as localhost, not as {host}")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).hostname not in _LOOPBACK_NAMES:
        raise Refusal(403, "this door is not for other web sites' pages")


def _namespace(text: str) -> str:
    return DEFAULT_NAMESPACE if text == "_" else check_name("a namespace", text)


def _without_code(action: StoredAction) -> bytes:
    """An action's document, the code left out."""
    members = _decode_members(action.document)
    execution = _decode_members(members["exec"])
    execution.pop("code", None)
    return msgspec.json.encode({**members, "exec": execution})


def _part(record: StoredRecord, part: list[str]) -> bytes:
    match part:
        case []:
            return record.record
        case ["logs"]:
            return b'{"logs":%b}' % unmask(decode_masked(_RECORD, record.record).logs)
        case ["result"]:
            return unmask(decode_masked(_MEMBERS, record.record)["response"])
        case ["facts"]:
            return record.facts
        case _:
            raise Refusal(404, "an activation has /logs, /result and /facts")


def _summary(stored: StoredRecord, *, whole: bool) -> dict[str, object]:
    """A record in a list: its result and logs left out unless `whole`, and how it came to its container."""
    members: dict[str, object] = {
        name: msgspec.Raw(unmask(value)) for name, value in decode_masked(_MEMBERS, stored.record).items()
    }
    facts = msgspec.json.decode(stored.facts, type=dict[str, object])
    if not whole:
        members.pop("logs", None)
        members["statusCode"] = decode_masked(_RECORD, stored.record).response.status
        members.pop("response", None)
    return members | {"containerType": container_type(facts)}


def container_type(facts: dict[str, object]) -> str | None:
    """`cold`, `prewarm`, `warm`, or `paused` for a warm one that had to be thawed; None where none was got."""
    kind = cast("str | None", facts.get("containerType"))
    return "paused" if kind == "warm" and "unpauseTime" in facts else kind

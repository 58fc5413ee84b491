"""◆ The controller's door: OpenWhisk's REST interface, as far as its command line and its users' scripts need it.

    POST GET PUT DELETE  /api/v1/namespaces/{ns}/actions/[{package}/]{name}
    GET                  /api/v1/namespaces/{ns}/actions
    GET                  /api/v1/namespaces/{ns}/activations/{id}[/logs|/result]
    GET                  /invokers  /ping  /api/v1

Users are the subjects of CouchDB, by Basic authentication; a namespace is its owner's alone, and `_` means one's own.
A function's end decides the status as it does upstream: 200, or 502 where the function is at fault, 500 where the
platform is; 202 with the id where nobody waits for the end, or it takes longer than the door waits. Errors are
`{"error": ..., "code": <transaction id>}`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from invoker.errors import ActionNotFound, CallerFault, PlatformFault
from invoker.io.dev.documents import action_document, check_name
from invoker.protocol.raw_json import decode_masked, unmask
from loadtest.activation import Activation, Fate
from loadtest.catalogue import ROWS_MAX, Conflict
from loadtest.controller import Controller, TooMany
from loadtest.messages import Identity, decode_document

API = "/api/v1"
CODE_BYTES_MAX = 64 << 20
PARAMETERS_BYTES_MAX = 1 << 20
WAIT_MAX_S = 60.0
ROWS_DEFAULT = 30
STATUS_OF_OUTCOME = {0: 200, 1: 502, 2: 502, 3: 500}

CALLER = web.RequestKey("caller", Identity)
TRANSACTION = web.RequestKey("transaction", str)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Refusal(Exception):
    """The door says no: an HTTP status, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Door:
    """Serves a controller's users from `open` to `close`. Actions may be put of `kinds`, of any where it is empty."""

    def __init__(self, controller: Controller, *, kinds: Sequence[str] = (), memory_mb_max: int = 1 << 20) -> None:
        self._controller = controller
        self._kinds = kinds
        self._memory_mb_max = memory_mb_max
        self._runner: web.AppRunner | None = None
        self.port = 0

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[_told, self._known], client_max_size=CODE_BYTES_MAX)
        actions, activations = f"{API}/namespaces/{{ns}}/actions", f"{API}/namespaces/{{ns}}/activations"
        app.router.add_get(actions, self._list)
        for place in (f"{actions}/{{name}}", f"{actions}/{{package}}/{{name}}"):
            app.router.add_post(place, self._invoke)
            app.router.add_get(place, self._get)
            app.router.add_put(place, self._put)
            app.router.add_delete(place, self._delete)
        app.router.add_get(f"{activations}/{{id}}", self._activation)
        app.router.add_get(f"{activations}/{{id}}/{{part:logs|result}}", self._activation)
        app.router.add_get("/invokers", self._invokers)
        app.router.add_get("/ping", _pong)
        app.router.add_get(API, self._about)
        return app

    async def open(self, host: str, port: int) -> None:
        """Listen; `port` 0 takes a free one, which `self.port` tells. Raises PlatformFault."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as problem:
            await runner.cleanup()
            raise PlatformFault(
                f"the door can't listen on {host}:{port}: {problem.strerror}; take another --port"
            ) from (problem)
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def close(self) -> None:
        """Listen no more. Twice is once."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    # --- who is there -------------------------------------------------------------------------------------------

    @web.middleware
    async def _known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Only known users get to namespaces, and each only to his own."""
        if request.path.startswith(f"{API}/namespaces/"):
            caller = await self._controller.catalogue.user(request.headers.get("Authorization", ""))
            if caller is None:
                raise Refusal(401, "who you are is not known: send the credentials UUID:KEY by Basic authentication")
            if request.match_info.get("ns", "_") not in ("_", caller.namespace):
                raise Refusal(403, f"the namespace {request.match_info['ns']} is not yours; _ means your own")
            request[CALLER] = caller
        return await handler(request)

    async def _about(self, _: web.Request) -> web.Response:
        return _json(200, {"description": "functions-invoker reference controller", "kinds": list(self._kinds)})

    async def _invokers(self, _: web.Request) -> web.Response:
        """Each invoker's health, as upstream's read-out has it."""
        healths = self._controller.fleet.healths()
        return _json(200, {f"invoker{instance}": health.value for instance, health in healths.items()})

    # --- actions ------------------------------------------------------------------------------------------------

    async def _put(self, request: web.Request) -> web.Response:
        path, name = _action(request)
        catalogue = self._controller.catalogue
        former: bytes | None = None
        try:
            former = await catalogue.document(path, name)
        except ActionNotFound:
            pass
        else:
            if not _flag(request, "overwrite"):
                raise Refusal(409, f"action {path}/{name} is there already; ?overwrite=true replaces it")
        document = action_document(
            path,
            name,
            await request.read(),
            former,
            kinds=self._kinds,
            memory_mb_max=self._memory_mb_max,
            now_ms=time.time_ns() // 1_000_000,
        )
        await catalogue.put(path, name, document, decode_document(former).revision if former else None)
        return _json(200, _without_code(document))

    async def _get(self, request: web.Request) -> web.Response:
        document = await self._controller.catalogue.document(*_action(request))
        return _json(200, _members(document) if _flag(request, "code", default=True) else _without_code(document))

    async def _delete(self, request: web.Request) -> web.Response:
        path, name = _action(request)
        document = await self._controller.catalogue.document(path, name)
        await self._controller.catalogue.delete(path, name, decode_document(document).revision)
        return _json(200, _without_code(document))

    async def _list(self, request: web.Request) -> web.Response:
        limit = min(_number(request, "limit", ROWS_DEFAULT) or ROWS_MAX, ROWS_MAX)
        skip = _number(request, "skip", 0)
        found = await self._controller.catalogue.actions(request[CALLER].namespace, limit=limit, skip=skip)
        return _json(200, [_without_code(each) for each in found])

    # --- activations --------------------------------------------------------------------------------------------

    async def _invoke(self, request: web.Request) -> web.Response:
        path, name = _action(request)
        parameters = await request.read()
        if len(parameters) > PARAMETERS_BYTES_MAX:
            raise Refusal(413, f"the parameters are longer than {PARAMETERS_BYTES_MAX} bytes")
        activation = await self._controller.invoke(
            f"{path}/{name}",
            parameters,
            blocking=_flag(request, "blocking"),
            caller=request[CALLER],
            wait_s=min(_number(request, "timeout", int(WAIT_MAX_S * 1000)) / 1000, WAIT_MAX_S),
        )
        answer = _answer(activation, result_alone=_flag(request, "result"))
        answer.headers["X-OpenWhisk-Activation-Id"] = activation.id
        answer.headers["X-Functions-Way"] = activation.way
        return answer

    async def _activation(self, request: web.Request) -> web.Response:
        namespace, activation_id = request[CALLER].namespace, request.match_info["id"]
        record = await self._controller.record(namespace, activation_id)
        if record is None:
            known = self._controller.activation(activation_id)
            why = ""
            if known is not None and known.namespace == namespace:
                why = f"; it is {known.fate.value}{': ' if known.reason else ''}{known.reason}"
            raise Refusal(404, f"there is no record of activation {activation_id} (yet){why}")
        members = _members(record)
        match request.match_info.get("part"):
            case "logs":
                return _json(200, {"logs": members["logs"]})
            case "result":
                return _json(200, members["response"])
            case _:
                return _json(200, members)


def _answer(activation: Activation, *, result_alone: bool) -> web.Response:
    """What the caller of an activation gets."""
    outcome = activation.outcome
    if outcome is not None and activation.record is not None:
        body = bytes(outcome.result) if result_alone else activation.record
        return web.Response(
            status=STATUS_OF_OUTCOME.get(outcome.status_code, 500), body=body, content_type="application/json"
        )
    if activation.fate in (Fate.PLACING, Fate.ACCEPTED, Fate.ACKNOWLEDGED):
        return _json(202, {"activationId": activation.id})
    return _error(activation.status, activation.reason, activation.transaction)


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What goes wrong, as a status and a body that tell whose fault it is."""
    transaction = request[TRANSACTION] = uuid.uuid4().hex
    try:
        return await handler(request)
    except Refusal as refusal:
        answer = _error(refusal.status, str(refusal), transaction)
        if refusal.status == 401:
            answer.headers["WWW-Authenticate"] = "Basic"
        return answer
    except web.HTTPException as problem:
        return _error(problem.status, f"{request.method} {request.path}: {problem.reason}", transaction)
    except ActionNotFound as problem:
        return _error(404, str(problem), transaction)
    except Conflict as problem:
        return _error(409, str(problem), transaction)
    except TooMany as problem:
        return _error(429, str(problem), transaction)
    except CallerFault as problem:
        return _error(400, str(problem), transaction)
    except PlatformFault as problem:
        return _error(503, str(problem), transaction)


async def _pong(_: web.Request) -> web.Response:
    return web.Response(text="pong")


def _action(request: web.Request) -> tuple[str, str]:
    """(namespace with the package where there is one, name)."""
    parts = [request[CALLER].namespace]
    if "package" in request.match_info:
        parts.append(check_name("a package", request.match_info["package"]))
    return "/".join(parts), check_name("an action", request.match_info["name"])


def _flag(request: web.Request, name: str, *, default: bool = False) -> bool:
    text = request.query.get(name)
    if text not in (None, "true", "false"):
        raise Refusal(400, f"?{name}= is true or false, not {text!r}")
    return default if text is None else text == "true"


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise Refusal(400, f"?{name}= is a whole number, not {text!r}")
    return int(text)


def _members(document: bytes) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(unmask(value)) for name, value in decode_masked(_MEMBERS, document).items()}


def _without_code(document: bytes) -> dict[str, Any]:
    members: dict[str, Any] = dict(_members(document))
    execution = dict(_members(bytes(members["exec"])))
    execution.pop("code", None)
    return members | {"exec": execution}


def _error(status: int, text: str, transaction: str) -> web.Response:
    return _json(status, {"error": text, "code": transaction})


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")

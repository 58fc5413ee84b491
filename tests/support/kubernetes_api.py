"""◆ An API server for tests, over real HTTP: lists in pages, watches with versions and bookmarks, and faults on demand.

It behaves as a client may rely on: versions grow with every change, a watch tells every change after the version it
names, a version that was forgotten is answered with 410, a list's pages are of one version. `script` puts faults in
front of the next requests of one kind to one path; each is used once.

    python -m tests.support.kubernetes_api PORT CERTIFICATE KEY VERSION

serves over TLS from a process of its own, beginning after VERSION; each line on its standard input is an order,
`["put", path, name, body]` or `["delete", path, name]`, answered by a line when done. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aiohttp import web

NODES = "/api/v1/nodes"
API_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
DNS_SERVICES = "/api/v1/namespaces/serverless-coredns/services"
DNS_SLICES = "/apis/discovery.k8s.io/v1/namespaces/serverless-coredns/endpointslices"
PATHS = (NODES, API_SLICES, DNS_SERVICES, DNS_SLICES)
KINDS = {NODES: "Node", API_SLICES: "EndpointSlice", DNS_SERVICES: "Service", DNS_SLICES: "EndpointSlice"}
SERVICE_OF_SLICES = "kubernetes.io/service-name"
HANG_LIMIT_S = 30.0

Verb = Literal["list", "watch"]
Object = dict[str, Any]


class Refuse(NamedTuple):
    """Answer with this status, and a Retry-After where given."""

    status: int
    retry_after: str | None = None


class Hang(NamedTuple):
    """Say nothing more: before the head, or after the head where `answered`. Until the client goes."""

    answered: bool


class Cut(NamedTuple):
    """After `events` whole events send half of the next (or of a made-up one), and break the connection off."""

    events: int


class Say(NamedTuple):
    """Put this on the watch, then close it in good order."""

    text: bytes


class Drop(NamedTuple):
    """Close a watch in good order at once; break the connection of a list."""


Fault = Refuse | Hang | Cut | Say | Drop


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    verb: Verb | Literal["other"]
    path: str
    parameters: Mapping[str, str]
    token: str


@dataclass
class _Kind:
    objects: dict[str, Object] = field(default_factory=dict[str, Object])
    events: list[tuple[int, str, Object]] = field(default_factory=list[tuple[int, str, Object]])
    forgotten: int = 0  # the newest version that a watch can't begin from any more


class FakeApiServer:
    """Opened by `serving`. `tokens`: those that are taken; empty: any."""

    def __init__(self, version: int = 100) -> None:
        self.url = ""
        self.tokens: set[str] = set()
        self.asked: list[Asked] = []
        self.pages_expire = False
        self._version = version
        self._kinds: dict[str, _Kind] = defaultdict(_Kind)
        self._faults: dict[tuple[str, str], deque[Fault]] = defaultdict(deque)
        self._pages: dict[str, tuple[str, list[Object]]] = {}
        self._news = asyncio.Condition()
        self._endings: dict[str, int] = defaultdict(int)
        self._open_watches: dict[str, int] = defaultdict(int)

    # What happens in the cluster.

    async def put(self, path: str, name: str, body: Mapping[str, Any] | None = None) -> None:
        """Make or change an object."""
        kind = self._kinds[path]
        self._version += 1
        present = kind.objects.get(name)
        metadata = {"name": name, "uid": present["metadata"]["uid"] if present else f"uid-{self._version}"}
        if path != NODES:
            metadata["namespace"] = path.split("/")[-2]
        metadata["resourceVersion"] = str(self._version)
        found: Object = {**(body or {})}
        found["metadata"] = {**found.get("metadata", {}), **metadata}
        kind.objects[name] = found
        await self._tell(kind, "MODIFIED" if present else "ADDED", found)

    async def delete(self, path: str, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        kind = self._kinds[path]
        present = kind.objects.pop(name, None)
        if present is not None:
            self._version += 1
            metadata = {**present["metadata"], "resourceVersion": str(self._version)}
            await self._tell(kind, "DELETED", {**present, "metadata": metadata})

    async def bookmark(self, path: str) -> None:
        """Tell watchers how far they are."""
        self._version += 1
        metadata = {"resourceVersion": str(self._version)}
        await self._tell(self._kinds[path], "BOOKMARK", {"kind": KINDS[path], "metadata": metadata})

    async def forget(self, path: str) -> None:
        """Compaction: no watch begins from or goes on after a version of the past, and no page follows."""
        kind = self._kinds[path]
        self._version += 1
        kind.forgotten, kind.events = self._version, []
        self._pages.clear()
        async with self._news:
            self._news.notify_all()

    async def end_watches(self, path: str) -> None:
        """What a server does after `timeoutSeconds`: every watch ends in good order."""
        self._endings[path] += 1
        async with self._news:
            self._news.notify_all()

    def objects(self, path: str) -> dict[str, Object]:
        """What there is, by name."""
        return dict(self._kinds[path].objects)

    # What goes wrong.

    def script(self, path: str, verb: Verb, *faults: Fault) -> None:
        """These faults meet the next requests, one each."""
        self._faults[path, verb].extend(faults)

    def count(self, path: str, verb: Verb) -> int:
        """How many of these requests came."""
        return sum(1 for asked in self.asked if asked.path == path and asked.verb == verb)

    async def watched(self, path: str, verb: Verb = "watch", more_than: int = 0) -> None:
        """Wait until more such requests have come, and, for a watch, until one is open. Bounded by the caller."""
        async with self._news:
            await self._news.wait_for(
                lambda: self.count(path, verb) > more_than and (verb == "list" or self._open_watches[path] > 0)
            )

    # HTTP.

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        parameters, path = dict(request.query), request.path
        verb = "other" if path not in PATHS else "watch" if parameters.get("watch") == "true" else "list"
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append(Asked(verb, path, parameters, token))
        async with self._news:
            self._news.notify_all()
        if self.tokens and token not in self.tokens:
            return _status(401, "Unauthorized")
        if path == "/version":
            return web.json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.1"})
        if verb == "other":
            return _status(404, "the server could not find the requested resource")
        faults = self._faults[path, verb]
        fault = faults.popleft() if faults else None
        if isinstance(fault, Refuse):
            return _status(fault.status, "scripted", fault.retry_after)
        if isinstance(fault, Hang) and not fault.answered:
            await self._until_gone(request)
        if verb == "list":
            return await self._list(request, path, parameters, fault)
        return await self._watch(request, path, parameters, fault)

    async def _list(
        self, request: web.Request, path: str, parameters: Mapping[str, str], fault: Fault | None
    ) -> web.StreamResponse:
        if "continue" in parameters:
            held = self._pages.pop(parameters["continue"], None)
            if held is None or self.pages_expire:
                return _status(410, "The provided continue parameter is too old")
            version, items = held
        else:
            version = str(self._version)
            items = [found for found in self._kinds[path].objects.values() if _selected(found, parameters)]
        limit = int(parameters.get("limit", "0")) or len(items)
        metadata = {"resourceVersion": version}
        if len(items) > limit:
            more = f"page-{len(self.asked)}"
            self._pages[more] = version, items[limit:]
            metadata["continue"] = more
        body = json.dumps({"kind": f"{KINDS[path]}List", "metadata": metadata, "items": items[:limit] or None})
        if isinstance(fault, Say):
            body = fault.text.decode()
        if isinstance(fault, Drop | Cut):
            response = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body.encode()[: len(body) // 2])
            _break_off(request)
            return response
        return web.Response(text=body, content_type="application/json")

    async def _watch(
        self, request: web.Request, path: str, parameters: Mapping[str, str], fault: Fault | None
    ) -> web.StreamResponse:
        kind, after = self._kinds[path], int(parameters["resourceVersion"])
        if after < kind.forgotten:
            return _status(410, f"too old resource version: {after} ({kind.forgotten})")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._open_watches[path] += 1
        async with self._news:
            self._news.notify_all()
        try:
            match fault:
                case Hang():
                    await self._until_gone(request)
                case Say(text):
                    with suppress(ConnectionError):  # the client may have had enough before the end
                        await response.write(text)
                case Drop():
                    pass
                case Cut(events):
                    await self._send(response, path, after, parameters, events)
                    await response.write(b'{"type":"ADDED","object":{"metadata":{"name":"ha')
                    _break_off(request)
                case _:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(float(parameters["timeoutSeconds"])):
                            await self._send(response, path, after, parameters, None)
        finally:
            self._open_watches[path] -= 1
        return response

    async def _send(
        self, response: web.StreamResponse, path: str, after: int, parameters: Mapping[str, str], events: int | None
    ) -> None:
        """Events from `after` on, for ever or so many; an ERROR event where they are forgotten meanwhile."""
        kind, ending = self._kinds[path], self._endings[path]
        while events is None or events > 0:
            async with self._news:
                await self._news.wait_for(partial(self._is_due, path, after, ending))
            if ending != self._endings[path]:
                return
            if after < kind.forgotten:
                await response.write(_event("ERROR", {"kind": "Status", "code": 410, "message": "too old"}))
                return
            after, type_, found = next(event for event in kind.events if event[0] > after)
            if type_ == "BOOKMARK" or _selected(found, parameters):
                await response.write(_event(type_, found))
                events = None if events is None else events - 1

    def _is_due(self, path: str, after: int, ending: int) -> bool:
        """Whether a watch that is at version `after` has something to do."""
        kind = self._kinds[path]
        newer = any(version > after for version, *_ in kind.events)
        return newer or after < kind.forgotten or ending != self._endings[path]

    async def _tell(self, kind: _Kind, type_: str, found: Object) -> None:
        kind.events.append((self._version, type_, found))
        async with self._news:
            self._news.notify_all()

    async def _until_gone(self, request: web.Request) -> None:
        """Hold the connection in silence until the client drops it; the handler is cancelled then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HANG_LIMIT_S):
                await asyncio.Event().wait()
        _break_off(request)


def node(*addresses: tuple[str, str]) -> Object:
    """A node's body, from (type, address)."""
    listed = [{"type": type_, "address": address} for type_, address in addresses]
    return {"spec": {"podCIDR": "10.244.0.0/24"}, "status": {"addresses": listed, "capacity": {"cpu": "8"}}}


def endpoint_slice(service: str, *addresses: str, ready: bool | None = True, serving: bool | None = None) -> Object:
    """A slice's body, an endpoint for each address."""
    conditions = {name: value for name, value in (("ready", ready), ("serving", serving)) if value is not None}
    return {
        "metadata": {"labels": {SERVICE_OF_SLICES: service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": conditions} for address in addresses] or None,
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }


def service(address: str) -> Object:
    """A service's body."""
    return {"spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 53, "protocol": "UDP"}]}}


def service_account(directory: Path, token: str = "first-token", authority: str = "") -> Path:
    """Write what a pod finds mounted; as the kubelet does, a file is replaced as a whole."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (("token", token), ("ca.crt", authority), ("namespace", "functions")):
        new = directory / f".{name}.new"
        new.write_text(text)
        new.replace(directory / name)
    return directory


@asynccontextmanager
async def serving(
    server: FakeApiServer, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeApiServer]:
    """The server on loopback; its connections are cut at the end."""
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def _selected(found: Object, parameters: Mapping[str, str]) -> bool:
    """Whether the selectors that this project uses let it through."""
    metadata = found["metadata"]
    name = parameters.get("fieldSelector", "").removeprefix("metadata.name=")
    label, _, value = parameters.get("labelSelector", "").partition("=")
    return (not name or metadata["name"] == name) and (not label or metadata.get("labels", {}).get(label) == value)


def _event(type_: str, found: Object) -> bytes:
    return json.dumps({"type": type_, "object": found}).encode() + b"\n"


def _status(code: int, message: str, retry_after: str | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return web.json_response({"kind": "Status", "message": message, "code": code}, status=code, headers=headers)


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _main(port: int, certificate: str, key: str, version: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with serving(FakeApiServer(version), port, context) as server:
        print(server.url, flush=True)
        while order := await asyncio.to_thread(sys.stdin.readline):
            what, *arguments = json.loads(order)
            await {"put": server.put, "delete": server.delete}[what](*arguments)
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))

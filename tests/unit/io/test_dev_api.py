"""The developer's door over real HTTP: OpenWhisk's routes, what a message looks like, and who is kept out."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invoker.client import Client, Door, FileDoor, HttpDoor, Refused
from invoker.errors import CallerFault
from invoker.io.dev.api import DevApi, DevInfo
from invoker.io.http.server import HttpServer, Router
from invoker.io.sqlite.store import SqliteStore

WAIT_MAX_S = 10.0
PYTHON = {"exec": {"kind": "python:3", "code": "def main(args): return args"}}
INFO = DevInfo("http://127.0.0.1:1", "fake", {"isolation": "none"}, "default", ("python:3", "nodejs:default"), 512)


class Intake:
    """Stands for the invoker: keeps the messages, stores and answers a record of the status it is told."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.messages: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.status = 0
        self.result = b'{"n":1e400}'
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, message: bytes) -> bytes:
        self.raw.append(message)
        read = msgspec.json.decode(message, type=dict[str, msgspec.Raw])
        self.messages.append({key: value for key, value in read.items() if key != "content"})
        told = msgspec.json.decode(message.replace(b"1e400", b"0"))
        await self.gate.wait()
        record = {
            "activationId": told["activationId"],
            "namespace": told["user"]["namespace"]["name"],
            "name": told["action"]["name"],
            "start": told["transid"][1],
            "end": told["transid"][1],
            "duration": 3,
            "logs": ["2026-01-01T00:00:00.000000000Z stdout: hi"],
            "annotations": [],
            "response": {"statusCode": self.status, "result": msgspec.Raw(self.result), "size": len(self.result)},
        }
        completion = {"transid": told["transid"], "response": record, "isSystemError": self.status == 3}
        facts: dict[str, object] = {"containerType": "warm", "unpauseTime": 0.2}
        await self._store.put(f"guest/{told['activationId']}", msgspec.json.encode(record), facts)
        return msgspec.json.encode(completion)


class Lab:
    """A door on loopback with an intake behind it; asks from a thread, as another process would."""

    def __init__(self, api: DevApi, store: SqliteStore, intake: Intake, server: HttpServer) -> None:
        self.api, self.store, self.intake, self.server = api, store, intake, server
        self.door = HttpDoor(f"http://127.0.0.1:{server.port}")
        self.client = Client(self.door)

    async def ask(self, method: str, path: str, body: object = b"", query: str = "") -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        path = f"/api/v1/namespaces/{path}"
        status, answer = await asyncio.to_thread(self.door.ask, method, path, query, raw)
        return status, msgspec.json.decode(answer.replace(b"1e400", b"0"))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    router = Router()
    errors: list[BaseException] = []
    async with SqliteStore(tmp_path / "invoker.db") as store:
        intake = Intake(store)
        api = DevApi(store, intake, lambda: INFO, blocking_wait_max_s=5, invocations_max=2, now_ms=lambda: 1234)
        api.register(router)
        server = HttpServer(router, on_error=lambda _what, error: errors.append(error))
        await server.start("127.0.0.1", 0)
        yield Lab(api, store, intake, server)
        intake.gate.set()
        await api.close()
        await server.close(1.0)
    assert errors == []


async def test_the_root_tells_where_you_are(lab: Lab) -> None:
    for path in ("/api/v1", "/api/v1/"):
        status, body = await asyncio.to_thread(lab.door.ask, "GET", path, "", b"")
        assert status == 200
        assert msgspec.json.decode(body)["engine"] == "fake"


async def test_an_action_is_put_read_listed_and_deleted(lab: Lab) -> None:
    status, put = await lab.ask("PUT", "guest/actions/pkg/hello", PYTHON)
    assert status == 200
    assert put["_rev"].startswith("1-")
    assert (put["namespace"], put["name"], put["version"]) == ("guest/pkg", "hello", "0.0.1")
    assert put["limits"] == {"timeout": 60_000, "memory": 256, "logs": 256, "concurrency": 1}
    assert "code" not in put["exec"]
    status, got = await lab.ask("GET", "guest/actions/pkg/hello")
    assert got["exec"]["code"] == PYTHON["exec"]["code"]
    _, listed = await lab.ask("GET", "_/actions")
    assert [(each["namespace"], each["name"], each["_rev"]) for each in listed] == [("guest/pkg", "hello", put["_rev"])]
    assert (await lab.ask("DELETE", "guest/actions/pkg/hello"))[0] == 200
    assert (await lab.ask("GET", "guest/actions/pkg/hello"))[0] == 404
    assert (await lab.ask("DELETE", "guest/actions/pkg/hello"))[0] == 404


async def test_a_put_over_another_has_to_be_meant(lab: Lab) -> None:
    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    status, error = await lab.ask("PUT", "guest/actions/hello", PYTHON)
    assert status == 409
    assert "overwrite=true" in error["error"]
    status, put = await lab.ask("PUT", "guest/actions/hello", PYTHON, query="overwrite=true")
    assert status == 200
    assert (put["version"], put["_rev"][:2]) == ("0.0.2", "2-")


async def test_the_store_decodes_what_the_door_keeps(lab: Lab) -> None:
    code = base64.b64encode(b"PK").decode()
    body = {"exec": {"kind": "nodejs:default", "code": code, "binary": True, "main": "go"}, "limits": {"memory": 128}}
    _, put = await lab.ask("PUT", "guest/actions/pkg/hello", body)
    document = await lab.store.get("guest/pkg", "hello", put["_rev"])
    assert (document.path, document.name, document.revision) == ("guest/pkg", "hello", put["_rev"])
    assert (document.kind, document.main, document.binary) == ("nodejs:default", "go", True)
    assert (document.memory_mb, document.timeout_ms, document.concurrency) == (128, 60_000, 1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "can't be read"),
        ({}, "exec"),
        ({"exec": {"kind": "cobol:1", "code": ""}}, "there are python:3, nodejs:default"),
        ({"exec": {"kind": "python:3", "code": "?", "binary": True}}, "base64"),
        ({**PYTHON, "limits": {"memory": 513}}, "limits.memory: 513 is not within 1 to 512 MB"),
        ({**PYTHON, "limits": {"timeout": 99}}, "limits.timeout: 99"),
        ({**PYTHON, "limits": {"timeout": "soon"}}, "limits.timeout"),
        ({**PYTHON, "limits": {"concurrency": 0}}, "limits.concurrency: 0"),
    ],
)
async def test_a_wrong_action_is_named(lab: Lab, body: object, told: str) -> None:
    status, error = await lab.ask("PUT", "guest/actions/hello", body)
    assert status == 400
    assert told in error["error"]


@pytest.mark.parametrize(
    "path", ["guest/actions/-x", "guest/actions/a%2Fb", "gu%20/actions/x", f"guest/actions/{'x' * 257}"]
)
async def test_a_wrong_name_is_named(lab: Lab, path: str) -> None:
    status, error = await lab.ask("PUT", path, PYTHON)
    assert status == 400
    assert "can't be the name of" in error["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "guest"), ("PUT", "guest/actions"), ("GET", "guest/actions/a/b/c"), ("DELETE", "guest/activations/a1")],
)
async def test_what_is_not_served_is_not_found(lab: Lab, method: str, path: str) -> None:
    assert (await lab.ask(method, path))[0] == 404


@pytest.mark.parametrize("query", ["limit=many", "skip=-1", "since=1.5", "docs=yes"])
async def test_a_wrong_query_is_named(lab: Lab, query: str) -> None:
    status, error = await lab.ask("GET", "guest/activations", query=query)
    if query == "docs=yes":
        await lab.store.put("guest/a1", b'{"name":"x","start":1}', {})
        status, error = await lab.ask("GET", "guest/activations", query=query)
    assert status == 400
    assert f"?{query.partition('=')[0]}=" in error["error"]


async def test_a_message_is_what_a_controller_sends(lab: Lab) -> None:
    bound = [
        {"key": "a", "value": 1},
        {"key": "b", "value": 2, "init": True},
        {"key": "c", "value": "x", "encryption": "k"},
    ]
    _, put = await lab.ask("PUT", "guest/actions/pkg/hello", {**PYTHON, "parameters": bound})
    status, record = await lab.ask("POST", "guest/actions/pkg/hello", b'{"a":8.70,"d":1e400}', "blocking=true")
    assert status == 200
    message = msgspec.json.decode(lab.intake.raw[0].replace(b"1e400", b"0"))
    assert message["action"] == {"path": "guest/pkg", "name": "hello", "version": "0.0.1"}
    assert message["revision"] == put["_rev"]
    assert (message["user"]["subject"], message["user"]["namespace"]["name"]) == ("guest", "guest")
    assert message["activationId"] == record["activationId"]
    assert message["transid"] == [record["activationId"], 1234]
    assert message["blocking"] is True
    assert message["initArgs"] == ["b"]
    assert message["lockedArgs"] == {"c": "k"}
    assert b'"content":{"a":8.70,"b":2,"c":"x","d":1e400}' in lab.intake.raw[0]


async def test_the_protocol_takes_the_message(lab: Lab) -> None:
    from invoker.protocol.message import decode_message
    from invoker.protocol.secrets import KeyRing

    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    await lab.ask("POST", "guest/actions/hello", b'{"n":8.70}', "blocking=true")
    message = decode_message(lab.intake.raw[0], KeyRing())
    assert (message.namespace, message.path, message.name, message.blocking) == ("guest", "guest", "hello", True)


@pytest.mark.parametrize(("status", "http"), [(0, 200), (1, 502), (2, 502), (3, 500)])
async def test_a_blocking_record_is_answered_and_stored(lab: Lab, status: int, http: int) -> None:
    lab.intake.status = status
    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    answered, record = await lab.ask("POST", "guest/actions/hello", {}, "blocking=true")
    assert answered == http
    path = f"guest/activations/{record['activationId']}"
    assert await lab.ask("GET", path) == (200, record)
    assert await lab.ask("GET", f"{path}/logs") == (200, {"logs": record["logs"]})
    assert await lab.ask("GET", f"{path}/result") == (200, record["response"])
    assert (await lab.ask("GET", f"{path}/facts"))[1] == {"containerType": "warm", "unpauseTime": 0.2}
    assert (await lab.ask("GET", f"{path}/more"))[0] == 404
    _, listed = await lab.ask("GET", "guest/activations")
    assert [(each["statusCode"], each["containerType"]) for each in listed] == [(status, "paused")]
    assert "logs" not in listed[0]
    _, whole = await lab.ask("GET", "guest/activations", query="docs=true")
    assert whole[0]["logs"] == record["logs"]


async def test_only_the_result_where_that_is_asked_for(lab: Lab) -> None:
    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    path = "/api/v1/namespaces/guest/actions/hello"
    answer = await asyncio.to_thread(lab.door.ask, "POST", path, "blocking=true&result=true", b"")
    assert answer == (200, b'{"n":1e400}')


async def test_without_blocking_the_id_comes_at_once(lab: Lab) -> None:
    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    lab.intake.gate.clear()
    status, accepted = await lab.ask("POST", "guest/actions/hello")
    assert status == 202
    assert len(accepted["activationId"]) == 32
    assert (await lab.ask("POST", "guest/actions/hello"))[0] == 202
    status, error = await lab.ask("POST", "guest/actions/hello")
    assert status == 429
    assert "2 activations are under way" in error["error"]
    lab.intake.gate.set()
    await lab.api.close()
    assert bytes(lab.intake.messages[0]["blocking"]) == b"false"
    _, listed = await lab.ask("GET", "guest/activations")
    assert accepted["activationId"] in [each["activationId"] for each in listed]


async def test_who_waits_too_long_gets_the_id(lab: Lab) -> None:
    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    lab.api._blocking_wait_max_s = 0.01
    lab.intake.gate.clear()
    status, accepted = await lab.ask("POST", "guest/actions/hello", {}, "blocking=true")
    assert status == 202
    lab.intake.gate.set()
    await lab.api.close()
    assert (await lab.ask("GET", f"guest/activations/{accepted['activationId']}"))[0] == 200


@pytest.mark.parametrize("payload", [b"[1]", b"{", b'"x"'])
async def test_parameters_are_an_object(lab: Lab, payload: bytes) -> None:
    await lab.ask("PUT", "guest/actions/hello", PYTHON)
    status, error = await lab.ask("POST", "guest/actions/hello", payload, "blocking=true")
    assert status == 400
    assert "one JSON object" in error["error"]
    assert lab.intake.messages == []


async def test_an_unknown_action_is_not_found(lab: Lab) -> None:
    assert await lab.ask("POST", "guest/actions/hello") == (404, {"error": "no action guest/hello"})


@pytest.mark.parametrize(
    "headers",
    [
        "Host: evil.example",
        "Host: 10.0.0.1:80",
        "Host: localhost\r\nOrigin: https://evil.example",
        "Host: localhost\r\nOrigin: null",
    ],
)
async def test_strangers_are_kept_out(lab: Lab, headers: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.server.port)
    writer.write(f"GET /api/v1/ HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(WAIT_MAX_S):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8080", "LOCALHOST:1"])
async def test_this_machine_is_let_in(lab: Lab, host: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.server.port)
    writer.write(
        f"GET /api/v1/ HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(WAIT_MAX_S):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 ")


# --- the client, at both doors --------------------------------------------------------------------------------------


async def test_the_client_says_what_the_door_said(lab: Lab) -> None:
    def talk() -> None:
        client = lab.client
        revision = msgspec.json.decode(client.put("guest/hello", PYTHON, overwrite=False))["_rev"]
        with pytest.raises(Refused, match="exists already") as refused:
            client.put("guest/hello", PYTHON, overwrite=False)
        assert refused.value.status == 409
        assert msgspec.json.decode(client.get("guest/hello", code=False))["_rev"] == revision
        activation = client.invoke("guest/hello", b"{}")
        assert not isinstance(activation, str)
        record = bytes(activation.record)
        activation_id = msgspec.json.decode(record.replace(b"1e400", b"0"))["activationId"]
        assert client.activation("guest", activation_id) == record
        assert client.activation("guest", activation_id, "facts") == bytes(activation.facts)
        assert len(msgspec.json.decode(client.activations("guest", limit=5, skip=0, name="hello"))) == 1
        assert len(client.begin("guest/hello", b"")) == 32
        client.delete("guest/hello")
        with pytest.raises(Refused, match="no action"):
            client.invoke("guest/hello", b"{}")
        with pytest.raises(Refused, match="no action"):
            client.begin("guest/hello", b"{}")

    await asyncio.to_thread(talk)


@pytest.mark.parametrize("name", ["hello", "/", "a/b/c/d", "guest//x", ""])
def test_the_client_knows_a_name(name: str) -> None:
    class Nobody:
        def ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
            raise AssertionError("not to be asked")

    with pytest.raises(CallerFault, match="NAMESPACE/NAME"):
        Client(Nobody()).get(name, code=False)


def test_the_files_answer_as_a_running_invoker_does(tmp_path: Path) -> None:
    door: Door = FileDoor(tmp_path / "invoker.db")
    client = Client(door)
    put = msgspec.json.decode(client.put("guest/hello", PYTHON, overwrite=True))
    assert msgspec.json.decode(client.actions("guest", limit=5, skip=0))[0]["_rev"] == put["_rev"]
    with pytest.raises(Refused, match="no invoker runs"):
        client.invoke("guest/hello", b"{}")
    client.delete("guest/hello")
    with pytest.raises(Refused, match="no action guest/hello"):
        client.get("guest/hello", code=True)


def test_nobody_answering_is_told_with_what_to_do(unused: Callable[[], int]) -> None:
    from invoker.client import Unreachable

    with pytest.raises(Unreachable, match="invoker dev"):
        Client(HttpDoor(f"http://127.0.0.1:{unused()}")).info()


@pytest.fixture
def unused() -> Callable[[], int]:
    import socket

    def port() -> int:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            return int(taken.getsockname()[1])

    return port

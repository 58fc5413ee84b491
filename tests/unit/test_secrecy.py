"""Decrypted parameters reach the container and nobody else: no log at any level, no decision log, page or report."""

from __future__ import annotations

import asyncio
import base64
import faulthandler
import io
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.driver import Driver
from invoker.intake import Intake
from invoker.io import logging as invoker_logging
from invoker.io.containers.fake import FakeContainer
from invoker.io.containers.fake import Path as Door
from invoker.io.debug_api import DebugApi
from invoker.io.decision_log import DecisionLog
from invoker.io.http.server import Router
from invoker.policy.outcome import Reply
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner, RunnerSettings, Story
from tests.support.body import KIND, Body, document
from tests.support.node import message
from tests.support.raw_http import post, serving, until

CANARY = "correct-horse-battery-staple"
KEY = b"0123456789abcdefCANARYKEYabcdefg"
RING = KeyRing({"k": KEY})


def sealed(plain: str) -> str:
    nonce = os.urandom(128)
    return base64.b64encode(b"\0\0\0\x80" + nonce + AESGCM(KEY).encrypt(nonce, plain.encode(), None)).decode()


def secret_message(**changes: Any) -> bytes:
    """One with a secret for /init and one for /run."""
    content = {"a": sealed(f'"{CANARY}"'), "b": sealed(f'{{"deep": "{CANARY}"}}'), "c": 1}
    return message("act", content, init_args=("a",), lockedArgs={"a": "k", "b": "k"}, **changes)


def shows(text: str | bytes) -> bool:
    """Whether a secret is in it, plain or as base64."""
    data = text.encode() if isinstance(text, str) else text
    words = (CANARY.encode(), KEY, b"CANARYKEY", base64.b64encode(KEY), base64.b64encode(CANARY.encode())[:-4])
    return any(word in data for word in words)


class Container:
    """A function that keeps what it was given, and returns nothing of it."""

    def __init__(self) -> None:
        self.given = b""
        self.running = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, _container: FakeContainer, path: Door, body: bytes) -> Reply:
        self.given += body
        if path == "/run":
            self.running.set()
            await self.release.wait()
        return Reply(200, b"{}")


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Path]:
    """The process's logs at their most talkative, in a file; read it once they are closed."""
    with (tmp_path / "stdout").open("w") as stream:
        logs = invoker_logging.setup("debug", "json", stream)
        try:
            yield tmp_path / "stdout"
        finally:
            logs.close()


def with_decision_log(body: Body, directory: Path) -> DecisionLog:
    """Have the body's decisions written down."""
    decisions = DecisionLog(directory, body.pool.policies, 0, file_bytes=1 << 20, files_max=10)
    body.driver = Driver(body.pool, body.engine, body.clock, lambda kind: kind, decisions)
    settings = RunnerSettings(3, 1 << 30, log_wait_s=0.05)
    body.runner = Runner(
        settings, body.driver, body.store, body.store, {KIND: KIND}.get, body.clock, body.metrics, body.runner._logs
    )
    return decisions


@pytest.mark.contract("9")
@pytest.mark.parametrize("blocking", [True, False])
async def test_a_secret_reaches_the_container_alone(tmp_path: Path, lines: Path, blocking: bool) -> None:
    container = Container()
    async with Body(container) as body:
        decisions = with_decision_log(body, tmp_path / "decisions")
        body.store.actions["guest", "act"] = document()
        intake = Intake(body.runner, RING)
        router = Router()
        router.add("POST", "/invoke", intake.handle)
        DebugApi(body.pool, body.metrics, lambda: intake.in_flight, body.engine.describe).register(router)
        async with serving(router) as served, served.peer() as caller, served.peer() as operator:
            caller.send(post(secret_message(blocking=blocking)))
            _, fields = await caller.head()
            await container.running.wait()
            pages = [
                (await operator.ask(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())).body
                for path in ("/debug/pool", "/debug/tasks", "/metrics")
            ]
            container.release.set()
            answer = await caller.body(fields)
            await until(lambda: intake.in_flight == 0)
        decisions.close()
        records = repr(body.store.records) + repr(body.lines.completed)
    decided = b"".join(path.read_bytes() for path in sorted((tmp_path / "decisions").iterdir()))
    assert container.given.count(CANARY.encode()) == 2, "it did get there"
    assert decided
    assert "guest" in records
    for text in (*pages, answer, records, decided, await all_lines(lines)):
        assert not shows(text)


class Defect(Exception):
    """Something nobody thought of."""


async def test_a_defect_beside_a_secret_is_told_without_it(lines: Path) -> None:
    """The frames of the traceback hold the message; what is written of them are their lines of code."""
    async with Body() as body:

        async def broken(*_: object) -> NoReturn:
            raise Defect("nobody thought of this")

        body.store.get = broken  # type: ignore[method-assign]
        decoded = decode_message(secret_message(), RING)
        await body.runner.run(decoded, "http", body.answers.append, {})
    text = await written(lines, "nobody thought of this")
    assert "Traceback" in text
    assert not shows(text)
    assert not shows(b"".join(body.answers))


async def test_a_handlers_defect_is_told_without_the_message(lines: Path) -> None:
    """By what the listener logs of a handler's exception, and what asyncio says of a task that nobody looked after."""
    log = logging.getLogger("test")

    async def lost(message: ActivationMessage) -> NoReturn:
        raise Defect(f"lost {message!r}")

    task = asyncio.get_running_loop().create_task(lost(decode_message(secret_message(), RING)))
    await asyncio.wait([task])
    try:
        await task
    except Defect as defect:
        log.exception("failed")
        log.error("failed", exc_info=defect)
        log.debug("failed with %r and %s", decode_message(secret_message(), RING), RING)
    text = await written(lines, "KeyRing(1 keys)")
    assert text.count("Traceback") >= 2
    assert not shows(text)


@pytest.mark.parametrize(
    ("content", "locked", "words"),
    [
        ({"a": sealed(CANARY)}, {"a": "k"}, "'a' is no JSON once it is decrypted"),
        ({"a": sealed(f'{{"x": {CANARY}')}, {"a": "k"}, "'a' is no JSON once it is decrypted"),
        ({"a": sealed(f'"{CANARY}"')[:-8]}, {"a": "k"}, "'a' can't be decrypted"),
        ({"a": CANARY}, {"a": "k"}, "'a' can't be decrypted: the encrypted text is"),
        ({"a": {"x": CANARY}}, {"a": "k"}, "'a' is no string"),
        ({"a": sealed(f'"{CANARY}"')}, {"a": "unknown"}, "no encryption key has the name 'unknown'"),
    ],
)
@pytest.mark.contract("9")
async def test_a_refusal_names_the_parameter_and_shows_no_value(
    lines: Path, content: dict[str, Any], locked: dict[str, str], words: str
) -> None:
    async with Body() as body:
        router = Router()
        router.add("POST", "/invoke", Intake(body.runner, RING).handle)
        async with serving(router) as served, served.peer() as peer:
            answer = await peer.ask(post(message("act", content, lockedArgs=locked)))
        assert answer.status == 400
        assert words in answer.body.decode()
        assert not shows(answer.body)
        assert body.lines.completed == []
    assert not shows(await all_lines(lines))


def test_reprs_and_reports_of_a_crash_show_nothing(tmp_path: Path) -> None:
    """faulthandler writes names of files and functions and line numbers; a traceback the same and the lines of code."""
    decoded = decode_message(secret_message(), RING)
    story = Story(decoded, "http", {}, lambda: None)
    assert decoded.init_parameters == {"a": f'"{CANARY}"'.encode()}
    for value in (decoded, story, [decoded], {"message": decoded}, RING):
        assert not shows(repr(value))
        assert not shows(f"{value}")
    with (tmp_path / "crash").open("w+") as report:
        crash(decoded, report)
    text = (tmp_path / "crash").read_text()
    assert "in crash" in text
    assert not shows(text)
    try:
        fail(decoded)
    except Defect as defect:
        told = io.StringIO()
        traceback.print_exception(defect, file=told)
        assert "in fail" in told.getvalue()
        assert not shows(told.getvalue())


def crash(message: ActivationMessage, report: Any) -> None:
    faulthandler.dump_traceback(report)
    assert message.init_parameters


def fail(message: ActivationMessage) -> NoReturn:
    secret = message.init_parameters["a"]
    raise Defect(f"of {len(secret)} bytes in {message}")


async def all_lines(lines: Path) -> str:
    """What was logged until now."""
    logging.getLogger("test").info("this is the last line")
    return await written(lines, "this is the last line")


async def written(lines: Path, words: str) -> str:
    """The log, once these words are in it."""
    read = lines.read_text
    await until(lambda: words in read())
    return read()

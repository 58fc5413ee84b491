"""Logs: one JSON object a line, no secrets, libraries led in, and nobody waits for a slow reader."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

import pytest
import structlog

from invoker.io import logging as logs_module
from invoker.io.logging import REDACTED, LineWriter, Logs, encode, setup, timestamp

WAIT_S = 5.0
CANARY = "correct-horse-battery-staple"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Pipe:
    """A pipe whose writing end is a text stream, as stdout is one."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream: TextIO = os.fdopen(writing, "w")

    def lines(self) -> list[str]:
        """Everything written, once the writer has closed; the stream is closed here."""
        self.stream.close()
        chunks: list[bytes] = []
        while chunk := os.read(self.reading, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks).decode().splitlines()

    def close(self) -> None:
        if not self.stream.closed:
            self.stream.close()
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def logs(pipe: Pipe) -> Iterator[Logs]:
    logs = setup("info", "json", pipe.stream)
    yield logs
    logs.close()


def written(logs: Logs, pipe: Pipe) -> list[dict[str, Any]]:
    logs.close()
    return [json.loads(line) for line in pipe.lines()]


def test_a_line_is_one_json_object_with_time_level_and_message(logs: Logs, pipe: Pipe) -> None:
    structlog.get_logger().info("pool is\nready", containers=3)
    [line] = written(logs, pipe)
    assert STAMP.fullmatch(line.pop("@timestamp"))
    assert line == {"level": "info", "message": "pool is\nready", "containers": 3}


def test_lines_below_the_level_are_left_out(logs: Logs, pipe: Pipe) -> None:
    structlog.get_logger().debug("hidden")
    logging.getLogger("library").info("seen")
    logging.getLogger("library").debug("hidden")
    structlog.get_logger().warning("seen")
    assert [line["message"] for line in written(logs, pipe)] == ["seen", "seen"]


def test_the_libraries_own_logging_and_warnings_are_led_in(logs: Logs, pipe: Pipe) -> None:
    logging.getLogger("library.part").warning("slow: %d ms", 7)
    badly_made = logging.LogRecord("library", logging.WARNING, __file__, 1, "badly made: %d", ("x",), None)
    [ours] = [one for one in logging.getLogger().handlers if type(one).__module__ == logs_module.__name__]
    ours.handle(badly_made)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", UserWarning, stacklevel=1)
    first, second, third = written(logs, pipe)
    assert (first["message"], first["level"], first["library"]) == ("slow: 7 ms", "warning", "library.part")
    assert second["message"] == "badly made: %d"
    assert "UserWarning: old" in third["message"]


def test_an_exception_is_in_its_line(logs: Logs, pipe: Pipe) -> None:
    try:
        {}["nothing there"]
    except LookupError:
        structlog.get_logger().exception("failed")
    [line] = written(logs, pipe)
    assert line["level"] == "error"
    assert "KeyError: 'nothing there'" in line["exception"]


@pytest.mark.parametrize(
    "fields",
    [
        {"password": CANARY},
        {"api_key": CANARY},
        {"token": CANARY},
        {"Authorization": CANARY},
        {"ENCRYPTION_KEYS": {"k1": CANARY}},
        {"COUCH_PASSWORD": CANARY},
        {"settings": {"couch": {"password": CANARY}}},
        {"headers": [{"authorization": CANARY}]},
        {"user": {"authkey": {"api_key": CANARY}}},
        {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"password": CANARY}}}}}}}}},
    ],
)
def test_secrets_are_redacted_by_name_at_any_depth(logs: Logs, pipe: Pipe, fields: dict[str, Any]) -> None:
    structlog.get_logger().info("settings", **fields)
    logs.close()
    [line] = pipe.lines()
    assert CANARY not in line
    assert REDACTED in line or "..." in line


def test_what_json_has_no_words_for_is_written_all_the_same(logs: Logs, pipe: Pipe) -> None:
    log = structlog.get_logger()
    loop: list[Any] = []
    loop.append(loop)
    log.info("odd", surrogate="\ud800", path=os, number=10**40, nothing=float("nan"))
    log.info("odder", **{"\ud800": 1}, keys={1: {object(): 2}})
    log.info("oddest", loop=loop, kept=1)
    first, second, third = written(logs, pipe)
    assert first["surrogate"] == "\\ud800"
    assert first["nothing"] is None
    assert second["message"] == "odder"
    assert third["kept"] == 1


@pytest.mark.contract("16")
def test_invocation_completed(logs: Logs, pipe: Pipe) -> None:
    logs.invocation_completed({"tid": "t", "aid": "a", "containerType": "warm", "waitTime": 3, "gbs": 0.025})
    [line] = written(logs, pipe)
    assert list(line)[:3] == ["@timestamp", "level", "message"]
    assert STAMP.fullmatch(line["@timestamp"])
    assert line["message"] == "invocation completed"
    assert (line["tid"], line["waitTime"], line["gbs"]) == ("t", 3, 0.025)


@pytest.mark.contract("16")
def test_invocation_completed_is_an_info_line(pipe: Pipe) -> None:
    logs = setup("warn", "json", pipe.stream)
    logs.invocation_completed({"tid": "t"})
    assert written(logs, pipe) == []


def test_context_variables_are_in_the_line(logs: Logs, pipe: Pipe) -> None:
    with structlog.contextvars.bound_contextvars(tid="t1"):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    inside, outside = written(logs, pipe)
    assert inside["tid"] == "t1"
    assert "tid" not in outside


def test_a_console_is_for_people_only_on_a_terminal(pipe: Pipe) -> None:
    logs = setup("info", "console", pipe.stream)
    structlog.get_logger().info("hello", n=1)
    [line] = written(logs, pipe)
    assert line["message"] == "hello"
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        logs = setup("info", "console", stream)
        structlog.get_logger().info("hello", password=CANARY)
        logs.invocation_completed({"tid": "t7"})
        logs.close()
        text = os.read(controller, 65_536).decode()
    os.close(controller)
    assert "hello" in text
    assert "t7" in text
    assert CANARY not in text
    assert "@timestamp" not in text


def test_closing_undoes_the_set_up(pipe: Pipe) -> None:
    handlers = list(logging.getLogger().handlers)
    logs = setup("debug", "json", pipe.stream)
    assert logging.getLogger().level == logging.DEBUG
    logs.close()
    logs.close()
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().level == logging.WARNING


def test_time_stamps_go_on_over_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [1_700_000_000_999_999_999]
    monkeypatch.setattr(logs_module.time, "time_ns", lambda: now_ns[0])
    assert timestamp() == "2023-11-14T22:13:20.999999Z"
    now_ns[0] += 1
    assert timestamp() == "2023-11-14T22:13:21.000000Z"


def shrink(pipe: Pipe) -> None:
    fcntl.fcntl(pipe.reading, fcntl.F_SETPIPE_SZ, 4096)


def test_a_reader_that_does_not_read_costs_lines_not_time(pipe: Pipe) -> None:
    """The pipe takes 4 KiB and nobody reads: writing goes on at once, and what found no room is counted and told."""
    shrink(pipe)
    writer = LineWriter(pipe.stream.fileno(), buffer_bytes=20_000)
    line = encode({"message": "x" * 87})
    began_s = time.monotonic()
    for _ in range(5_000):
        writer.write(line)
    assert time.monotonic() - began_s < 1.0
    assert writer.dropped > 4_000
    reader_lines: list[bytes] = []
    told = threading.Event()

    def read() -> None:
        held = b""
        while chunk := os.read(pipe.reading, 65_536):
            held += chunk
            *whole, held = held.split(b"\n")
            reader_lines.extend(whole)
            if any(b"log lines dropped" in one for one in whole):
                told.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert told.wait(WAIT_S)
    writer.close()
    pipe.stream.close()
    reader.join(WAIT_S)
    notes = [json.loads(one) for one in reader_lines if b"log lines dropped" in one]
    assert sum(note["dropped"] for note in notes) == writer.dropped
    assert len(reader_lines) - len(notes) + writer.dropped == 5_000


def test_closing_is_bounded_though_nobody_reads(pipe: Pipe) -> None:
    shrink(pipe)
    writer = LineWriter(pipe.stream.fileno())
    for _ in range(100):
        writer.write(b"x" * 999 + b"\n")
    began_s = time.monotonic()
    writer.close(0.1)
    assert time.monotonic() - began_s < WAIT_S
    os.close(pipe.reading)  # lets the writer's thread go: its reader is no more
    pipe.reading = os.open(os.devnull, os.O_RDONLY)


def test_a_reader_that_has_gone_is_no_error(pipe: Pipe) -> None:
    os.close(pipe.reading)
    pipe.reading = os.open(os.devnull, os.O_RDONLY)
    writer = LineWriter(pipe.stream.fileno())
    writer.write(b"one\n")
    writer.close()
    assert writer.dropped == 1


def test_lines_of_many_threads_stay_whole_and_in_each_threads_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream.fileno())
    collected: list[str] = []
    reader = threading.Thread(target=lambda: collected.extend(_read_to_end(pipe.reading)))
    reader.start()

    def write(name: str) -> None:
        for number in range(500):
            writer.write(f"{name} {number}\n".encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    writer.close()
    pipe.stream.close()
    reader.join(WAIT_S)
    for name in "abcd":
        assert [line for line in collected if line.startswith(name)] == [f"{name} {number}" for number in range(500)]


def _read_to_end(fd: int) -> list[str]:
    data = b""
    while chunk := os.read(fd, 65_536):
        data += chunk
    return data.decode().splitlines()

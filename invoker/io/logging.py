"""◆ Logs: JSON lines on stdout, or for a person on a terminal.

structlog carries the events, the libraries' own logging is led into it, and a redactor goes over every line. One line
is different: "invocation completed" is written for each activation and has a closed set of fields (contract, section
16), so it is encoded directly and costs a few microseconds where structlog's chain takes several times that.

Nothing that logs waits for stdout. Lines go to a bounded buffer that a thread empties: a slow reader (a full pipe, a
stopped terminal) would otherwise stall the event loop and with it every invocation. Once the buffer is full the newest
lines are dropped and counted, for the oldest tell how it came about; a line says how many as soon as there is room.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO

import msgspec
import structlog

Level = Literal["debug", "info", "warn", "error"]
Format = Literal["json", "console"]

LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warn": 30, "error": 40}
BUFFER_BYTES = 4 * 1024 * 1024
WRITE_BYTES = 64 * 1024  # about a pipe's capacity: more at once would only block longer
GATHER_S = 0.05  # lines of this span share a write, and a switch of threads, which the loop pays for
CLOSE_TIMEOUT_S = 2.0

REDACTED = "[redacted]"
SECRET_NAMES = frozenset(
    {"password", "api_key", "apikey", "token", "authorization", "authkey", "encryption_keys", "secret"}
)
SECRET_ENDINGS = ("_password", "_token", "_secret", "_api_key")
REDACT_DEPTH = 6


class LineWriter:
    """A bounded buffer before a file descriptor, emptied by a thread. Safe to write to from every thread.

    Producers take no lock, for the loop would wait for it while the thread holds it and is off the processor: the deque
    is safe by itself, and two counters that only grow tell what is held (two producers at once may blur it a little).
    """

    def __init__(self, fd: int, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.dropped = 0
        self._untold = 0
        self._fd = fd
        self._buffer_bytes = buffer_bytes
        self._taken_bytes = 0
        self._drained_bytes = 0
        self._lines: deque[bytes] = deque()
        self._lock = threading.Lock()  # for what is counted when lines are dropped
        self._work = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line, its newline included. Never blocks; past the limit the line is dropped and counted."""
        if self._taken_bytes - self._drained_bytes + len(line) > self._buffer_bytes:
            with self._lock:
                self.dropped += 1
                self._untold += 1
            return
        self._taken_bytes += len(line)
        self._lines.append(line)
        if not self._work.is_set():
            self._work.set()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write what is held, for at most `timeout_s`. Twice is once; lines after it are lost."""
        self._closing.set()
        self._work.set()
        self._thread.join(timeout_s)

    def _drain(self) -> None:
        while True:
            self._work.wait()
            self._closing.wait(GATHER_S)
            self._work.clear()  # before the look: a line that comes now sets it again
            while batch := self._take():
                self._write_all(batch)
            if self._closing.is_set() and not self._lines:
                return

    def _take(self) -> bytes:
        """Some lines joined, in order, and after them a note of what was dropped."""
        batch: list[bytes] = []
        size = 0
        while self._lines and (not batch or size + len(self._lines[0]) <= WRITE_BYTES):
            line = self._lines.popleft()
            size += len(line)
            batch.append(line)
        if self._untold and batch:
            with self._lock:
                untold, self._untold = self._untold, 0
            note = {"@timestamp": timestamp(), "level": "warning", "message": "log lines dropped", "dropped": untold}
            batch.append(encode(note))
        self._drained_bytes += size
        return b"".join(batch)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # someone made the shared terminal non-blocking
                time.sleep(GATHER_S)
            except OSError:  # the reader has gone: there is nobody to tell
                with self._lock:
                    self.dropped += data.count(b"\n")
                return


class _Clock:
    """RFC 3339 time stamps in UTC; the second's text is made once a second."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self) -> str:
        second, rest_ns = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = second
        return f"{self._prefix}{rest_ns // 1000:06d}Z"


timestamp = _Clock()
_encoder = msgspec.json.Encoder(enc_hook=str)
EventDict = MutableMapping[str, Any]


def encode(fields: MutableMapping[str, Any]) -> bytes:
    """One line of JSON. What JSON or UTF-8 has no words for is written as well as it can be; logging never raises."""
    try:
        return _encoder.encode(fields) + b"\n"
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _encoder.encode({_plain(str(name)): _plain(value) for name, value in fields.items()}) + b"\n"


def _plain(value: Any) -> Any:
    """The value, or its text without what UTF-8 can't hold."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the values of secret names are replaced, also inside dicts and lists.

    It goes by names: a secret must not be put into a message's text.
    """
    for name, value in event.items():
        event[name] = REDACTED if _is_secret(name) else _redacted(value, REDACT_DEPTH)
    return event


def _redacted(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        if depth == 0:
            return "..."
        items: dict[Any, Any] = value  # type: ignore[assignment]
        return {name: REDACTED if _is_secret(name) else _redacted(inner, depth - 1) for name, inner in items.items()}
    if isinstance(value, (list, tuple)):
        if depth == 0:
            return "..."
        members: list[Any] | tuple[Any, ...] = value  # type: ignore[assignment]
        return [_redacted(inner, depth - 1) for inner in members]
    return value


def _is_secret(name: object) -> bool:
    lower = str(name).lower().replace("-", "_")
    return lower in SECRET_NAMES or lower.endswith(SECRET_ENDINGS)


class _LineLogger:
    """What structlog writes to: one method for each level's name."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def msg(self, line: bytes | str) -> None:
        self._write(line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace") + b"\n")

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Routed(logging.Handler):
    """Leads the standard library's log records into structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        structlog.get_logger(library=record.name).log(record.levelno, text, exc_info=record.exc_info)


def _for_machines() -> list[Any]:
    return [structlog.processors.format_exc_info, _json_line]


def _for_people() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]


def _json_line(_logger: object, _method: str, event: EventDict) -> bytes:
    line = {"@timestamp": timestamp(), "level": event.pop("level", "info"), "message": event.pop("event", "")}
    line.update(event)
    return encode(line)


class Logs:
    """The process's logging. One at a time: `setup` makes it, `close` undoes it."""

    def __init__(self, writer: LineWriter, level: Level, handler: logging.Handler, *, direct: bool) -> None:
        self.writer = writer
        self._enabled = LEVELS[level] <= LEVELS["info"]
        self._handler = handler
        self._direct = direct

    def invocation_completed(self, fields: dict[str, Any]) -> None:
        """The one line of an activation (contract, section 16): `fields` by the contract's names, those that apply.

        Its fields are a closed set without secrets, so it is not redacted.
        """
        if not self._enabled:
            return
        if self._direct:
            line = {"@timestamp": timestamp(), "level": "info", "message": "invocation completed", **fields}
            self.writer.write(encode(line))
        else:
            structlog.get_logger().info("invocation completed", **fields)

    def close(self) -> None:
        """Write what is held in bounded time, and leave structlog and logging as they were by default."""
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(logging.WARNING)
        logging.captureWarnings(False)
        structlog.reset_defaults()
        self.writer.close()


def setup(level: Level, log_format: Format, stream: TextIO) -> Logs:
    """Send all logs of the process to `stream`: JSON lines, or a person's form where asked for and it is a terminal."""
    direct = not (log_format == "console" and stream.isatty())
    writer = LineWriter(stream.fileno())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            redact,
            *(_for_machines() if direct else _for_people()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _LineLogger(writer.write),
        cache_logger_on_first_use=False,
    )
    handler = _Routed()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    logging.captureWarnings(True)
    return Logs(writer, level, handler, direct=direct)

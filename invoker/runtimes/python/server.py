"""◆ The program inside a container for Python: takes an action's code over HTTP, then runs it, over and over.

It speaks OpenWhisk's action protocol: POST /init once, POST /run for each activation, any answer to / means ready. It
stands alone (standard library, Python 3.9 or newer), for it is copied into images and runs beside code that may do
anything: what the function prints is its log, how it fails is an answer, and only its own exit ends this process.

A thread for each connection reads and answers; the function itself runs in the main thread, where Python allows
everything (signals, for one). With __OW_ALLOW_CONCURRENT=true a run that comes while another is under way is not
refused, but done in its connection's thread.

Usage: server.py [--port PORT | --socket PATH | --fd N] [--watch-stdin]
Default is TCP port 8080 of every interface; N is a listening socket. With --watch-stdin it ends when its stdin does.

What not every function needs is imported where it is used: each module is time of every cold start.
"""
# ruff: noqa: T201, BLE001, S102 - it prints to the function's log, answers for any failure of it, and runs its code

from __future__ import annotations

import builtins
import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import types

TYPE_CHECKING = False  # `typing` itself is dear
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any, NoReturn

    Answer = tuple[int, bytes]  # an HTTP status, and a body of JSON

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
HEAD_BYTES_MAX = 16_384
BODY_BYTES_MAX = 128 * 1024 * 1024
UNPACKED_BYTES_MAX = 512 * 1024 * 1024
RECEIVE_BYTES = 65_536
BACKLOG = 128

INITIALIZED = (200, b'{"OK":true}')
REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 411: "Length Required", 413: "Too Long", 502: "Bad Gateway"}


class RefusedError(Exception):
    """A request that gets an error as its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = error(status, message)


def error(status: int, message: str) -> Answer:
    """The answer that says what went wrong."""
    return status, json.dumps({"error": message}).encode("ascii")


class Function:
    """The action's code, loaded: a callable from parameters to a result."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self._call = call
        self._local = threading.local()

    def run(self, parameters: Any) -> Any:
        """Call it; a coroutine is awaited on a loop that its thread keeps from run to run."""
        result = self._call(parameters)
        if not hasattr(result, "__await__"):
            return result
        import asyncio

        loop: asyncio.AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is None or loop.is_closed():
            loop = self._local.loop = asyncio.new_event_loop()
        return loop.run_until_complete(asyncio.ensure_future(result, loop=loop))


def load(value: Any) -> Function:
    """Make the function of /init's value. Raises RefusedError where it can't be one, else whatever the code raises."""
    if not isinstance(value, dict):
        raise RefusedError(403, "The request to initialize has no value.")
    given: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType] - JSON's keys are strings
    code, name = given.get("code"), given.get("main") or "main"
    if not isinstance(code, str) or not code.strip():
        raise RefusedError(403, "There is no code to initialize the function with.")
    if not isinstance(name, str):
        raise RefusedError(403, "The name of the main function has to be a string.")
    env: dict[str, Any] = given.get("env") or {}
    for key, text in env.items():
        os.environ[key] = text if isinstance(text, str) else json.dumps(text)
    module = types.ModuleType("__main__")
    filename = "__main__.py"
    if given.get("binary"):
        filename, code = unpack(code)
    else:
        source: Callable[[str], str] = lambda _: code  # noqa: E731
        module.__dict__["__loader__"] = types.SimpleNamespace(get_source=source)  # tracebacks ask it for lines
    module.__file__ = filename
    sys.modules["__main__"] = module
    exec(compile(code, filename, "exec"), module.__dict__)
    call = module.__dict__.get(name)
    if not callable(call):
        raise RefusedError(502, f"The function's code defines no function named {name!r}.")
    return Function(call)


def unpack(code: str) -> tuple[str, str]:
    """Unpack a base64 zip into a directory of its own, put that on the path; (file name, text) of its __main__.py."""
    import base64
    import io
    import tempfile
    import zipfile
    import zlib

    directory = tempfile.mkdtemp(prefix="function-")
    try:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(code, validate=True))) as archive:
            if sum(member.file_size for member in archive.infolist()) > UNPACKED_BYTES_MAX:  # more is never unpacked
                raise RefusedError(502, f"The function's zip archive unpacks to more than {UNPACKED_BYTES_MAX} bytes.")
            archive.extractall(directory)
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as problem:
        raise RefusedError(502, f"The function's code is no zip archive that can be unpacked: {problem}") from problem
    filename = os.path.join(directory, "__main__.py")
    if not os.path.isfile(filename):
        raise RefusedError(502, "The function's zip archive has no __main__.py at its top.")
    os.chdir(directory)
    sys.path.insert(0, directory)
    with open(filename, encoding="utf-8") as file:
        return filename, file.read()


class Runtime:
    """What /init and /run do, one function's whole life long."""

    def __init__(self, *, concurrent: bool) -> None:
        self.concurrent = concurrent
        self._function: Function | None = None
        self._busy = threading.Lock()

    def answer(self, path: str, body: bytes, in_main: Callable[[Callable[[], Answer]], Answer]) -> Answer:
        """Answer one request; `in_main` calls what it is given in the main thread."""
        if path not in ("/init", "/run"):
            return 200, b"{}"
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as problem:
            return error(400, f"The request is no JSON that can be read: {problem}")
        if not isinstance(request, dict):
            return error(400, "The request is no JSON object.")
        members: dict[str, Any] = request  # pyright: ignore[reportUnknownVariableType] - JSON's keys are strings
        if not self._busy.acquire(blocking=False):
            if self.concurrent and path == "/run":
                return self.run(members)
            return error(403, "This container runs another activation of the function; it takes one at a time.")
        try:
            return in_main(lambda: self.init(members) if path == "/init" else self.run(members))
        finally:
            self._busy.release()

    def init(self, request: dict[str, Any]) -> Answer:
        """Load the code. A failure is told to both logs' ends; after a good init the run that follows does that."""
        if self._function is not None:
            return error(403, "The function is initialized already; that can be done only once.")

        def take() -> Answer:
            self._function = load(request.get("value"))
            return INITIALIZED

        answer = attempt(take, "The function could not be initialized")
        if answer is not INITIALIZED:
            mark_end()
        return answer

    def run(self, request: dict[str, Any]) -> Answer:
        """Run the function once. Whatever comes of it, the logs' ends are marked before it is answered."""
        function = self._function
        if function is None:
            return error(403, "The function is not initialized yet.")
        os.environ.update({f"__OW_{key.upper()}": text for key, text in request.items() if isinstance(text, str)})
        answer = attempt(lambda: result(function.run(request.get("value", {}))), "The function raised an exception")
        mark_end()
        return answer


def attempt(work: Callable[[], Answer], what: str) -> Answer:
    """The answer of work that may raise anything: it is, or runs, the function's code."""
    try:
        return work()
    except RefusedError as refused:
        print(refused, file=sys.stderr)
        return refused.answer
    except SystemExit as ended:
        leave(ended)
    except BaseException as problem:
        return error(502, told(problem, what))


def result(value: Any) -> Answer:
    """The answer for what the function returned."""
    if not isinstance(value, dict):
        raise RefusedError(502, f"The function has to return a dictionary, but it returned {type(value).__name__}.")
    try:
        return 200, json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as problem:
        raise RefusedError(502, f"The function returned what can't be written as JSON: {problem}") from problem


def told(problem: BaseException, what: str) -> str:
    """Print the exception's traceback without our own frames; the text of the answer."""
    import traceback

    trace = problem.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    with contextlib.suppress(Exception):  # the exception may be unable to print itself
        traceback.print_exception(type(problem), problem.with_traceback(trace), trace)
    try:
        return f"{what}: {type(problem).__name__}: {problem}"
    except Exception:
        return f"{what}: {type(problem).__name__}"


def flush() -> None:
    """Hand what the function printed to the log; it may have closed or replaced its streams."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def mark_end() -> None:
    """Say on both streams that this activation's log is complete."""
    flush()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            os.write(descriptor, SENTINEL)


def leave(ended: SystemExit) -> NoReturn:
    """The function asked for the end of its process."""
    flush()
    os._exit(ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1)


class MainThread:
    """Takes calls from the connections' threads, one after the other."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def call(self, work: Callable[[], Answer]) -> Answer:
        """Have it done by the main thread and wait for what comes of it."""
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._calls.put(lambda: answers.put(work()))
        return answers.get()

    def serve(self) -> None:
        """Work for ever."""
        while True:
            self._calls.get()()


def serve_connection(connection: socket.socket, runtime: Runtime, main_thread: MainThread) -> None:
    """Answer requests until the peer closes, asks for the end, or sends what is no HTTP."""
    with connection, contextlib.suppress(OSError):
        received = b""
        while True:
            try:
                request = receive(connection, received)
                if request is None:
                    return
                path, keep, body, received = request
                status, content = runtime.answer(path, body, main_thread.call)
            except RefusedError as refused:
                (status, content), keep = refused.answer, False
            head = (
                f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n"
            )
            connection.sendall(head.encode("ascii") + content)
            if not keep:
                return


def receive(connection: socket.socket, received: bytes) -> tuple[str, bool, bytes, bytes] | None:
    """Read one request: (path, keep the connection, body, what came behind it); None where the peer has closed."""
    while (end := received.find(b"\r\n\r\n")) < 0:
        if len(received) > HEAD_BYTES_MAX:
            raise RefusedError(413, "The head of the request is too long.")
        data = connection.recv(RECEIVE_BYTES)
        if not data:
            return None
        received += data
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise RefusedError(400, "The request is no HTTP/1.")
    headers = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()) or len(length) > 12:
        raise RefusedError(411, "The request needs a Content-Length.")
    if int(length) > BODY_BYTES_MAX:
        raise RefusedError(413, f"The request is longer than {BODY_BYTES_MAX} bytes.")
    body, behind = receive_body(connection, received[end + 4 :], int(length))
    wish = headers.get("connection", "").lower()
    keep = wish != "close" if words[2] == "HTTP/1.1" else wish == "keep-alive"
    return words[1].partition("?")[0], keep, body, behind


def receive_body(connection: socket.socket, received: bytes, length: int) -> tuple[bytes, bytes]:
    """Read the body's rest: (body, what came behind it)."""
    at = len(received)
    if at >= length:
        return received[:length], received[length:]
    body = bytearray(received) + bytes(length - at)
    view = memoryview(body)
    while at < length:
        count = connection.recv_into(view[at:])
        if count == 0:
            raise ConnectionError("the peer closed within a request")
        at += count
    return bytes(body), b""


def accept(listener: socket.socket, runtime: Runtime, main_thread: MainThread) -> None:
    """Give each connection a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(connection, runtime, main_thread), daemon=True).start()


def watch(descriptor: int) -> None:
    """End with whoever started this: its end of the pipe closes when it dies, however it dies."""
    with contextlib.suppress(OSError):
        while os.read(descriptor, 4096):
            pass
    os._exit(0)


def end(signal_number: int, _frame: object) -> NoReturn:
    """End at a signal."""
    os._exit(128 + signal_number)


def listen() -> socket.socket:
    """The listening socket that the command line asks for."""
    descriptor, path = option("--fd"), option("--socket")
    if descriptor is not None:
        listener = socket.socket(fileno=int(descriptor))
        listener.set_inheritable(False)
    elif path is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        listener = socket.create_server(("0.0.0.0", int(option("--port") or 8080)))  # noqa: S104 - alone in its container
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for its connections
    listener.listen(BACKLOG)
    return listener


def settle_in() -> None:
    """Started with -S, do what matters of `site`; its .pth files are this machine's affair, and can take long."""
    own = f"{sys.prefix}/lib/python{sys.version[:4].rstrip('.')}/site-packages"
    sys.path.extend(place for place in (own, "/usr/lib/python3/dist-packages") if os.path.isdir(place))
    builtins.exit = builtins.quit = sys.exit


def option(name: str) -> str | None:
    """The word behind `name` on the command line."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def main() -> None:
    """Serve until killed."""
    if sys.flags.no_site:
        settle_in()
    if "--watch-stdin" in sys.argv:
        threading.Thread(target=watch, args=(os.dup(0),), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the function reads an empty standard input, never ours
    if os.getpid() == 1:  # of a container, where the kernel knows no default
        signal.signal(signal.SIGTERM, end)
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] = getattr(stream, "reconfigure")  # noqa: B009 - TextIO's type lacks it
        reconfigure(line_buffering=True, errors="backslashreplace")  # a line's time is when it was printed
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # numbers pass whatever their length
    concurrent = os.environ.get("__OW_ALLOW_CONCURRENT", "").lower() == "true"
    main_thread = MainThread()
    work = (listen(), Runtime(concurrent=concurrent), main_thread)
    threading.Thread(target=accept, args=work, daemon=True).start()
    main_thread.serve()


if __name__ == "__main__":
    main()

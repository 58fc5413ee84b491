"""What only the Python runtime promises: values as Python keeps them, the main thread, its own little HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.unit.runtimes.served import COMMANDS, LIMIT_S, SENTINEL, Served

ECHO = "def main(args): return args"


@pytest.fixture
def runtime() -> Iterator[Served]:
    """The Python runtime."""
    with Served("python") as served:
        yield served


def exchange(runtime: Served, request: bytes) -> bytes:
    """Send bytes, say that no more follow, and read all that comes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LIMIT_S)
        connection.connect(runtime.path)
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def request(path: str, value: object, version: str = "1.1", *headers: str) -> bytes:
    """A request's bytes."""
    body = json.dumps({"value": value}).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def run_raw(runtime: Served, value: str) -> str:
    """The answer's text to a run whose parameters are this JSON."""
    connection = runtime.connection()
    connection.request("POST", "/run", f'{{"value": {value}}}'.encode("utf-8", "surrogatepass"))
    text = connection.getresponse().read().decode()
    connection.close()
    return text


@pytest.mark.parametrize(
    "value",
    [
        '{"n":1234567890123456789012345678901234567890}',
        '{"n":-' + "9" * 5000 + "}",
        '{"t":"\\ud800 and \\udfff alone"}',
        '{"b":1,"a":2}',
        '{"f":1.5,"z":0.1,"e":1e+300}',
    ],
)
def test_values_that_python_keeps_come_back_as_they_were(runtime: Served, value: str) -> None:
    runtime.init(ECHO)
    assert run_raw(runtime, value) == value


def test_a_number_beyond_all_floats_is_an_error_not_broken_json(runtime: Served) -> None:
    runtime.init(ECHO)
    assert "error" in json.loads(run_raw(runtime, '{"n": 1e400}'))
    assert runtime.run({"n": 1}) == (200, {"n": 1})


def test_the_function_runs_in_the_main_thread(runtime: Served) -> None:
    runtime.init("import threading\ndef main(args): return {'t': threading.current_thread().name}")
    assert runtime.run() == (200, {"t": "MainThread"})


def test_what_site_would_give_is_there_without_it(runtime: Served) -> None:
    runtime.init("import sys\ndef main(args): return {'places': sys.path, 'exit': exit is sys.exit}")
    status, facts = runtime.run()
    assert status == 200
    assert facts["exit"]
    assert any(place.endswith("site-packages") for place in facts["places"])


def test_an_unfinished_line_is_a_line_before_the_sentinel(runtime: Served) -> None:
    runtime.init("import sys\ndef main(args):\n  sys.stdout.write('half')\n  return {}")
    runtime.run()
    assert runtime.stdout.until_sentinel() == f"half{SENTINEL}\n"


@pytest.mark.parametrize(
    "code",
    [
        "import sys\ndef main(args):\n  sys.stdout.close()\n  sys.stderr = None\n  return {}",
        "import sys, io\ndef main(args):\n  sys.stdout = io.StringIO()\n  return {}",
    ],
)
def test_sentinels_come_whatever_was_done_to_the_streams(runtime: Served, code: str) -> None:
    runtime.init(code)
    assert runtime.run()[0] == 200
    if "close" not in code:  # a closed stream takes its descriptor with it
        runtime.stdout.until_sentinel()
    runtime.stderr.until_sentinel()


def test_the_traceback_shows_the_functions_lines_and_only_them(runtime: Served) -> None:
    runtime.init("def main(args):\n    return inner()\n\ndef inner():\n    raise KeyError('x')")
    runtime.run()
    log = runtime.stderr.until_sentinel()
    assert "return inner()" in log
    assert "raise KeyError('x')" in log
    assert "server.py" not in log


def test_an_exception_that_cannot_be_told(runtime: Served) -> None:
    runtime.init(
        "class E(Exception):\n  def __str__(self): raise ValueError\n  __repr__ = __str__\ndef main(args): raise E()"
    )
    status, answer = runtime.run()
    assert status == 502
    assert answer["error"].endswith("E")


@pytest.mark.parametrize(("end", "status"), [("sys.exit(4)", 4), ("sys.exit()", 0), ("sys.exit('why')", 1)])
def test_sys_exit_ends_the_process(runtime: Served, end: str, status: int) -> None:
    runtime.init(f"import sys\ndef main(args): {end}")
    with pytest.raises(ConnectionError):
        runtime.run()
    assert runtime.end() == status


def test_the_function_has_an_empty_standard_input_and_no_socket_to_inherit(runtime: Served) -> None:
    runtime.init(
        "import os, subprocess, sys\n"
        "def main(args):\n"
        "  ls = subprocess.run([sys.executable, '-c', 'import os; print(*os.listdir(\"/proc/self/fd\"))'],\n"
        "                      capture_output=True, text=True, close_fds=False)\n"
        "  return {'in': sys.stdin.read(), 'fds': ls.stdout.split()}"
    )
    status, facts = runtime.run()
    assert status == 200
    assert facts["in"] == ""
    assert len(facts["fds"]) <= 5  # the three, the listing's own, and /dev/null


def test_the_module_is_main_with_its_name_and_pickles(runtime: Served) -> None:
    runtime.init(
        "import pickle\nclass Point:\n  x = 3\n"
        "def main(args): return {'name': __name__, 'x': pickle.loads(pickle.dumps(Point())).x}"
    )
    assert runtime.run() == (200, {"name": "__main__", "x": 3})


def test_requests_in_a_row_are_answered_in_a_row(runtime: Served) -> None:
    runtime.init(ECHO)
    answers = exchange(runtime, request("/run", {"n": 1}) + request("/run", {"n": 2}) + request("/", {}))
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.index(b'{"n":1}') < answers.index(b'{"n":2}')


@pytest.mark.parametrize(
    ("version", "header", "kept"),
    [("1.1", "X: y", True), ("1.1", "Connection: close", False), ("1.0", "X: y", False)],
)
def test_a_connection_is_kept_as_http_says(runtime: Served, version: str, header: str, kept: bool) -> None:
    answers = exchange(runtime, request("/", {}, version, header) + request("/", {}, version, header))
    assert answers.count(b"HTTP/1.1 200 OK") == (2 if kept else 1)
    assert (b"Connection: close" in answers) is not kept


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / SPDY/9\r\n\r\n", 400),
        (b"POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /run HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /run HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /run HTTP/1.1\r\nX: " + b"x" * 20_000, 413),
    ],
)
def test_what_is_no_request_is_answered_and_the_connection_closed(runtime: Served, raw: bytes, status: int) -> None:
    assert exchange(runtime, raw).startswith(f"HTTP/1.1 {status} ".encode())
    assert runtime.init(ECHO)[0] == 200


def test_a_peer_that_leaves_within_a_request_harms_nobody(runtime: Served) -> None:
    assert exchange(runtime, b"POST /init HTTP/1.1\r\nContent-Length: 50\r\n\r\n{") == b""
    assert exchange(runtime, b"POST /in") == b""
    assert runtime.init(ECHO)[0] == 200


def test_it_listens_on_tcp_where_told_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([*COMMANDS["python"], "--port", str(port)], stdin=subprocess.DEVNULL)
    try:
        answer = wait_for_answer(port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == -signal.SIGTERM
    assert answer.startswith(b"HTTP/1.1 200 OK")


def wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> bytes:
    """The answer of whoever listens on the port, as soon as somebody does."""
    while process.poll() is None:  # the test's own limit bounds it
        try:
            with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
                connection.sendall(request("/", {}))
                return connection.recv(65_536)
        except ConnectionRefusedError:
            os.sched_yield()
    raise AssertionError("the runtime has ended")


def test_it_listens_on_a_socket_by_path(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "s")
    process = subprocess.Popen([*COMMANDS["python"], "--socket", path], stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                if connection.connect_ex(path) == 0:
                    connection.sendall(request("/", {}))
                    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")
                    return
            os.sched_yield()
        raise AssertionError("the runtime has ended")
    finally:
        process.kill()
        process.wait(LIMIT_S)

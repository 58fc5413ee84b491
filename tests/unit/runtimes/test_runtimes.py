"""The action protocol as both our runtimes speak it (contract, section 12)."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.runtimes.served import SENTINEL, Served, zipped

LANGUAGES = ["python", *(["nodejs"] if shutil.which("node") else [])]

ECHO = {"python": "def main(args): return args", "nodejs": "const main = (args) => args;"}
LATER = {
    "python": "import asyncio\nasync def main(args):\n  await asyncio.sleep(0)\n  return args",
    "nodejs": "async function main(args) { await null; return args; }",
}
ENVIRONMENT = {
    "python": "import os\ndef main(args): return dict(os.environ)",
    "nodejs": "exports.main = () => ({ ...process.env });",
}
PRINTS = {
    "python": "import sys\ndef main(args):\n  print('out')\n  print('err', file=sys.stderr)\n  return {}",
    "nodejs": "function main() { console.log('out'); console.error('err'); return {}; }",
}
FAILS = {
    "python": "def main(args):\n  raise ValueError('no such luck')",
    "nodejs": "function main() { throw new RangeError('no such luck'); }",
}
LEAVES = {
    "python": "import os\ndef main(args):\n  print('so long', flush=True)\n  os._exit(3)",
    "nodejs": "function main() { require('fs').writeSync(1, 'so long\\n'); process.exit(3); }",
}
LARGE = {
    "python": "def main(args): return {'x': args['x'] * 2}",
    "nodejs": "const main = ({ x }) => ({ x: x + x });",
}
MEETS = {
    "python": "import threading\nb = threading.Barrier(2)\ndef main(args): return {'n': b.wait(20)}",
    "nodejs": "let go; const both = new Promise((f) => { go = f; }); let n = 0;\n"
    "async function main() { const mine = n++; if (n === 2) go(); await both; return { n: mine }; }",
}
WAITS = {
    "python": "import pathlib,time\n"
    "def main(args):\n"
    "  if 'wait' in args:\n"
    "    print('here', flush=True)\n"
    "    while not pathlib.Path(args['wait']).exists(): time.sleep(0.001)\n"
    "  return {}",
    "nodejs": "const fs = require('fs');\n"
    "async function main(args) {\n"
    "  if (args.wait) console.log('here');\n"
    "  while (args.wait && !fs.existsSync(args.wait)) await new Promise((f) => setTimeout(f, 1));\n"
    "  return {};\n"
    "}",
}
ARCHIVE = {
    "python": {"__main__.py": "import helper\ndef go(args): return {'n': helper.n}", "helper.py": "n = 7"},
    "nodejs": {
        "package.json": '{"main": "lib/act.js"}',
        "lib/act.js": "exports.go = () => require('./helper');",
        "lib/helper.js": "exports.n = 7;",
    },
}


@pytest.fixture(params=LANGUAGES)
def runtime(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A runtime of each language, one activation at a time."""
    with Served(request.param) as served:
        yield served


def pick(runtime: Served, code: dict[str, str]) -> str:
    return code[runtime.language]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_request_is_answered_so_it_is_ready(runtime: Served, method: str) -> None:
    connection = runtime.connection()
    connection.request(method, "/")
    assert connection.getresponse().status == 200
    connection.close()


def test_code_as_text(runtime: Served) -> None:
    assert runtime.init(pick(runtime, ECHO)) == (200, {"OK": True})
    value = {"text": "ü\U0001f600", "nested": [1, 2.5, None, True, {}]}
    assert runtime.run(value) == (200, value)
    assert runtime.run() == (200, {})


def test_code_as_an_archive(runtime: Served) -> None:
    assert runtime.init(zipped(ARCHIVE[runtime.language]), "go", binary=True) == (200, {"OK": True})
    assert runtime.run() == (200, {"n": 7})


def test_a_function_may_be_asynchronous(runtime: Served) -> None:
    runtime.init(pick(runtime, LATER))
    for n in range(3):
        assert runtime.run({"n": n}) == (200, {"n": n})


def test_the_environment_comes_from_init_and_each_run(runtime: Served) -> None:
    runtime.init(pick(runtime, ENVIRONMENT), GREETING="hello", __OW_ACTIVATION_ID="1")
    status, environment = runtime.run(activation_id="2", deadline="1700000000000")
    assert status == 200
    assert environment["GREETING"] == "hello"
    assert environment["__OW_ACTIVATION_ID"] == "2"
    assert environment["__OW_DEADLINE"] == "1700000000000"
    assert runtime.run(activation_id="3")[1]["__OW_ACTIVATION_ID"] == "3"


def test_the_log_ends_with_a_sentinel_on_each_stream_of_each_run(runtime: Served) -> None:
    runtime.init(pick(runtime, PRINTS))
    runtime.run()
    assert runtime.stdout.until_sentinel() == f"out\n{SENTINEL}\n"
    assert runtime.stderr.until_sentinel() == f"err\n{SENTINEL}\n"
    runtime.run()
    assert runtime.stdout.until_sentinel(2) == f"out\n{SENTINEL}\n" * 2
    assert runtime.stderr.until_sentinel(2) == f"err\n{SENTINEL}\n" * 2


def test_what_the_function_raises_is_logged_and_answered(runtime: Served) -> None:
    runtime.init(pick(runtime, FAILS))
    status, answer = runtime.run()
    assert status == 502
    assert "no such luck" in answer["error"]
    log = runtime.stderr.until_sentinel()
    assert "no such luck" in log
    assert "server." not in log.partition("no such luck")[0], "frames of our own come before the function's"
    assert runtime.stdout.until_sentinel() == f"{SENTINEL}\n"
    assert runtime.run()[0] == 502


@pytest.mark.parametrize(
    ("code", "main", "why"),
    [
        ({"python": "def main(:", "nodejs": "function main( {"}, "main", "SyntaxError"),
        ({"python": "raise ValueError('at once')", "nodejs": "throw new Error('at once')"}, "main", "at once"),
        (ECHO, "other", "other"),
    ],
)
def test_code_that_cannot_be_used(runtime: Served, code: dict[str, str], main: str, why: str) -> None:
    status, answer = runtime.init(pick(runtime, code), main)
    assert status == 502
    assert why in answer["error"]
    assert runtime.stdout.until_sentinel() == f"{SENTINEL}\n"
    assert runtime.stderr.until_sentinel().endswith(f"{SENTINEL}\n")
    assert runtime.run()[0] == 403


@pytest.mark.parametrize("code", ["bm8gemlw", zipped({"other.txt": "x"})], ids=["no archive", "an empty one"])
def test_an_archive_that_cannot_be_used(runtime: Served, code: str) -> None:
    status, answer = runtime.init(code, binary=True)
    assert status == 502
    assert answer["error"]
    runtime.stdout.until_sentinel()


BOMB = {"__main__.py": "def main(args): return {}", "index.js": "exports.main = () => ({});", "big": "x" * (4 << 20)}
MIB = 1 << 20


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (zipped(BOMB, claimed_bytes=200 * MIB), "unpacks to more than 536870912 bytes"),
        (zipped(BOMB, claimed_bytes=10), ""),
        (zipped(BOMB, claimed_bytes=0, stored=True), ""),
    ],
    ids=["it says so", "it hides its size", "it hides its size, stored"],
)
def test_an_archive_that_would_fill_the_disk(runtime: Served, code: str, why: str) -> None:
    """The sizes that its directory claims are summed up before anything is written, and no member gets more."""
    status, answer = runtime.init(code, binary=True)
    assert status == 502
    assert "archive" in answer["error"]
    assert why in answer["error"]
    runtime.stdout.until_sentinel()
    written = [path for path in Path(runtime.path).parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in written) < MIB


def test_requests_out_of_order_are_refused(runtime: Served) -> None:
    assert runtime.run()[0] == 403
    assert runtime.init("")[0] == 403
    assert runtime.process.poll() is None


def test_a_second_init_is_refused(runtime: Served) -> None:
    assert runtime.init(pick(runtime, ECHO))[0] == 200
    assert runtime.init(pick(runtime, FAILS))[0] == 403
    assert runtime.run({"n": 1}) == (200, {"n": 1})


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"value": {"a": }}', b"\xff\xfe"])
def test_what_is_no_request_is_refused(runtime: Served, body: bytes) -> None:
    runtime.init(pick(runtime, ECHO))
    status, answer = runtime.post("/run", body)
    assert 400 <= status < 500
    assert answer["error"]
    assert runtime.run({"n": 1}) == (200, {"n": 1})


@pytest.mark.parametrize(
    "code",
    [
        {"python": "def main(args): return 3", "nodejs": "const main = () => 3;"},
        {"python": "def main(args): return None", "nodejs": "const main = () => null;"},
        {"python": "def main(args): return [1]", "nodejs": "const main = () => [1];"},
        {
            "python": "def main(args):\n  x = {}\n  x['x'] = x\n  return x",
            "nodejs": "function main() { const x = {}; x.x = x; return x; }",
        },
        {"python": "def main(args): return {'x': object()}", "nodejs": "const main = () => ({ x: 1n });"},
    ],
)
def test_a_result_that_is_no_json_object(runtime: Served, code: dict[str, str]) -> None:
    runtime.init(pick(runtime, code))
    status, answer = runtime.run()
    assert status == 502
    assert answer["error"]
    runtime.stdout.until_sentinel()
    runtime.stderr.until_sentinel()


def test_a_function_that_ends_its_process_gets_no_answer(runtime: Served) -> None:
    runtime.init(pick(runtime, LEAVES))
    with pytest.raises(ConnectionError):
        runtime.run()
    assert runtime.end() == 3
    assert runtime.stdout.until_end() == "so long\n"


def test_large_values_pass(runtime: Served) -> None:
    runtime.init(pick(runtime, LARGE))
    text = "x" * 3_000_000
    assert runtime.run({"x": text}) == (200, {"x": text * 2})


def test_a_second_run_at_once_is_refused(runtime: Served) -> None:
    runtime.init(pick(runtime, WAITS))
    flag = runtime.path + ".go"
    with ThreadPoolExecutor(1) as pool:
        connection = runtime.connection()
        first = pool.submit(runtime.run, {"wait": flag}, connection)
        runtime.stdout.until("here")
        status, answer = runtime.run()
        open(flag, "w").close()
        assert status == 403
        assert answer["error"]
        assert first.result() == (200, {})
        connection.close()
    assert runtime.run() == (200, {})


@pytest.mark.parametrize("language", LANGUAGES)
def test_runs_overlap_where_that_is_allowed(language: str) -> None:
    with Served(language, concurrent=True) as runtime, ThreadPoolExecutor(2) as pool:
        runtime.init(pick(runtime, MEETS))
        connections = [runtime.connection(), runtime.connection()]
        runs = [pool.submit(runtime.run, {}, connection) for connection in connections]
        assert sorted(run.result()[1]["n"] for run in runs) == [0, 1]
        runtime.stdout.until_sentinel(2)
        for connection in connections:
            connection.close()


def test_it_ends_with_its_standard_input(runtime: Served) -> None:
    runtime.init(pick(runtime, WAITS))
    with ThreadPoolExecutor(1) as pool:
        connection = runtime.connection()
        run = pool.submit(runtime.run, {"wait": runtime.path + ".never"}, connection)
        runtime.stdout.until("here")
        assert runtime.process.stdin is not None
        runtime.process.stdin.close()
        assert runtime.end() == 0
        assert isinstance(run.exception(), ConnectionError)
        connection.close()


def test_sigterm_ends_it(runtime: Served) -> None:
    runtime.init(pick(runtime, ECHO))
    runtime.process.send_signal(signal.SIGTERM)
    assert runtime.end() == -signal.SIGTERM

"""The command line: what it asks, what it prints, and which exit code tells of what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from invoker.cli import main
from invoker.client import Client
from invoker.commands import parameters, present
from invoker.commands.exit_codes import MEANINGS, ExitCode
from invoker.commands.target import DEFAULT_DATA_DIR, DEFAULT_URL, Target
from invoker.config import DevSettings
from invoker.errors import CallerFault
from invoker.io.decision_log import DecisionLog
from invoker.io.dev import page as dev_file
from invoker.io.dev.api import DevApi, DevInfo
from invoker.io.http.server import HttpServer, Router
from invoker.io.sqlite.store import SqliteStore
from invoker.policy import Pool, step
from invoker.policy import events as ev
from invoker.policy.policyset import default
from invoker.policy.types import ActivationId, ContainerId, PrewarmKey, WarmKey

ROOT = Path(__file__).parents[2]
SOURCE = "def main(args):\n    return args\n"
START_WAIT_MAX_S = 10.0


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of its own, and nothing in the environment that leads to an invoker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("invoker.commands.target.DEFAULT_URL", "http://127.0.0.1:1")
    for name in ("INVOKER_URL", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "Etc/GMT-2")  # two hours ahead of UTC
    time.tzset()
    (tmp_path / "hello.py").write_text(SOURCE)
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: str) -> Said:
        code = main(arguments)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Said(code, told.out, told.err)

    return run


# --- a running invoker, its functions made up ------------------------------------------------------------------------


class Running:
    """A developer's door in a thread with a loop of its own; every activation ends with `status`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.status = 0
        self.result = msgspec.Raw(b'{"said":"[red]hello[/red]"}')
        self.facts: dict[str, object] = {"containerType": "warm", "unpauseTime": 0.25, "runTime": 1.5}
        self.parameters: list[dict[str, Any]] = []
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(START_WAIT_MAX_S)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        claim = dev_file.claim(self.data_dir)
        async with SqliteStore(self.data_dir / dev_file.STORE_NAME) as store:
            self._store = store
            router = Router()
            info = DevInfo("", "made up", {}, "default", ("python:3", "nodejs:default"), 512)
            api = DevApi(store, self._invoke, lambda: info)
            api.register(router)
            server = HttpServer(router, on_error=lambda _what, error: None)
            await server.start("127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.port}"
            claim.publish(dev_file.DevPage(self.url, 1, "made up"))
            self._ready.set()
            await self._stop.wait()
            await server.close(1.0)
            await api.close()
        claim.release()

    async def _invoke(self, message: bytes) -> bytes:
        told = msgspec.json.decode(message)
        self.parameters.append(told["content"])
        record = {
            "activationId": told["activationId"],
            "namespace": "guest",
            "name": told["action"]["name"],
            "start": 1_700_000_000_000,
            "duration": 12,
            "logs": [
                "2026-01-01T10:11:12.345678901Z stdout: \x1b[31mgood\x1b[0m \x1b[2Jmorning",
                "2026-01-01T10:11:13.0Z     stderr: oh",
            ],
            "annotations": [{"key": "path", "value": f"{told['action']['path']}/{told['action']['name']}"}],
            "response": {"statusCode": self.status, "result": self.result, "size": 1},
        }
        await self._store.put(f"guest/{told['activationId']}", msgspec.json.encode(record), self.facts)
        completion = {"transid": told["transid"], "response": record, "isSystemError": False}
        return msgspec.json.encode(completion)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / ".invoker") as served:
        yield served


# --- help and mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["", "action", "action put", "invoke", "activation list", "dev", "serve", "replay", "doctor", "tour"],
)
def test_every_command_has_help(run: Callable[..., Said], command: str) -> None:
    said = run(*command.split(), "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: invoker")
    assert said.err == ""


def test_the_exit_codes_are_told_in_one_place(run: Callable[..., Said]) -> None:
    assert set(MEANINGS) == set(ExitCode)
    told = run("--help").out
    assert all(f"{code:>4}  {meaning}" in told for code, meaning in MEANINGS.items())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["actoin", "list"], "actoin"),
        (["action", "put", "guest/hello"], "FILE"),
        (["action", "put", "guest/hello", "hello.py", "--memory", "lots"], "memory"),
        (["invoke"], "NAME"),
        (["invoke", "guest/hello", "--parm", "a=1"], "--parm"),
        (["dev", "--engine", "steam"], "steam"),
        (["activation", "get", "a1", "shoes"], "shoes"),
    ],
)
def test_a_wrong_command_line_is_named(run: Callable[..., Said], arguments: list[str], told: str) -> None:
    said = run(*arguments)
    assert said.code == ExitCode.USAGE
    assert told in said.err
    assert "--help" in said.err
    assert said.out == ""


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "{'asyncio', 'aiosqlite', 'aiohttp', 'pydantic', 'structlog', 'invoker.app', 'invoker.tour'}"
    script = f"import sys; from invoker.cli import main; main(['--help']); sys.exit(repr(sys.modules.keys() & {heavy}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr.strip() == "set()"


def test_the_defaults_are_those_of_the_server() -> None:
    settings = DevSettings()
    assert settings.data_dir == DEFAULT_DATA_DIR
    assert f"http://{settings.http_host}:{settings.http_port}" == DEFAULT_URL


# --- actions --------------------------------------------------------------------------------------------------------


def test_actions_are_kept_without_a_running_invoker(run: Callable[..., Said], tmp_path: Path) -> None:
    put = run("action", "put", "guest/pkg/hello", "hello.py", "--memory", "128", "--timeout", "1000", "--param", "a=1")
    assert put.code == 0
    assert put.out.startswith("1-")
    got = run("action", "get", "guest/pkg/hello").data
    assert (got["exec"]["kind"], got["limits"]["memory"], got["limits"]["timeout"]) == ("python:3", 128, 1000)
    assert got["parameters"] == [{"key": "a", "value": 1}]
    assert run("action", "get", "guest/pkg/hello", "--code").out == f"{SOURCE}\n"
    again = run("action", "put", "guest/pkg/hello", "hello.py", "--json").data
    assert (again["_rev"][:2], again["version"]) == ("2-", "0.0.2")
    listed = run("action", "list")
    assert "guest/pkg/hello  python:3" in listed.out
    assert run("action", "list", "--json").data[0]["_rev"] == again["_rev"]
    assert run("action", "delete", "guest/pkg/hello").out == "deleted guest/pkg/hello\n"
    assert "no actions in guest" in run("action", "list").out
    assert (tmp_path / ".invoker" / dev_file.STORE_NAME).exists()


@pytest.mark.parametrize(
    ("file", "members", "kind"),
    [
        ("a.js", None, "nodejs:default"),
        ("a.mjs", None, "nodejs:default"),
        ("a.zip", ["lib/x.py", "__main__.py"], "python:3"),
        ("a.zip", ["package.json"], "nodejs:default"),
    ],
)
def test_the_kind_is_guessed(
    run: Callable[..., Said], tmp_path: Path, file: str, members: list[str] | None, kind: str
) -> None:
    if members is None:
        (tmp_path / file).write_text("function main() {}")
    else:
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            for name in members:
                archive.writestr(name, "x")
    assert run("action", "put", "guest/a", file).code == 0
    got = run("action", "get", "guest/a").data["exec"]
    assert (got["kind"], got["binary"]) == (kind, members is not None)


def test_a_zip_comes_back_as_it_went(run: Callable[..., Said], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__main__.py", SOURCE)
    run("action", "put", "guest/a", "a.zip")
    command = [
        sys.executable,
        "-m",
        "invoker.cli",
        "action",
        "get",
        "guest/a",
        "--code",
        "--data-dir",
        tmp_path / ".invoker",
    ]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    assert done.stdout == (tmp_path / "a.zip").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["guest/hello", "nowhere.py"], "nowhere.py can't be read"),
        (["guest/hello", "hello.txt"], "--kind"),
        (["guest/hello", "bad.zip"], "no zip file"),
        (["guest/hello", "latin.py"], "UTF-8"),
        (["hello", "hello.py"], "NAMESPACE/NAME"),
        (["guest/-", "hello.py"], "can't be the name"),
        (["guest/hello", "hello.py", "--param", "=1"], "key=value"),
        (["guest/hello", "hello.py", "--timeout", "1"], "limits.timeout"),
    ],
)
def test_what_can_not_be_put_is_named(
    run: Callable[..., Said], tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "hello.txt").write_text("hi")
    (tmp_path / "bad.zip").write_text("hi")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    said = run("action", "put", *arguments)
    assert said.code == ExitCode.REFUSED
    assert told in said.err


def test_reading_where_nothing_ever_was_makes_nothing(run: Callable[..., Said], tmp_path: Path) -> None:
    for arguments in (["action", "list"], ["activation", "list"], ["invoke", "guest/hello"]):
        said = run(*arguments)
        assert said.code == ExitCode.UNAVAILABLE
        assert "invoker dev" in said.err
    assert not (tmp_path / ".invoker").exists()


def test_an_unknown_action_is_not_found(run: Callable[..., Said]) -> None:
    run("action", "put", "guest/hello", "hello.py")
    said = run("action", "get", "guest/other")
    assert (said.code, said.err) == (ExitCode.NOT_FOUND, "invoker: no action guest/other\n")


def test_a_url_with_nobody_behind_says_so(run: Callable[..., Said]) -> None:
    said = run("action", "list", "--url", "http://127.0.0.1:1")
    assert said.code == ExitCode.UNAVAILABLE
    assert "no invoker answers at http://127.0.0.1:1" in said.err
    assert run("action", "list", "--url", "ftp://x").code == ExitCode.REFUSED


# --- invoke and activations -----------------------------------------------------------------------------------------


def test_an_invocation_is_shown_to_a_person(run: Callable[..., Said], running: Running) -> None:
    run("action", "put", "guest/hello", "hello.py")
    said = run("invoke", "guest/hello", "--param", "name=Ada", "--param", "n=8", "--param", "text=8a")
    assert said.code == 0
    assert running.parameters == [{"name": "Ada", "n": 8, "text": "8a"}]
    assert "✓ success  guest/hello  12 ms" in said.out
    assert "paused: the container was thawed" in said.out
    assert "thaw 0.2 ms · run 1.5 ms" in said.out
    assert '"said": "[red]hello[/red]"' in said.out
    assert "12:11:12.345 stdout good morning" in said.out
    assert "12:11:13.0 stderr oh" in said.out
    assert "\x1b" not in said.out


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_the_exit_code_is_the_status(run: Callable[..., Said], running: Running, status: int) -> None:
    run("action", "put", "guest/hello", "hello.py")
    running.status = status
    assert run("invoke", "guest/hello").code == status
    assert run("invoke", "guest/hello", "--json").code == status
    said = run("invoke", "guest/hello", "--result")
    assert (said.code, said.data) == (status, {"said": "[red]hello[/red]"})


def test_parameters_come_from_a_file_too(run: Callable[..., Said], running: Running, tmp_path: Path) -> None:
    run("action", "put", "guest/hello", "hello.py")
    (tmp_path / "params.json").write_text('{"a": 1, "b": 2}')
    run("invoke", "guest/hello", "--params-file", "params.json", "--param", "b=3")
    assert running.parameters == [{"a": 1, "b": 3}]
    (tmp_path / "params.json").write_text("[1]")
    said = run("invoke", "guest/hello", "--params-file", "params.json")
    assert (said.code, "one JSON object" in said.err) == (ExitCode.REFUSED, True)
    assert run("invoke", "guest/hello", "--params-file", "nowhere.json").code == ExitCode.REFUSED


def test_without_blocking_the_id_is_printed(run: Callable[..., Said], running: Running) -> None:
    run("action", "put", "guest/hello", "hello.py")
    said = run("invoke", "guest/hello", "--no-blocking")
    assert said.code == 0
    assert len(said.out.strip()) == 32


def test_activations_are_listed_and_read(run: Callable[..., Said], running: Running) -> None:
    run("action", "put", "guest/hello", "hello.py")
    assert "no activations in guest" in run("activation", "list").out
    record = run("invoke", "guest/hello", "--json").data
    activation_id = record["activationId"]
    listed = run("activation", "list")
    assert "success  paused  12 ms" in listed.out
    assert activation_id in listed.out
    assert run("activation", "list", "--json").data[0]["activationId"] == activation_id
    assert run("activation", "get", activation_id, "--json").data == record
    assert "✓ success  guest/hello" in run("activation", "get", activation_id).out
    assert run("activation", "get", activation_id, "logs").out.splitlines() == record["logs"]
    assert run("activation", "get", activation_id, "facts").data["runTime"] == 1.5
    assert run("activation", "get", activation_id, "result").data == record["response"]
    assert run("activation", "get", "f" * 32).code == ExitCode.NOT_FOUND


def test_half_a_surrogate_pair_is_shown_as_it_was_written(run: Callable[..., Said], running: Running) -> None:
    result = rb'{"half":"\ud800","ids":[1.0,12345678901234567890123]}'

    def written(said: Said) -> bool:
        assert (said.code, said.err) == (0, "")
        return result.decode() in said.out.translate({ord(space): None for space in " \n"})

    run("action", "put", "guest/hello", "hello.py")
    running.result = msgspec.Raw(result)
    assert written(run("invoke", "guest/hello"))
    assert written(run("invoke", "guest/hello", "--json"))
    assert written(run("invoke", "guest/hello", "--result"))
    activation_id = run("activation", "list", "--json").data[0]["activationId"]
    assert activation_id in run("activation", "list").out
    for arguments in ([], ["result"], ["--json"]):
        assert written(run("activation", "get", activation_id, *arguments))
    assert "stdout: " in run("activation", "get", activation_id, "logs").out
    running.data_dir.joinpath(dev_file.PAGE_NAME).unlink()  # from the files alone
    assert written(run("activation", "get", activation_id))


def test_what_is_nested_too_deeply_is_shown_unformatted() -> None:
    deep = b"[" * 20_000 + b"]" * 20_000
    assert present.pretty(deep) == deep.decode()


def test_the_invoker_is_found_by_its_directory_and_by_its_url(
    run: Callable[..., Said], running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("action", "put", "guest/hello", "hello.py")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert "guest/hello" in run("action", "list", "--url", running.url).out
    assert "guest/hello" in run("action", "list", "--data-dir", str(running.data_dir)).out
    monkeypatch.setattr("invoker.commands.target.DEFAULT_URL", running.url)
    assert "guest/hello" in run("action", "list").out
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "other"))
    assert run("action", "list").code == ExitCode.UNAVAILABLE


def test_what_a_killed_invoker_left_behind_deceives_nobody(tmp_path: Path) -> None:
    data_dir = tmp_path / ".invoker"
    claim = dev_file.claim(data_dir)
    claim.publish(dev_file.DevPage("http://127.0.0.1:1", 1, "process"))
    page = (data_dir / dev_file.PAGE_NAME).read_bytes()
    assert dev_file.find(data_dir) == dev_file.DevPage("http://127.0.0.1:1", 1, "process")
    with pytest.raises(Exception, match=r"served by the invoker at http://127.0.0.1:1 \(process 1\)"):
        dev_file.claim(data_dir)
    claim.release()
    claim.release()
    (data_dir / dev_file.PAGE_NAME).write_bytes(page)
    assert dev_file.find(data_dir) is None
    assert Target(data_dir=data_dir).running() is None
    dev_file.claim(data_dir).release()


# --- serve and replay -----------------------------------------------------------------------------------------------


@pytest.mark.contract("2")
def test_serve_names_every_setting_that_is_missing(run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ID", "COUCH_URL", "KAFKA_HOSTS", "USER_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    said = run("serve")
    assert said.code == ExitCode.SETTINGS
    assert all(name in said.err for name in ("ID", "COUCH_URL", "KAFKA_HOSTS", "USER_MEMORY"))


def test_dev_names_a_wrong_setting(run: Callable[..., Said]) -> None:
    said = run("dev", "--memory", "much", "--tls-cert", "only.crt")
    assert said.code == ExitCode.SETTINGS
    assert "USER_MEMORY" in said.err


def test_replay_refuses_what_is_no_decision_log(run: Callable[..., Said]) -> None:
    said = run("replay", "hello.py")
    assert said.code == ExitCode.REFUSED
    assert "hello.py is no decision log" in said.err
    assert run("replay", "nowhere.jsonl").code == ExitCode.REFUSED


@pytest.fixture
def decision_log(tmp_path: Path) -> Path:
    """The log of a pool that was asked for a function, and stopped."""
    log = DecisionLog(tmp_path, default(512), 1_000, file_bytes=10_000, files_max=3)
    pool = Pool(default(512))
    key = WarmKey("guest", "guest", "hello", "0.0.1", "1-a", "")
    events: list[ev.AnyEvent] = [
        ev.InvocationArrived(ActivationId("a"), key, PrewarmKey("python:3", 128)),
        ev.ContainerStarted(ContainerId(1)),
        ev.ContainerInitialized(ContainerId(1), 400_000),
        ev.RunFinished(ContainerId(1), ActivationId("a"), reusable=True),
    ]
    for number, event in enumerate(events):
        log.append(number * 1_000_000, event, step(pool, number * 1_000_000, event))
    log.close()
    return log.path


def test_a_replay_tells_that_all_is_the_same(run: Callable[..., Said], decision_log: Path) -> None:
    said = run("replay", str(decision_log))
    assert said.code == 0
    assert said.out.startswith("identical: 4 events, 1 invocations, ")
    assert run("replay", str(decision_log), "--json").data[0]["difference"] is None
    told = run("replay", str(decision_log), "--tell").out
    assert "    0.001 s  container 1 (hello) is ready after 1.0 ms; container 1 (hello) runs it, cold" in told


def test_a_replay_shows_both_sides_of_a_difference(run: Callable[..., Said], decision_log: Path) -> None:
    lines = decision_log.read_text().replace('["Start",1', '["Start",7')
    decision_log.write_text(lines)
    said = run("replay", str(decision_log))
    assert said.code == ExitCode.DIFFERENT
    assert said.out.startswith("different: ")
    recorded, decided = said.out.split("decided now:")
    assert "Start(container=7" in recorded
    assert "Start(container=1" in decided
    assert run("replay", str(decision_log), "--json").code == ExitCode.DIFFERENT


def test_runs_are_replayed_each_by_itself(run: Callable[..., Said], decision_log: Path) -> None:
    other = decision_log.with_name("decisions-00000000000000009999-00001.jsonl")
    other.write_text(decision_log.read_text().replace("0000000000000000", "0000000000000009")[:-1])
    said = run("replay", str(other), str(decision_log))
    assert said.code == 0
    first, second = said.out.splitlines()
    assert first.startswith(f"{decision_log}: identical: 4 events")
    assert second.startswith(f"{other}: identical: 3 events")
    assert second.endswith("; the last line was cut short, as a killed invoker leaves it")
    assert [each["steps"] for each in run("replay", str(other), str(decision_log), "--json").data] == [4, 3]


# --- small means ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("8.70", b"8.70"),
        ("1e400", b"1e400"),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ('{"a": [1]}', b'{"a": [1]}'),
        ("true", b"true"),
        ('"8"', b'"8"'),
        ("Ada", b'"Ada"'),
        ("", b'""'),
        ("{oops", b'"{oops"'),
        ("a=b", b'"a=b"'),
    ],
)
def test_a_parameter_is_json_where_it_parses(text: str, raw: bytes) -> None:
    assert bytes(parameters.parse([f"k={text}"])["k"]) == raw


@pytest.mark.parametrize("parameter", ["", "k", "=v"])
def test_a_parameter_has_a_name(parameter: str) -> None:
    with pytest.raises(CallerFault, match="key=value"):
        parameters.parse([parameter])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "<1 ms"),
        (0.04, "<0.1 ms"),
        (1, "1 ms"),
        (1.25, "1.2 ms"),
        (150, "150 ms"),
        (1500, "1.5 s"),
        (60_000, "60 s"),
        (900_000, "15 min"),
    ],
)
def test_times_are_said_as_people_do(value: float, words: str) -> None:
    assert present.milliseconds(value) == words


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    command = f"{sys.executable} -m invoker.cli --help | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_client_of_files_makes_no_server(tmp_path: Path) -> None:
    assert isinstance(Target(data_dir=tmp_path).client(may_create=True), Client)
    with contextlib.suppress(CallerFault):
        Target(url="nonsense").running()

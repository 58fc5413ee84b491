"""◆ The tour: an invoker is started, functions run on it in every way there is, and its pool tells what it decided.

Nothing is staged. The invoker is `invoker dev` as a process of its own, all talk is HTTP, each claim is checked against
the record or the decision log, and the last one, that the pool would decide the same again, is replayed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from invoker import replay
from invoker.client import Client
from invoker.commands import present
from invoker.commands.exit_codes import ExitCode
from invoker.dev_process import DevProcess
from invoker.errors import InvokerError, PlatformFault
from invoker.narration import Narrator
from invoker.policy import actions as act

if TYPE_CHECKING:
    from rich.console import Console

NODE_MB = 512
FUNCTION_MB = 128
BURST = 4
NAP_S = 0.3
TIMEOUT_MS = 400
PAUSE_WAIT_MAX_S = 10.0
_LOOK_EVERY_S = 0.02
WARM_TRIES = 5

PYTHON, NODE = "python:3", "nodejs:default"


class Put(NamedTuple):
    """An action of the tour: its file in `invoker.examples`, its kind and its limits."""

    name: str
    file: str
    kind: str
    timeout_ms: int = 60_000


ACTIONS = (
    Put("hello", "hello.py", PYTHON),
    Put("hello-node", "hello.js", NODE),
    Put("nap", "nap.py", PYTHON),
    Put("refuse", "refuse.py", PYTHON),
    Put("crash", "crash.py", PYTHON),
    Put("slow", "nap.py", PYTHON, TIMEOUT_MS),
    Put("hungry", "hungry.py", PYTHON),
)


class Seen(NamedTuple):
    """An activation: its record, and how it came about."""

    record: dict[str, Any]
    facts: dict[str, Any]

    @property
    def status(self) -> int:
        """The record's status code."""
        return self.record["response"]["statusCode"]

    @property
    def start(self) -> str | None:
        """`cold`, `prewarm`, `warm` or `paused`."""
        return present.start_kind(self.facts)


def run() -> int:
    """Tell the whole story; the exit code is 0 where everything was as told."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="invoker-tour-") as directory:
        data_dir = Path(directory)
        with DevProcess(data_dir, ["--memory", f"{NODE_MB}MB"]) as process:
            tour = Tour(present.console(), Client(process.door), Path(process.page.decision_log or data_dir))
            try:
                tour.arrive(process.page.url)
                tour.serve()
            except InvokerError as problem:
                raise PlatformFault(f"{problem}\nThe invoker's log ends with:\n{process.log_tail()}") from problem
            tour.check("SIGTERM ends it with exit code 0", process.stop() == 0)
        tour.decisions()
        tour.replayed()
    return tour.leave(time.monotonic() - began_s)


class Tour:
    """The scenes, in their order. `check` keeps what was not as told."""

    def __init__(self, console: Console, client: Client, decision_log: Path) -> None:
        self._console = console
        self._client = client
        self._decision_log = decision_log
        self._kinds: Collection[str] = ()
        self._amiss: list[str] = []

    def serve(self) -> None:
        """All that the invoker does while it serves."""
        self.put()
        self.cold_and_warm()
        self.paused()
        self.other_runtime()
        self.burst()
        self.failures()
        self.records()

    # --- scenes -------------------------------------------------------------------------------------------------

    def arrive(self, url: str) -> None:
        """What runs, and where."""
        info: dict[str, Any] = msgspec.json.decode(self._client.info())
        self._kinds = info["kinds"]
        self._title("An invoker, as a process of its own")
        self._say(f"invoker dev serves at {url}: {info['memory_mb']} MB for functions")
        for what in ("isolation", "freezer", "limits"):
            if what in info["isolation"]:
                self._say(f"{what}: {info['isolation'][what]}", "dim")

    def put(self) -> None:
        """Put the actions."""
        self._title("Actions are put")
        rows: list[tuple[str, ...]] = []
        for action in self._here():
            code = files("invoker.examples").joinpath(action.file).read_text()
            request = {
                "exec": {"kind": action.kind, "code": code},
                "limits": {"memory": FUNCTION_MB, "timeout": action.timeout_ms},
            }
            document = msgspec.json.decode(self._client.put(f"guest/{action.name}", request, overwrite=False))
            rows.append((f"guest/{action.name}", f"invoker/examples/{action.file}", action.kind, document["_rev"][:10]))
        present.table(("action", "source", "kind", "revision"), rows)
        if not any(action.kind == NODE for action in self._here()):
            self._say("node is not installed here, so there is no nodejs action", "dim")

    def cold_and_warm(self) -> None:
        """The first run makes a container, the next finds it."""
        self._title("The first run is cold: a container is started and takes the code")
        cold = self._invoke("hello", {"name": "Ada"})
        warm = cold
        for _ in range(WARM_TRIES):  # on a busy machine the pause may come first
            warm = self._invoke("hello", {"name": "Grace"})
            if warm.start == "warm":
                break
        self._show(cold, 0, {"cold", "prewarm"})
        self._title("The next one is warm: the same container, the same memory")
        self._show(warm, 0, {"warm"})
        self.check("the container remembers that it greeted before", warm.record["response"]["result"]["greeted"] > 1)

    def paused(self) -> None:
        """Idle containers are frozen, and thawed in a moment."""
        self._title("Left alone for 150 ms it is paused: frozen, it costs no CPU")
        self.check("the pool says that its container is paused", _within(PAUSE_WAIT_MAX_S, self._is_paused))
        self._show(self._invoke("hello", {"name": "Edsger"}), 0, {"paused"})

    def other_runtime(self) -> None:
        """The same in node."""
        if any(action.kind == NODE for action in self._here()):
            self._title("Another runtime, the same protocol")
            self._show(self._invoke("hello-node", {"name": "Brendan"}), 0, {"cold", "prewarm"})

    def burst(self) -> None:
        """Several at once need containers of their own; the idle ones make room."""
        self._title(f"{BURST} at once: each needs {FUNCTION_MB} MB of {NODE_MB}, so idle containers are evicted")
        began_s = time.monotonic()
        with ThreadPoolExecutor(BURST) as pool:
            asked = [pool.submit(self._invoke, "nap", {"seconds": NAP_S}) for _ in range(BURST)]
            naps = [each.result() for each in asked]
        took_s = time.monotonic() - began_s
        for number, nap in enumerate(naps, start=1):
            self._say(f"nap {number}: {present.STATUS_WORDS[nap.status]}, {nap.start}, {present.timings(nap.facts)}")
        self.check(
            f"all {BURST} slept {NAP_S} s and took {took_s:.2f} s together", all(nap.status == 0 for nap in naps)
        )

    def failures(self) -> None:
        """Every way to fail has a status and a sentence."""
        self._title("Functions fail, and the record says how")
        self._show(self._invoke("refuse", {"amount": 0.5}), 1)
        self._show(self._invoke("crash", {}), 2)
        slow = self._invoke("slow", {"seconds": 30})
        self._show(slow, 2)
        self.check(f"it was stopped after {TIMEOUT_MS} ms", present.annotation(slow.record, "timeout") is True)
        self._show(self._invoke("hungry", {}), 2)

    def records(self) -> None:
        """What was kept."""
        self._title("All of it was recorded")
        listed: list[dict[str, Any]] = msgspec.json.decode(self._client.activations("guest", limit=200, skip=0))
        present.table(present.ACTIVATION_COLUMNS, [present.activation_row(each) for each in listed])

    def decisions(self) -> None:
        """What the pool decided, from its log."""
        self._title("What the pool decided, from its decision log")
        narrator, evicted = Narrator(), 0
        for decision in self._decisions():
            evicted += sum(isinstance(each, act.Remove) and each.reason == "evicted" for each in decision.actions)
            told = narrator.tell(decision.now_ns, decision.event, decision.actions)
            if told.decided:  # what was only noted is left out
                self._told(decision.now_ns, told.clauses)
        self.check("idle containers were evicted for the burst", evicted > 0)

    def replayed(self) -> None:
        """The same events give the same decisions."""
        self._title("The log is fed to the pool again")
        report = replay.replay([next(self._log_files())])
        self._say(report.verdict())
        self.check("the replay is identical", report.identical)

    def leave(self, took_s: float) -> int:
        """The last word, and the exit code."""
        self._console.print()
        if self._amiss:
            self._say(f"Not as told, after {took_s:.0f} s:", "bold red")
            for text in self._amiss:
                self._say(f"  {text}", "red")
            return ExitCode.DIFFERENT
        self._say(f"Everything was as told, in {took_s:.0f} s. Now yours:", "bold")
        program = sys.argv[0] if Path(sys.argv[0]).name == "invoker" else "invoker"
        for command in (
            "dev",
            "action put guest/hello invoker/examples/hello.py",
            "invoke guest/hello --param name=Ada",
        ):
            self._say(f"  {program} {command}")
        return ExitCode.OK

    def check(self, claim: str, holds: bool) -> None:
        """Say a claim and whether it holds."""
        self._say(f"{'✓' if holds else '✗'} {claim}", "green" if holds else "bold red")
        if not holds:
            self._amiss.append(claim)

    # --- means --------------------------------------------------------------------------------------------------

    def _here(self) -> list[Put]:
        return [action for action in ACTIONS if action.kind in self._kinds]

    def _invoke(self, name: str, parameters: Mapping[str, object]) -> Seen:
        activation = self._client.invoke(f"guest/{name}", msgspec.json.encode(parameters))
        if isinstance(activation, str):
            raise PlatformFault(f"{name}: activation {activation} did not end in time")
        return Seen(msgspec.json.decode(activation.record), msgspec.json.decode(activation.facts))

    def _show(self, seen: Seen, status: int, starts: Collection[str] | None = None) -> None:
        """Print an activation; not as told where it ended or started otherwise."""
        self._console.print()
        for part in present.activation(seen.record, seen.facts):
            self._console.print(part)
        name = seen.record["name"]
        if seen.status != status:
            self._amiss.append(f"{name}: {present.STATUS_WORDS[status]} was expected, not {seen.status}")
        if starts is not None and seen.start not in starts:
            self._amiss.append(f"{name}: a start {' or '.join(sorted(starts))} was expected, not {seen.start}")

    def _is_paused(self) -> bool:
        """Whether all containers that stand are frozen, by the pool's own page."""
        pool: dict[str, Any] = msgspec.json.decode(self._client.pool())
        return bool(pool["containers"]) and all(each["state"] == "paused" for each in pool["containers"])

    def _log_files(self) -> Iterator[Path]:
        return iter(sorted(self._decision_log.glob("decisions-*.jsonl")))

    def _decisions(self) -> Iterator[replay.Decision]:
        return replay.read(next(self._log_files()))

    def _title(self, text: str) -> None:
        from rich.rule import Rule
        from rich.text import Text

        self._console.print()
        self._console.print(Rule(Text(text, "bold"), align="left", style="dim", characters="─"))

    def _say(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self._console.print(Text(text, style))

    def _told(self, now_ns: int, clauses: list[str]) -> None:
        """An event and what was decided of it, the decisions below."""
        from rich.text import Text

        self._console.print(Text.assemble((f"{now_ns / 1e9:8.3f} s  ", "dim"), clauses[0]))
        for clause in clauses[1:]:
            self._console.print(Text.assemble(" " * 12, ("→ ", "dim"), clause))


def _within(bound_s: float, holds: Callable[[], bool]) -> bool:
    """Look until it holds, at most for `bound_s`."""
    until = time.monotonic() + bound_s
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True

"""◆ Users for locust: straight to an invoker, or through a controller's door. docs/load.md shows how to run them.

    locust -f loadtest/locustfile.py DirectUser --host https://127.0.0.1:8443 --headless --peak 8 --run-time 30s

Beside its own figures, which end with the head of an answer or with its body, locust is told what the records say:
`wait`, `init` and `run`, by kind of start, and by which way a controller sent. An answer whose record is not the
call's own is a failure. Never import this beside asyncio: locust replaces the sockets of its process.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any

from locust import LoadTestShape, constant, events, task
from locust.contrib.fasthttp import FastHttpUser

from invoker.errors import CallerFault
from loadtest.calls import ACTION, Calls, Verdict, Wanted, judge_acknowledgement, judge_answer
from loadtest.messages import Action, Identity, activation_message
from loadtest.shapes import SHAPES, users_at
from sim.rng import sequence

SPAWN_RATE = 100.0
_numbers = itertools.count(1)
_hooks: Any = events


@_hooks.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    group = parser.add_argument_group("What is sent (functions-invoker)")
    group.add_argument("--auth", default="", help="UUID:KEY of the user, for DoorUser")
    group.add_argument("--blocking-share", type=float, default=1.0, help="share of calls that wait for the result")
    group.add_argument(
        "--cold-share", type=float, default=0.0, help="DirectUser: share that can't find a warm container"
    )
    group.add_argument("--payload-bytes", default="0", help="sizes of the parameters, comma-separated")
    group.add_argument("--run-ms", type=float, default=0.0, help="mean time that the function sleeps")
    group.add_argument("--log-lines", type=int, default=0, help="lines that each run prints")
    group.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    group.add_argument("--shape", choices=SHAPES, default="constant", help="how many users there are, over time")
    group.add_argument("--peak", type=int, default=4, help="most users at a time")
    group.add_argument("--period", type=float, default=60.0, help="seconds of one period of the shape")


class Shape(LoadTestShape):
    """The number of users follows --shape, --peak and --period."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """As locust asks it once a second; None ends the run."""
        runner = self.runner
        assert runner is not None
        options: Any = runner.environment.parsed_options
        at_s = self.get_run_time()
        if options.run_time is not None and at_s > options.run_time:
            return None
        return users_at(options.shape, at_s, peak=options.peak, period_s=options.period), SPAWN_RATE


class _User(FastHttpUser):
    """Draws calls and tells what the records say."""

    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        """Read what is wanted."""
        environment: Any = self.environment  # locust's own types are of no help from here on
        self._http: Any = self.client
        self._events: Any = environment.events
        options = environment.parsed_options
        number = next(_numbers)
        self._wanted = Wanted(
            blocking_share=options.blocking_share,
            cold_share=options.cold_share,
            payload_bytes=_sizes(options.payload_bytes),
            run_ms=options.run_ms,
            log_lines=options.log_lines,
        )
        self._calls = Calls(self._wanted, sequence(options.seed, f"user {number}"), f"u{number}-{uuid.uuid4().hex[:6]}")
        self._auth: str = options.auth

    def tell(self, verdict: Verdict) -> None:
        """Give locust the spans of the record, as rows of their own."""
        spans = (("wait", verdict.wait_ms), ("init", verdict.init_ms), ("run", verdict.run_ms))
        for kind, span_ms in spans:
            if span_ms is not None:
                self.fire(kind, verdict.start or "", span_ms)

    def fire(self, kind: str, name: str, response_ms: float, problem: str = "", size_bytes: int = 0) -> None:
        """One entry of locust's table."""
        self._events.request.fire(
            request_type=kind,
            name=name,
            response_time=response_ms,
            response_length=size_bytes,
            exception=Wrong(problem) if problem else None,
            context={},
        )


class Wrong(Exception):
    """An answer that is not as it should be."""


class DirectUser(_User):
    """As a controller sends: POST /invoke at an invoker. `receipt` ends with the head, `invoke` with the body."""

    @task
    def invoke(self) -> None:
        """One call."""
        call = self._calls.next()
        activation = uuid.uuid4().hex
        message = activation_message(
            Action("guest", ACTION, "0.0.1", ""),
            Identity("locust", call.namespace),
            call.parameters,
            activation=activation,
            transaction=(activation, time.time_ns() // 1_000_000),
            controller="locust",
            blocking=call.blocking,
        )
        began_s = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        with self._http.post(
            "/invoke", data=message, headers=headers, stream=True, catch_response=True, name="receipt"
        ) as response:
            if response.status_code != 200:
                response.failure(Wrong(f"HTTP {response.status_code}"))
                return
            response.success()
            body, problem = _read(response.stream.read)
        verdict = judge_acknowledgement(call, activation, 200, body, self._wanted.log_lines)
        self.fire("POST", "invoke", 1000 * (time.perf_counter() - began_s), problem or verdict.problem, len(body))
        self.tell(verdict)


class DoorUser(_User):
    """As a person's script: through a controller's door, which may send by HTTP or by a topic."""

    @task
    def invoke(self) -> None:
        """One call."""
        call = self._calls.next()
        path = f"/api/v1/namespaces/_/actions/{ACTION}{'?blocking=true' if call.blocking else ''}"
        user, _, key = self._auth.partition(":")
        headers = {"Content-Type": "application/json"}
        with self._http.post(
            path,
            data=call.parameters,
            headers=headers,
            auth=(user, key),
            catch_response=True,
            name="waited for" if call.blocking else "not waited for",
        ) as response:
            body: bytes = response.content or b""
            verdict = judge_answer(call, int(response.status_code), body, self._wanted.log_lines)
            way = str(response.headers.get("X-Functions-Way", "")) if response.headers else ""
            if verdict.problem:
                response.failure(Wrong(verdict.problem))
            else:
                response.success()
            took_ms = float(response.request_meta["response_time"] or 0)
        if way:
            self.fire("way", way, took_ms)
        self.tell(verdict)


def _read(read: Callable[[], bytes]) -> tuple[bytes, str]:
    """The body, and what went wrong with it."""
    try:
        return bytes(read()), ""
    except (OSError, ValueError) as problem:
        return b"", f"the answer broke off after its head: {problem}"


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise CallerFault(f"--payload-bytes is one or more numbers, such as 0,1000,100000, not {text!r}") from None

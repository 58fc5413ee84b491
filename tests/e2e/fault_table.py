"""The contract's section 14, as data: each fault, how it is provoked, and what has to become of it.

`test_faults.py` runs every row on every engine. What the functions do is in ACTION; what only an odd runtime can answer
is ordered from the raw one (`raw_runtime/server.py`).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from tests.support.node import LOST, PYTHON, RAW

LIMIT_BYTES = 1_048_576
INIT_LIMIT_MS = 900
RUN_LIMIT_MS = 500
PLENTY_MS = 30_000

NOT_FOUND = "Function could not be found or may have been deleted."
NOT_FETCHED = "Function could not be fetched."
NOT_PROVISIONED = "Failed to provision resources to run the function."
MEMORY = "The function exhausted its memory and was aborted."
EXIT = "The function did not produce a valid response and exited unexpectedly."
NO_INIT = "The function did not initialize and exited unexpectedly."
INIT_TIME = f"The function exceeded its time limits of {INIT_LIMIT_MS} milliseconds during initialization."
RUN_TIME = f"The function exceeded its time limits of {RUN_LIMIT_MS} milliseconds."
NO_JSON = "The function did not produce a valid JSON response: "
LOGS_MISSING = "stderr: There was an issue while collecting your logs. Logs might be missing."

ACTION = """
import os, sys, threading, time

def hog():
    pages = []
    while True:
        pages.append(bytearray(8 << 20))

def do(what, args):
    if what == "hog":
        hog()
    if what == "exit":
        os._exit(3)
    if what == "sleep":
        time.sleep(600)
    if what == "raise":
        raise ValueError("no such luck")
    if what == "hog later":
        threading.Timer(1.0, hog).start()
    if what == "silence":
        print("the last words", flush=True)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)

def main(args):
    do(args.get("do"), args)
    return args.get("give", {})

do(os.environ.get("AT_INIT"), {})
"""

Where = Literal["fetch", "pool", "init", "run", "logs"]
Fate = Literal["none", "kept", "removed"]
Before = Literal[
    "no action", "no document", "killed paused", "exited idle", "oom idle", "no runtime", "unknown kind", "died idle"
]

Policies = Literal["default", "default, never pausing", "reference", "reference, never pausing"]


class Row(NamedTuple):
    """One fault. `fault` names it in the report.

    `error` is the whole message, `result` the whole result where the invoker makes none. `fate` is the container's:
    kept (the next invocation is warm in it) or removed (the next is cold, and it is gone from the machine).
    `at_init` is what /init is to do, `run` the parameters. `before` names what happens before the invocation
    (`test_faults.py` does it); `policies` those of the node. `log`: lines that the record has to have, without time.
    """

    where: Where
    fault: str
    status: int | None
    fate: Fate
    error: str | None = None
    result: dict[str, Any] | None = None
    kind: str = PYTHON
    at_init: Any = None
    run: dict[str, Any] | None = None
    before: Before | None = None
    policies: Policies = "default, never pausing"
    timeout_ms: int = PLENTY_MS
    log: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.where}: {self.fault}"


def too_long(got: int, text: str) -> str:
    """The message for an answer over the limit."""
    return (
        f"The function produced a response that exceeded the allowed length: {got} > {LIMIT_BYTES} bytes. "
        f"The truncated response was: {text[:LIMIT_BYTES]}"
    )


def raw(**order: Any) -> dict[str, Any]:
    """The parameters that make the raw runtime's run do as ordered."""
    return {"raw": order}


LONG = "x" * (LIMIT_BYTES + 7)
LONG_OBJECT = '{"x":"' + LONG + '"}'

FETCH = (
    Row("fetch", "action not found", 1, "none", NOT_FOUND, before="no action"),
    Row("fetch", "anything else: a document that can't be read", 3, "none", NOT_FETCHED, before="no document"),
)

POOL = (
    Row(
        "pool",
        "reused container was OOM-killed",
        2,
        "removed",
        MEMORY,
        before="oom idle",
        policies="reference, never pausing",
    ),
    Row(
        "pool",
        "reused container had exited",
        2,
        "removed",
        EXIT,
        before="exited idle",
        policies="reference, never pausing",
    ),
    Row(
        "pool",
        "reused container found dead at its thaw (reference)",
        2,
        "removed",
        EXIT,
        before="killed paused",
        policies="reference",
    ),
    Row(
        "pool",
        "reused container found dead at its thaw (default)",
        2,
        "removed",
        EXIT,
        before="killed paused",
        policies="default",
    ),
    Row("pool", "container died idle: the next is cold (default)", 0, "kept", result={}, before="died idle"),
    Row("pool", "anything else: no container starts", 3, "none", NOT_PROVISIONED, kind=LOST, before="no runtime"),
    Row("pool", "anything else: a kind that is unknown", 3, "none", NOT_PROVISIONED, before="unknown kind"),
)

INIT = (
    Row(
        "init",
        "response over the limit",
        2,
        "removed",
        too_long(len(LONG), LONG),
        kind=RAW,
        at_init={"answer": "x", "times": len(LONG)},
    ),
    Row(
        "init",
        "response over the limit, not 200",
        2,
        "removed",
        too_long(len(LONG), LONG),
        kind=RAW,
        at_init={"answer": "x", "times": len(LONG), "status": 502},
    ),
    Row("init", "OOM-killed", 2, "removed", MEMORY, at_init="hog"),
    Row(
        "init",
        "OOM-killed: a child, the runtime says so",
        2,
        "removed",
        MEMORY,
        kind=RAW,
        at_init={"act": "child hog", "answer": '{"error":"a child died"}', "status": 502},
    ),
    Row("init", "exited", 2, "removed", EXIT, at_init="exit"),
    Row("init", "timed out", 2, "removed", INIT_TIME, at_init="sleep", timeout_ms=RUN_LIMIT_MS),
    Row(
        "init",
        'non-200 with {"error"}',
        2,
        "removed",
        at_init="raise",
        error="The function could not be initialized: ValueError: no such luck",
    ),
    Row(
        "init",
        "anything else: non-200, junk",
        2,
        "removed",
        NO_INIT,
        kind=RAW,
        at_init={"answer": "<h1>oops</h1>", "status": 500},
    ),
    Row("init", "anything else: hung up", 2, "removed", NO_INIT, kind=RAW, at_init={"act": "close"}),
)

RUN = (
    Row("run", "response over the limit", 1, "kept", too_long(len(LONG) + 8, LONG_OBJECT), run={"give": {"x": LONG}}),
    Row(
        "run",
        "response over the limit, length unannounced",
        1,
        "kept",
        kind=RAW,
        error=too_long(LIMIT_BYTES + 1, LONG_OBJECT),
        run=raw(answer=LONG_OBJECT, announce="none"),
    ),
    Row("run", "OOM-killed", 2, "removed", MEMORY, run={"do": "hog"}),
    Row(
        "run",
        "OOM-killed: a child, the runtime says so",
        2,
        "removed",
        MEMORY,
        kind=RAW,
        run=raw(act="child hog", answer='{"error":"a child died"}', status=502),
    ),
    Row("run", "exited", 2, "removed", EXIT, run={"do": "exit"}),
    Row("run", "timed out", 2, "removed", RUN_TIME, run={"do": "sleep"}, timeout_ms=RUN_LIMIT_MS),
    Row(
        "run",
        'non-200 with {"error"}',
        2,
        "removed",
        run={"do": "raise"},
        error="The function raised an exception: ValueError: no such luck",
    ),
    Row("run", "anything else: non-200, junk", 2, "removed", EXIT, kind=RAW, run=raw(answer="oops", status=500)),
    Row(
        "run",
        "anything else: non-200, error is no string",
        2,
        "removed",
        EXIT,
        kind=RAW,
        run=raw(answer='{"error":{"code":5}}', status=502),
    ),
    Row("run", "anything else: hung up", 2, "removed", EXIT, kind=RAW, run=raw(act="close")),
    Row(
        "run",
        "anything else: shorter than announced",
        2,
        "removed",
        EXIT,
        kind=RAW,
        run=raw(answer="{}", announce=9, act="cut"),
    ),
    Row("run", "200, not a JSON object: a list", 2, "kept", NO_JSON + "[1,2]", kind=RAW, run=raw(answer="[1,2]")),
    Row("run", "200, not a JSON object: text", 2, "kept", NO_JSON + '"a"', kind=RAW, run=raw(answer='"a"')),
    Row("run", "200, not a JSON object: junk", 2, "kept", NO_JSON + "{oops", kind=RAW, run=raw(answer="{oops")),
    Row("run", "200, not a JSON object: nothing", 2, "kept", NO_JSON, kind=RAW, run=raw(answer="")),
    Row(
        "run",
        "200, not a JSON object: no UTF-8",
        2,
        "kept",
        NO_JSON + "caf\ufffd!",
        kind=RAW,
        run=raw(answer="caf\xe9!", latin1=True),
    ),
    Row(
        "run",
        "200, object with key error",
        1,
        "kept",
        result={"error": {"code": 5}},
        kind=PYTHON,
        run={"give": {"error": {"code": 5}}},
    ),
    Row("run", "200, null", 0, "kept", result={}, kind=RAW, run=raw(answer="null")),
    Row("run", "200, object", 0, "kept", result={"a": [1, None, "é"]}, run={"give": {"a": [1, None, "é"]}}),
)

LOGS = (
    Row(
        "logs",
        "sentinels missing after 500 ms",
        0,
        "removed",
        result={},
        run={"do": "silence"},
        log=("stdout: the last words", LOGS_MISSING),
    ),
    Row(
        "logs",
        "sentinels missing, and an error",
        1,
        "removed",
        result={"error": "mine"},
        kind=RAW,
        run=raw(answer='{"error":"mine"}', silent=True, say="hm"),
        log=("stdout: hm", LOGS_MISSING),
    ),
    Row(
        "logs",
        "sentinels missing, and an error of the invoker's",
        2,
        "removed",
        NO_JSON + "[]",
        kind=RAW,
        run=raw(answer="[]", silent=True),
        log=(f"stderr: {NO_JSON}[]. Logs might be missing.",),
    ),
)

ROWS: tuple[Row, ...] = (*FETCH, *POOL, *INIT, *RUN, *LOGS)

OUTCOMES: dict[tuple[str, str], str] = {}
"""(row, engine) -> "ok" or "FAILED", as the tests of this run found it."""

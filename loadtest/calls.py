"""◇ What a load sends, and whether what comes back is right: the record is checked, not just the status.

One function serves all loads. It sleeps, prints and answers as its parameters say, and gives back a mark that each call
bears, so that an answer that belongs to another call, or to none, is found out.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from invoker.errors import CallerFault, PlatformFault
from invoker.protocol.raw_json import DECODE_ERRORS
from loadtest.messages import decode_acknowledgement

ACTION = "load"
CODE = """\
import time

def main(args):
    for number in range(args["lines"]):
        print(f"line {number} of {args['mark']}")
    time.sleep(args["ms"] / 1000)
    return {"mark": args["mark"], "bytes": len(args["payload"])}
"""

Start = Literal["cold", "warm"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls are like. Shares are of 1.

    `cold_share`: by a namespace that nobody has used, so no warm container is its own; only where the sender may say
    the namespace, which is at the invoker. `payload_bytes`: one of these each time. `run_ms`: the mean of the
    function's sleep, which is drawn exponentially. `log_lines`: printed by each run.
    """

    blocking_share: float = 1.0
    cold_share: float = 0.0
    payload_bytes: tuple[int, ...] = (0,)
    run_ms: float = 0.0
    log_lines: int = 0

    def __post_init__(self) -> None:
        for name, share in (("blocking", self.blocking_share), ("cold", self.cold_share)):
            if not 0 <= share <= 1:
                raise CallerFault(f"the share of {name} calls is 0 to 1, not {share:g}")
        if not self.payload_bytes or min(self.payload_bytes) < 0 or self.run_ms < 0 or self.log_lines < 0:
            raise CallerFault("payloads, run times and log lines are 0 or more, and there is one payload at least")


class Call(msgspec.Struct, frozen=True):
    """One of them. `namespace` is the invoking one."""

    mark: str
    namespace: str
    blocking: bool
    payload_bytes: int
    parameters: bytes


class Verdict(msgspec.Struct, frozen=True):
    """What came of a call. `problem` "": it is as it should be. Spans in ms, None where the answer doesn't tell them:
    a call that is not waited for is answered with its id alone."""

    problem: str = ""
    start: Start | None = None
    wait_ms: float | None = None
    init_ms: float | None = None
    run_ms: float | None = None


class _Annotation(msgspec.Struct):
    key: str
    value: object


class _Result(msgspec.Struct):
    mark: str = ""
    bytes_: int = msgspec.field(name="bytes", default=-1)
    error: object = None


class _Response(msgspec.Struct, rename="camel"):
    status_code: int
    result: _Result


class _Record(msgspec.Struct, rename="camel"):
    activation_id: str
    duration: float
    logs: list[str]
    response: _Response
    annotations: list[_Annotation]


class _Accepted(msgspec.Struct, rename="camel"):
    activation_id: str


_RECORD = msgspec.json.Decoder(_Record)
_ACCEPTED = msgspec.json.Decoder(_Accepted)


class Calls:
    """The calls of one user, drawn from a stream of his own; `name` tells users apart."""

    def __init__(self, wanted: Wanted, chance: random.Random, name: str, namespace: str = "guest") -> None:
        self._wanted = wanted
        self._chance = chance
        self._name = name
        self._namespace = namespace
        self._count = 0

    def next(self) -> Call:
        """The next one."""
        wanted, chance = self._wanted, self._chance
        self._count += 1
        mark = f"{self._name}-{self._count}"
        blocking = chance.random() < wanted.blocking_share
        cold = chance.random() < wanted.cold_share
        payload_bytes = chance.choice(wanted.payload_bytes)
        run_ms = chance.expovariate(1 / wanted.run_ms) if wanted.run_ms else 0
        parameters = {"mark": mark, "lines": wanted.log_lines, "ms": run_ms, "payload": "x" * payload_bytes}
        return Call(
            mark,
            f"cold-{mark}" if cold else self._namespace,
            blocking,
            payload_bytes,
            msgspec.json.encode(parameters),
        )


def judge_acknowledgement(call: Call, activation: str, status: int, body: bytes, log_lines: int) -> Verdict:
    """An invoker's answer to POST /invoke."""
    if status != 200:
        return Verdict(f"HTTP {status}: {body[:200]!r}")
    try:
        told = decode_acknowledgement(body)
    except PlatformFault as fault:
        return Verdict(str(fault))
    if told.activation != activation:
        return Verdict(f"the acknowledgement is of activation {told.activation}")
    if told.system_error:
        return Verdict("it ended in a system error")
    if not call.blocking:
        return Verdict("" if told.record is None else "the acknowledgement has a record that nobody waits for")
    return Verdict("the record is missing") if told.record is None else judge_record(call, told.record, log_lines)


def judge_answer(call: Call, status: int, body: bytes, log_lines: int) -> Verdict:
    """A controller's answer to an invocation through its door."""
    if status == 202:
        try:
            _ACCEPTED.decode(body)
        except DECODE_ERRORS as problem:
            return Verdict(f"202 without an activation's id: {problem}")
        return Verdict("nobody waited for its end" if call.blocking else "")
    if status != 200:
        return Verdict(f"HTTP {status}: {body[:200]!r}")
    return judge_record(call, body, log_lines)


def judge_record(call: Call, record: bytes, log_lines: int) -> Verdict:
    """Whether the record is this call's, and whole."""
    try:
        found = _RECORD.decode(record)
    except DECODE_ERRORS as problem:
        return Verdict(f"the record can't be read: {problem}")
    result = found.response.result
    spans = {each.key: each.value for each in found.annotations}
    init_ms, wait_ms = _span(spans.get("initTime")), _span(spans.get("waitTime"))
    problem = ""
    if found.response.status_code != 0:
        problem = f"status {found.response.status_code}: {result.error}"
    elif (result.mark, result.bytes_) != (call.mark, call.payload_bytes):
        problem = f"the result is of call {result.mark!r} with {result.bytes_} bytes"
    elif len(found.logs) != log_lines:
        problem = f"{len(found.logs)} log lines instead of {log_lines}"
    start: Start = "warm" if init_ms is None else "cold"
    return Verdict(problem, start, wait_ms, init_ms, max(0.0, found.duration - (init_ms or 0)))


def _span(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None

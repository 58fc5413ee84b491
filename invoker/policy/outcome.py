"""◇ What came of an activation: the raw facts of /init and /run become a status, a result and a verdict.

The order of the checks is the contract's (section 14): over the limit, then the container's state, then the
deadline, then the runtime's own error, then the rest. Every message a caller can see is made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Literal, cast

import msgspec

from invoker.policy.events import Fault

Condition = Literal["running", "oom", "exited"]
"""What a container's engine knows of it after a failed call."""


class Status(IntEnum):
    """Status codes of an activation record (contract, section 7)."""

    SUCCESS = 0
    APPLICATION_ERROR = 1
    DEVELOPER_ERROR = 2
    SYSTEM_ERROR = 3

    @property
    def label(self) -> str:
        """The metric's label: `success`, `application_error`, `developer_error` or `system_error` (section 15)."""
        return self.name.lower()

    @property
    def words(self) -> str:
        """The log line's words; a system error reads `internal error` there (section 19)."""
        return "internal error" if self is Status.SYSTEM_ERROR else self.name.lower().replace("_", " ")


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The raw facts of one call to /init or /run.

    `status` is the HTTP status, None where no whole answer came. `body` holds at most the response limit in bytes.
    `announced` is the Content-Length, None where there was none. `truncated`: the answer was longer than the limit.
    `timed_out`: the time limit passed first. `condition`: the container's state, asked for only after a failure.
    """

    status: int | None = None
    body: bytes = b""
    announced: int | None = None
    truncated: bool = False
    timed_out: bool = False
    condition: Condition = "running"


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an activation ended.

    `result` is raw JSON, always an object. `size` is in bytes: of the container's answer as received, or of the error's
    JSON. `error` is the message where the invoker made the result; its last `quoted` characters are of the answer.
    `limit_hit`: an init or run time limit passed. `reusable`: the container may take another activation.
    """

    status: Status
    result: bytes
    size: int
    reusable: bool
    limit_hit: bool = False
    error: str | None = None
    quoted: int = 0

    @property
    def told(self) -> str | None:
        """`error` as a log may have it: without the function's answer, and no longer than TOLD_CHARACTERS_MAX."""
        if self.error is None:
            return None
        return self.error[: min(len(self.error) - self.quoted, TOLD_CHARACTERS_MAX)].rstrip()


TOLD_CHARACTERS_MAX = 256
"""Of an error in a log line; a runtime's own text may be of any length."""

NOT_FOUND = "Function could not be found or may have been deleted."
NOT_FETCHED = "Function could not be fetched."
NOT_PROVISIONED = "Failed to provision resources to run the function."
OUT_OF_MEMORY = "The function exhausted its memory and was aborted."
EXITED = "The function did not produce a valid response and exited unexpectedly."
NOT_INITIALIZED = "The function did not initialize and exited unexpectedly."


def failed(
    status: Status, message: str, *, reusable: bool = False, limit_hit: bool = False, quoted: int = 0
) -> Outcome:
    """An error of the invoker's own making: the result is `{"error": message}`."""
    result = msgspec.json.encode({"error": message})
    return Outcome(status, result, len(result), reusable, limit_hit, message, quoted)


def not_found() -> Outcome:
    """The action's document, or its code, is not there."""
    return failed(Status.APPLICATION_ERROR, NOT_FOUND)


def not_fetched() -> Outcome:
    """The action could not be read for any other reason."""
    return failed(Status.SYSTEM_ERROR, NOT_FETCHED)


def not_provisioned(fault: Fault = "platform") -> Outcome:
    """No container was to be had; a reused one that was lost by the function's doing is the function's error."""
    if fault == "oom":
        return failed(Status.DEVELOPER_ERROR, OUT_OF_MEMORY)
    if fault == "exited":
        return failed(Status.DEVELOPER_ERROR, EXITED)
    return failed(Status.SYSTEM_ERROR, NOT_PROVISIONED)


def of_init(reply: Reply, limit_ms: int) -> Outcome | None:
    """Judge /init, whose time limit was `limit_ms`; None means the container is initialised."""
    if reply.status == 200 and not reply.truncated:
        return None
    if reply.truncated:
        return _over_limit(Status.DEVELOPER_ERROR, reply)
    lost = _lost(reply, f"The function exceeded its time limits of {limit_ms} milliseconds during initialization.")
    if lost is not None:
        return lost
    return failed(Status.DEVELOPER_ERROR, _own_error(reply) or NOT_INITIALIZED)


def of_run(reply: Reply, limit_ms: int) -> Outcome:
    """Judge /run, whose time limit was `limit_ms`."""
    if reply.truncated:
        return _over_limit(Status.APPLICATION_ERROR, reply, reusable=True)
    if reply.status == 200:
        return _result(reply.body)
    lost = _lost(reply, f"The function exceeded its time limits of {limit_ms} milliseconds.")
    if lost is not None:
        return lost
    return failed(Status.DEVELOPER_ERROR, _own_error(reply) or EXITED)


def _result(body: bytes) -> Outcome:
    """Judge the body of a 200: an object, null, or no JSON object at all."""
    if body.strip(b" \t\r\n") == b"null":
        return Outcome(Status.SUCCESS, b"{}", len(body), reusable=True)
    members = _members(body)
    if members is None:
        text = body.decode("utf-8", "replace")
        return failed(
            Status.DEVELOPER_ERROR,
            f"The function did not produce a valid JSON response: {text}",
            reusable=True,
            quoted=len(text),
        )
    status = Status.APPLICATION_ERROR if "error" in members else Status.SUCCESS
    return Outcome(status, body, len(body), reusable=True)


def _lost(reply: Reply, timeout_message: str) -> Outcome | None:
    if reply.condition == "oom":
        return failed(Status.DEVELOPER_ERROR, OUT_OF_MEMORY)
    if reply.condition == "exited":
        return failed(Status.DEVELOPER_ERROR, EXITED)
    if reply.timed_out:
        return failed(Status.DEVELOPER_ERROR, timeout_message, limit_hit=True)
    return None


def _over_limit(status: Status, reply: Reply, *, reusable: bool = False) -> Outcome:
    text = reply.body.decode("utf-8", "replace")
    got = reply.announced if reply.announced is not None else len(reply.body) + 1
    message = (
        f"The function produced a response that exceeded the allowed length: {got} > {len(reply.body)} bytes. "
        f"The truncated response was: {text}"
    )
    return failed(status, message, reusable=reusable, quoted=len(text))


def _own_error(reply: Reply) -> str | None:
    """The text of `{"error": "..."}` in an answer that is no 200; None where there is none."""
    if reply.status is None or reply.status == 200:
        return None
    members = _members(reply.body)
    error = members.get("error") if members is not None else None
    if isinstance(error, str):
        return error.encode("utf-8", "replace").decode()
    if not isinstance(error, msgspec.Raw):
        return None
    try:
        return msgspec.json.decode(error, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _members(body: bytes) -> Mapping[str, object] | None:
    """The top-level members of a JSON object, by name; None where the body is no JSON object."""
    try:
        return _decode_members(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _odd_members(body) if b"\\u" in body else None


def _odd_members(body: bytes) -> Mapping[str, object] | None:
    """The same by the standard library, which takes half a surrogate pair, as JavaScript may leave one in a string."""
    try:
        value: object = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, object], value) if isinstance(value, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

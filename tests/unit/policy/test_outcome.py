"""What the raw facts of /init and /run become: the rows of the contract's section 14 that a reply decides, in order."""

from __future__ import annotations

import json

import pytest

from invoker.policy.outcome import (
    TOLD_CHARACTERS_MAX,
    Outcome,
    Reply,
    Status,
    not_fetched,
    not_found,
    not_provisioned,
    of_init,
    of_run,
)

pytestmark = pytest.mark.contract("14")

MEMORY = "The function exhausted its memory and was aborted."
EXIT = "The function did not produce a valid response and exited unexpectedly."
INIT = "The function did not initialize and exited unexpectedly."
LONG = Reply(200, b"x" * 10, announced=25, truncated=True)
LONG_TEXT = (
    "The function produced a response that exceeded the allowed length: 25 > 10 bytes. The truncated response was: "
)

INIT_ROWS = [
    (LONG, LONG_TEXT + "x" * 10),
    (Reply(condition="oom"), MEMORY),
    (Reply(condition="exited"), EXIT),
    (Reply(timed_out=True), "The function exceeded its time limits of 10000 milliseconds during initialization."),
    (Reply(502, b'{"error":"my fault"}'), "my fault"),
    (Reply(502, b'{"error":{"no":"text"}}'), INIT),
    (Reply(502, b"junk"), INIT),
    (Reply(204), INIT),
    (Reply(), INIT),
    # the order of the checks
    (Reply(502, b"x", announced=9, truncated=True, condition="oom", timed_out=True), None),
    (Reply(502, b'{"error":"e"}', condition="oom", timed_out=True), MEMORY),
    (Reply(502, b'{"error":"e"}', condition="exited"), EXIT),
]


@pytest.mark.parametrize(("reply", "message"), INIT_ROWS)
def test_a_failed_init_is_the_developers_error(reply: Reply, message: str | None) -> None:
    outcome = of_init(reply, 10_000)
    assert outcome is not None
    assert outcome.status is Status.DEVELOPER_ERROR
    assert not outcome.reusable
    assert outcome.limit_hit == (reply.timed_out and reply.condition == "running" and not reply.truncated)
    if message is None:
        assert "exceeded the allowed length: 9 > 1 bytes" in (outcome.error or "")
    else:
        assert_error(outcome, message)


def assert_error(outcome: Outcome, message: str) -> None:
    assert outcome.error == message
    assert json.loads(outcome.result) == {"error": message}
    assert outcome.size == len(outcome.result)


def test_a_good_init_is_no_end() -> None:
    assert of_init(Reply(200, b"anything at all"), 10_000) is None


RUN_ROWS = [
    (LONG, Status.APPLICATION_ERROR, LONG_TEXT + "x" * 10, True),
    (Reply(condition="oom"), Status.DEVELOPER_ERROR, MEMORY, False),
    (Reply(condition="exited"), Status.DEVELOPER_ERROR, EXIT, False),
    (
        Reply(timed_out=True),
        Status.DEVELOPER_ERROR,
        "The function exceeded its time limits of 100 milliseconds.",
        False,
    ),
    (Reply(502, b'{"error":"my fault"}'), Status.DEVELOPER_ERROR, "my fault", False),
    (Reply(502, b'{"error":"\\ud83d"}'), Status.DEVELOPER_ERROR, "?", False),
    (Reply(502, b'{"error":1}'), Status.DEVELOPER_ERROR, EXIT, False),
    (Reply(500, b"junk"), Status.DEVELOPER_ERROR, EXIT, False),
    (Reply(), Status.DEVELOPER_ERROR, EXIT, False),
]


@pytest.mark.parametrize(("reply", "status", "message", "kept"), RUN_ROWS)
def test_a_failed_run(reply: Reply, status: Status, message: str, kept: bool) -> None:
    outcome = of_run(reply, 100)
    assert outcome.status is status
    assert outcome.reusable == kept
    assert_error(outcome, message)


@pytest.mark.parametrize("body", [b"[1]", b"1", b'"text"', b"true", b"", b"{", b"NaN", b'{"a":NaN}', b'{"a":"\\ud8"}'])
def test_a_200_that_is_no_object_is_quoted_and_the_container_kept(body: bytes) -> None:
    outcome = of_run(Reply(200, body), 100)
    assert outcome.status is Status.DEVELOPER_ERROR
    assert outcome.reusable
    assert_error(outcome, f"The function did not produce a valid JSON response: {body.decode()}")


@pytest.mark.contract("19")
def test_what_is_no_utf8_is_quoted_with_replacements() -> None:
    assert of_run(Reply(200, b"\xff\xfe"), 100).error.endswith("response: \ufffd\ufffd")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "status", "result"),
    [
        (b'{"a": 1e400, "a": 8.70}', Status.SUCCESS, b'{"a": 1e400, "a": 8.70}'),
        (b" null\n", Status.SUCCESS, b"{}"),
        (b'{"error": false}', Status.APPLICATION_ERROR, b'{"error": false}'),
        (b'{"half": "\\ud83d"}', Status.SUCCESS, b'{"half": "\\ud83d"}'),
        (b'{"error": "\\ud83d"}', Status.APPLICATION_ERROR, b'{"error": "\\ud83d"}'),
        (b"{}", Status.SUCCESS, b"{}"),
    ],
)
def test_an_object_is_the_result_as_it_was_written(body: bytes, status: Status, result: bytes) -> None:
    outcome = of_run(Reply(200, body), 100)
    assert (outcome.status, outcome.result, outcome.size) == (status, result, len(body))
    assert outcome.reusable
    assert outcome.error is None


def test_ends_before_any_container() -> None:
    assert_error(not_found(), "Function could not be found or may have been deleted.")
    assert not_found().status is Status.APPLICATION_ERROR
    assert_error(not_fetched(), "Function could not be fetched.")
    assert not_fetched().status is Status.SYSTEM_ERROR
    assert_error(not_provisioned(), "Failed to provision resources to run the function.")
    assert not_provisioned().status is Status.SYSTEM_ERROR
    assert_error(not_provisioned("oom"), MEMORY)
    assert_error(not_provisioned("exited"), EXIT)
    assert not_provisioned("oom").status is not_provisioned("exited").status is Status.DEVELOPER_ERROR


@pytest.mark.contract("19")
def test_the_words_of_a_status() -> None:
    assert [status.label for status in Status] == ["success", "application_error", "developer_error", "system_error"]
    assert [status.words for status in Status] == ["success", "application error", "developer error", "internal error"]


@pytest.mark.contract("16")
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(200, b"a secret"), "The function did not produce a valid JSON response:"),
        (Reply(200, b""), "The function did not produce a valid JSON response:"),
        (LONG, LONG_TEXT.rstrip()),
        (Reply(condition="oom"), MEMORY),
        (Reply(502, b'{"error":"%b"}' % (b"e" * 2000)), "e" * TOLD_CHARACTERS_MAX),
        (Reply(200, b'{"error":"the user\'s own"}'), None),
    ],
)
def test_a_log_quotes_no_answer(reply: Reply, told: str | None) -> None:
    assert of_run(reply, 1000).told == told

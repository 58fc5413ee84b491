"""◇ What is known of one activation, and how it is told: as its record, and as its log line.

Each span is measured once, by the runner, and told from here to record, log line and metrics alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from invoker.driver import Lease
from invoker.policy.actions import StartKind
from invoker.policy.outcome import Condition, Outcome, Status
from invoker.ports import Container, Via
from invoker.protocol.document import ActionDocument
from invoker.protocol.logs import CollectedLog
from invoker.protocol.message import ActivationMessage
from invoker.protocol.record import Ending, activation_record, gbs

MS = 1_000_000
NO_LOG = CollectedLog(lines=[], size_bytes=0, complete=True, truncated=False)


class Story(msgspec.Struct, eq=False):
    """What is known of one activation so far. Spans in ns, 0 where there was none; instants in Unix ns."""

    message: ActivationMessage
    via: Via
    headers: dict[str, str]
    admitted: Callable[[], object]
    document: ActionDocument | None = None
    lease: Lease | None = None
    lost: Container | None = None
    log: CollectedLog = NO_LOG
    wait_ns: int = -1
    init_ns: int = -1
    run_ns: int = -1
    logs_ns: int = -1
    record_ns: int = -1
    run_start_ns: int = 0
    end_ns: int = 0
    condition: Condition = "running"
    answered: bool = False
    released: bool = False


def written(story: Story, outcome: Outcome) -> bytes:
    """The activation record (contract, section 7)."""
    ending = Ending(
        status=outcome.status,
        result=outcome.result,
        size_bytes=outcome.size,
        timed_out=outcome.limit_hit,
        run_start_ns=story.run_start_ns,
        end_ns=story.end_ns,
        wait_ns=story.wait_ns if story.wait_ns >= 0 else None,
        init_ns=story.init_ns if story.init_ns >= 0 else None,
    )
    return activation_record(story.message, story.document, ending, story.log.lines)


def facts_of(story: Story, outcome: Outcome) -> dict[str, Any]:
    """The fields of the log line (contract, section 16), times in ms; a user's own result is never among them."""
    message, document = story.message, story.document
    facts = identity(story)
    if story.lease is not None:
        facts.update(_of_lease(story.lease))
    elif story.lost is not None:
        facts.update(_of_container(story.lost, "warm"))
    for name, span_ns in (
        ("waitTime", story.wait_ns),
        ("initTime", story.init_ns),
        ("runTime", story.run_ns),
        ("logTime", story.logs_ns),
    ):
        if span_ns >= 0:
            facts[name] = span_ns / MS
    if not story.log.complete:
        facts["logTimeout"] = True
    if story.condition != "running":
        facts["cstate"] = story.condition
    if document is not None:
        facts["kind"] = document.kind
        duration_ms = story.end_ns // MS - (story.run_start_ns - max(0, story.init_ns)) // MS
        facts["gbs"] = gbs(message.path, document.memory_mb, duration_ms)
    facts["activationStatus"] = outcome.status.words
    if outcome.status >= Status.DEVELOPER_ERROR:
        facts["activationResponse"] = outcome.told
    return facts


def identity(story: Story) -> dict[str, Any]:
    """The fields that tell which activation it is; a header goes before the message."""
    message, headers = story.message, story.headers
    return {
        "tid": headers.get("functions-transaction-id") or message.transaction_id,
        "aid": headers.get("functions-activation-id") or message.activation_id,
        "account": headers.get("functions-account") or message.subject,
        "namespace": headers.get("functions-namespace") or message.namespace,
        "function": headers.get("functions-function") or message.name,
        "invokedVia": story.via,
    }


def _of_lease(lease: Lease) -> dict[str, Any]:
    """The fields that tell of the container and how it was come by."""
    timings = lease.container.start_timings
    facts = _of_container(lease.container, lease.kind)
    if lease.kind != "warm" and "firewall_setup" in timings:
        facts["firewallSetupTime"] = timings["firewall_setup"] * 1000
    if lease.start_ns:
        facts["dockerRunTime"] = timings.get("run", 0.0) * 1000
        facts["pollTime"] = timings.get("poll", 0.0) * 1000
    if lease.resumed:
        facts["unpauseTime"] = lease.unpause_ns / MS
    if lease.pause_rest_ns:
        facts["pauseRestTime"] = lease.pause_rest_ns / MS
    if lease.evicted:
        facts["deleteNum"] = len(lease.evicted)
        facts["deleteTime"] = lease.evict_ns / MS
        cleanup_s = sum(each.start_timings.get("firewall_cleanup", 0.0) for each in lease.evicted)
        if cleanup_s:
            facts["firewallCleanupTime"] = cleanup_s * 1000
    return facts


def _of_container(container: Container, kind: StartKind) -> dict[str, Any]:
    return {
        "containerType": kind,
        "cid": container.id,
        "cip": container.address,
        "hasPerContainerFirewall": "firewall_setup" in container.start_timings,
    }

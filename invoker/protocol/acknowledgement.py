"""◇ The completion message: an activation is over, its slot is free, and here is what came of it (contract, section 6).

One encoder serves both ways back, the HTTP response and the controller's topic. The invoker is named twice: `invoker`
for controllers of the reference, `instance` for current upstream ones, who free no slot without it. `transid` goes
back byte for byte, for a controller recognises its own health probes by it.
"""

from __future__ import annotations

from invoker.protocol.message import ActivationMessage


def acknowledge(
    message: ActivationMessage,
    response: bytes,
    is_system_error: bool,
    invoker_id: int,
    user_memory: int,
) -> bytes:
    """The completion message. `response` is JSON: `short_response`, or the record. `user_memory` is in bytes."""
    return b'{"transid":%b,"response":%b,"isSystemError":%b,"invoker":%b,"instance":%b}' % (
        message.transid,
        response,
        b"true" if is_system_error else b"false",
        b'{"instance":%d,"userMemory":"0 g"}' % invoker_id,
        b'{"instance":%d,"userMemory":"%d B","instanceType":"invoker","tags":[],"dedicatedNamespaces":[]}'
        % (invoker_id, user_memory),
    )


def short_response(message: ActivationMessage) -> bytes:
    """The response of a non-blocking invocation: the activation id alone, as a JSON string."""
    return b'"%b"' % message.activation_id.encode("ascii")

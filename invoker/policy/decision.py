"""◇ The form of a decision log: what each of its lines is, for who writes it and for who reads it.

A line is `[now_ns, event, [action, ...]]`, a step of the heart; the first line of a file names the run, the file's
number in it, and the policies. The invoker writes such logs, and so does the simulator; both can read both.
"""

from __future__ import annotations

from typing import Final

import msgspec

from invoker.policy.actions import AnyAction
from invoker.policy.events import AnyEvent
from invoker.policy.policyset import PolicySet

FORMAT: Final = 1


class Header(msgspec.Struct, frozen=True):
    """The first line of a file. `started_ns` is the Unix time at which the run's `now_ns` was 0."""

    decisions: int
    run: str
    part: int
    started_ns: int
    policies: PolicySet


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """Every other line: what happened, and what was decided."""

    now_ns: int
    event: AnyEvent
    actions: list[AnyAction]

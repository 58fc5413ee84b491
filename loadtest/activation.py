"""◇ One activation as its controller knows it, from its making to the last that is heard of it."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Literal, TypeAlias

from loadtest.messages import Outcome, decode_outcome

Way: TypeAlias = Literal["", "http", "kafka"]


class Fate(Enum):
    """What became of an activation, as far as its controller can tell."""

    PLACING = "placing"  # nobody has accepted it yet
    ACCEPTED = "accepted"  # an invoker, or its topic, has it; its end is awaited
    ACKNOWLEDGED = "acknowledged"  # its end was told
    CUT = "cut"  # accepted over HTTP, and the answer broke off: it may have run, and is not sent again
    TIMED_OUT = "timed out"  # accepted, and no word came within the forced timeout; one may still come
    UNKNOWN = "unknown"  # it was sent, and nobody said whether it was accepted: it may have run
    REFUSED = "refused"  # nobody accepted it, and nothing ran


class Activation:
    """Its facts so far. Instants are monotonic nanoseconds, 0 where it did not come to that.

    `instance` and `way`: where it was sent last, and how. `attempts` counts the sendings. `reason` tells of an end that
    is none of the function's; `status` is HTTP's for it. `record` is the raw record of a blocking one. `late`: the
    acknowledgement came after it had been given up.
    """

    def __init__(self, activation_id: str, action: str, namespace: str, transaction: str, *, blocking: bool) -> None:
        self.id = activation_id
        self.action = action
        self.namespace = namespace
        self.transaction = transaction
        self.blocking = blocking
        self.fate = Fate.PLACING
        self.instance: int | None = None
        self.way: Way = ""
        self.attempts = 0
        self.reason = ""
        self.status = 0
        self.record: bytes | None = None
        self.system_error = False
        self.late = False
        self.begun_ns = 0
        self.accepted_ns = 0
        self.ended_ns = 0
        self.received = asyncio.Event()
        """Somebody has accepted it, or it has ended."""
        self.ended = asyncio.Event()
        """Nothing more is awaited of it."""

    def __repr__(self) -> str:
        where = "" if self.instance is None else f" invoker{self.instance} by {self.way or 'nothing yet'}"
        return f"<Activation {self.id} of {self.action}: {self.fate.value}{where}>"

    @property
    def outcome(self) -> Outcome | None:
        """Its response, where the record is here."""
        return None if self.record is None else decode_outcome(self.record)

    def sent(self, instance: int, way: Way) -> None:
        """It is on its way to an invoker."""
        self.instance, self.way = instance, way
        self.attempts += 1

    def accept(self, now_ns: int) -> None:
        """The receipt: the head of the answer, or the broker's word."""
        if self.fate is Fate.PLACING:
            self.fate, self.accepted_ns = Fate.ACCEPTED, now_ns
            self.received.set()

    def acknowledge(self, now_ns: int, record: bytes | None, system_error: bool) -> None:
        """Its end was told. One that was given up before stays so, and is marked."""
        if self.ended.is_set():
            self.late = True
            return
        self.record, self.system_error = record, system_error
        self._end(now_ns, Fate.ACKNOWLEDGED)

    def end(self, now_ns: int, fate: Fate, reason: str, status: int) -> None:
        """It ends otherwise; `status` is what HTTP says of that."""
        if not self.ended.is_set():
            self.reason, self.status = reason, status
            self._end(now_ns, fate)

    def _end(self, now_ns: int, fate: Fate) -> None:
        self.fate, self.ended_ns = fate, now_ns
        self.received.set()
        self.ended.set()

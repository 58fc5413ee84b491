"""◇ What a simulation is fed with: functions, and their invocations in the order of time.

A workload is read once from front to back, in blocks of columns, so that a trace of any length streams through in
bounded memory. Readers of traces, generators and hand-written scenarios all make one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Protocol

import msgspec

from sim.latency import Latency

DRAWN = -1
"""In `Block.run_ns`: the run's duration is drawn from the function's `run`."""


class SimFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function. `cold` is its create-and-start until it answers, `init` its /init, `run` its /run; None: the
    node's own. Memory in MB; `name` is `namespace/action` and unique in the workload."""

    name: str
    memory_mb: int = 256
    kind: str = "python:3"
    concurrency: int = 1
    cold: Latency | None = None
    init: Latency | None = None
    run: Latency | None = None


class Block(msgspec.Struct, frozen=True):
    """Neighbouring invocations as columns of equal length: instant (`q`, ns since the start, never falling), index into
    the workload's functions (`I`), and duration of /run (`q`, ns, or DRAWN)."""

    at_ns: array[int]
    function: array[int]
    run_ns: array[int]


class Workload(Protocol):
    """Functions, and blocks of invocations. `blocks` may be called again, and then gives the same."""

    @property
    def functions(self) -> tuple[SimFunction, ...]:
        """All functions that occur."""
        ...

    def blocks(self) -> Iterator[Block]:
        """The invocations, in the order of time."""
        ...

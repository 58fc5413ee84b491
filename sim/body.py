"""◇ What both drivers of the simulator note of every step: the decision hash, and what the steps cost the node.

Two runs with the same hash made the same decisions at the same instants for the same events, all along.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import cast

import msgspec

from invoker.policy import Pool
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId
from sim.errors import SimulationError
from sim.node import Chance, Request
from sim.recorder import COLD, PREWARM, THAWED, WARM, Recorder
from sim.workload import DRAWN, Workload

_HASH_PIECE_STEPS = 128
"""How many steps are encoded at once: part of what the hash is of."""
_KIND_CODES = {"cold": COLD, "prewarm": PREWARM, "warm": WARM}


class Ledger:
    """Notes steps. `memory_mb_ns` is the integral of the charged memory over time; `removals` counts by reason."""

    def __init__(self, pool: Pool, hashing: bool) -> None:
        self._pool = pool
        self._hash = blake2b(digest_size=16) if hashing else None
        self._gathered: list[tuple[int, ev.AnyEvent, list[act.AnyAction]]] = []
        self._encode = msgspec.msgpack.Encoder().encode
        self._charged_mb = 0
        self._charged_at_ns = 0
        self.steps = 0
        self.memory_mb_ns = 0
        self.removals: dict[act.RemoveReason, int] = {}
        self.starts = 0
        self.holds = 0

    def note(self, now_ns: int, event: ev.AnyEvent, actions: list[act.AnyAction]) -> None:
        """One step of the heart."""
        self.steps += 1
        if self._pool.charged_mb != self._charged_mb:
            self._charge(now_ns)
        if self._hash is not None:
            gathered = self._gathered
            gathered.append((now_ns, event, actions))
            if len(gathered) == _HASH_PIECE_STEPS:
                self._hash.update(self._encode(gathered))
                gathered.clear()

    def close(self, now_ns: int) -> None:
        """The simulation ended."""
        self._charge(now_ns)
        if self._hash is not None:
            self._hash.update(self._encode(self._gathered))
            self._gathered.clear()

    @property
    def decision_hash(self) -> str:
        """32 hex digits of all steps noted before `close`; "" where no hash was wished."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def _charge(self, now_ns: int) -> None:
        self.memory_mb_ns += self._charged_mb * (now_ns - self._charged_at_ns)
        self._charged_mb = self._pool.charged_mb
        self._charged_at_ns = now_ns


def requests(workload: Workload, chance: Chance, recorder: Recorder) -> Iterator[Request]:
    """The invocations of a workload with their drawn runs. Raises SimulationError where the workload goes back in time,
    names a function that it doesn't have, or has a duration below 0."""
    begin = before_ns = 0
    functions = len(workload.functions)
    run_ns = chance.run_ns
    for block in workload.blocks():
        size = len(block.at_ns)
        recorder.expect(size)
        indices = range(begin, begin + size)
        names = cast("Iterator[ActivationId]", map(str, indices))
        rows = zip(names, indices, block.function, block.at_ns, block.run_ns, strict=True)
        for name, index, function, at_ns, wished_ns in rows:
            if at_ns < before_ns or function >= functions or wished_ns < DRAWN:
                raise SimulationError(
                    f"invocation {index} of the workload is of function {function} at {at_ns} ns for {wished_ns} ns: "
                    f"there are {functions} functions, and the invocation before it is at {before_ns} ns"
                )
            before_ns = at_ns
            yield Request(name, index, function, at_ns, run_ns(function) if wished_ns == DRAWN else wished_ns)
        begin += size


def dispatched(request: Request, now_ns: int, action: act.Dispatch) -> None:
    """Note when and how the invocation came to its container."""
    request.dispatched_ns = now_ns
    request.kind = THAWED if action.resumed else _KIND_CODES[action.kind]

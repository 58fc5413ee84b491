"""◇ What both drivers of the simulator note of every step: the decision hash, and what the steps cost the node.

Two runs with the same hash made the same decisions at the same instants for the same events, all along.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Generator, Iterator
from hashlib import blake2b
from itertools import islice
from operator import le
from typing import cast

import msgspec

from invoker.policy import Pool
from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import ActivationId
from sim.errors import SimulationError
from sim.node import Chance, Request
from sim.recorder import COLD, PREWARM, THAWED, WARM, Recorder
from sim.workload import DRAWN, Block, Workload

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
        self._steps = 0
        self.memory_mb_ns = 0
        self.removals: dict[act.RemoveReason, int] = {}
        self.starts = 0
        self.holds = 0

    def note(self, now_ns: int, event: ev.AnyEvent, actions: list[act.AnyAction]) -> None:
        """One step of the heart."""
        if self._pool.charged_mb != self._charged_mb:
            self._charge(now_ns)
        gathered = self._gathered
        gathered.append((now_ns, event, actions))
        if len(gathered) == _HASH_PIECE_STEPS:
            self._digest()

    def close(self, now_ns: int) -> None:
        """The simulation ended."""
        self._charge(now_ns)
        self._digest()

    @property
    def steps(self) -> int:
        """How many steps were noted."""
        return self._steps + len(self._gathered)

    @property
    def decision_hash(self) -> str:
        """32 hex digits of all steps noted before `close`; "" where no hash was wished."""
        return self._hash.hexdigest() if self._hash is not None else ""

    def _digest(self) -> None:
        self._steps += len(self._gathered)
        if self._hash is not None:
            self._hash.update(self._encode(self._gathered))
        self._gathered.clear()

    def _charge(self, now_ns: int) -> None:
        self.memory_mb_ns += self._charged_mb * (now_ns - self._charged_at_ns)
        self._charged_mb = self._pool.charged_mb
        self._charged_at_ns = now_ns


def drawn(workload: Workload, chance: Chance, recorder: Recorder) -> Iterator[tuple[int, Block, list[int]]]:
    """The blocks of a workload: the number of the first invocation, the columns, and how long each run takes (ns).

    Raises SimulationError where the workload goes back in time, names a function that it doesn't have, or has a
    duration below 0.
    """
    begin = before_ns = 0
    run_ns = chance.run_ns
    for block in workload.blocks():
        size = len(block.at_ns)
        if not size:
            continue
        _check(workload, block, begin, before_ns)
        recorder.expect(size)
        runs_ns = [
            run_ns(function) if wished_ns == DRAWN else wished_ns
            for function, wished_ns in zip(block.function, block.run_ns, strict=True)
        ]
        yield begin, block, runs_ns
        begin += size
        before_ns = block.at_ns[-1]


def _check(workload: Workload, block: Block, begin: int, before_ns: int) -> None:
    functions, at_ns = len(workload.functions), block.at_ns
    ordered = at_ns[0] >= before_ns and all(map(le, at_ns, islice(at_ns, 1, None)))
    if ordered and max(block.function) < functions and min(block.run_ns) >= DRAWN:
        return
    for index, (at, function, wished_ns) in enumerate(zip(at_ns, block.function, block.run_ns, strict=True), begin):
        if at < before_ns or function >= functions or wished_ns < DRAWN:
            raise SimulationError(
                f"invocation {index} of the workload is of function {function} at {at} ns for {wished_ns} ns: "
                f"there are {functions} functions, and the invocation before it is at {before_ns} ns"
            )
        before_ns = at


def requests(workload: Workload, chance: Chance, recorder: Recorder) -> Iterator[Request]:
    """The invocations of a workload with their drawn runs. Raises SimulationError as `drawn`."""
    for begin, block, runs_ns in drawn(workload, chance, recorder):
        indices = range(begin, begin + len(runs_ns))
        yield from map(Request, names(indices), indices, block.function, block.at_ns, runs_ns)


def names(indices: range) -> Iterator[ActivationId]:
    """What the heart calls the invocations of these numbers."""
    return cast("Iterator[ActivationId]", map(str, indices))


def dispatched(request: Request, now_ns: int, action: act.Dispatch) -> None:
    """Note when and how the invocation came to its container."""
    request.dispatched_ns = now_ns
    request.kind = THAWED if action.resumed else _KIND_CODES[action.kind]


class _Collector:
    """Python's search for cycles, held off while simulations run: the heart leaves none behind, and looking at every
    container again and again takes a fifth of a large simulation. Only a workload might, so it goes on, but rarely.

    Several may run at a time, in threads: the first holds it off, the last sets it back.
    """

    _THRESHOLDS = (100_000, 20, 100)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._before = gc.get_threshold()

    @contextlib.contextmanager
    def held_off(self) -> Generator[None]:
        """As long as the context lasts."""
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._before = gc.get_threshold()
                if self._before[0]:  # 0: it is off, and stays so
                    gc.set_threshold(*self._THRESHOLDS)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    gc.set_threshold(*self._before)


collector = _Collector()

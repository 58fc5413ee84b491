"""◆ A scenario as what is measured. The dear part of many runs, the workload, is drawn or read once for all of them.

Invocations are kept as columns, their runs drawn ahead with the very numbers that the simulation would draw, so that
each run has the figures that it would have alone.
"""

from __future__ import annotations

import pathlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from invoker import __version__
from invoker.policy.decision import FORMAT
from sim.node import Node
from sim.planning.task import Setting
from sim.scenario import Scenario
from sim.scenario.views import Told
from sim.scenario.workloads import TraceFile
from sim.workload import DRAWN, Block, SimFunction, Workload

if TYPE_CHECKING:
    from sim.result import Result

KEPT_INVOCATIONS_MAX: Final = 10_000_000
"""So many are kept in a process, of 20 bytes each. A workload with more is drawn or read again for each run."""


_NOT_OF_FIGURES: Final = ("document", "seed")
"""The parts of a scenario that make no figure, or are given with each run."""


class ScenarioMeasure:
    """The figures `sim.frames.SUMMARY_FIGURES` of a scenario under other settings and seeds; can be pickled.

    `streaming` keeps sums instead of rows: less memory, and quantiles that are right to 3.2 %.
    """

    def __init__(self, scenario: Scenario, *, streaming: bool = False) -> None:
        self.scenario = scenario
        self._streaming = streaming
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _measure, (self.scenario, self._streaming)

    @property
    def fingerprint(self) -> str:
        """Of everything that makes the figures but the settings to come and the seed: the scenario as it is read, the
        files that its workload names (by size and time), the version of the decisions."""
        scenario = self.scenario
        parts = {name: getattr(scenario, name) for name in scenario.__struct_fields__ if name not in _NOT_OF_FIGURES}
        stamps = [FORMAT, __version__, self._streaming, *_stamps(scenario)]
        return blake2b(msgspec.json.encode([parts, stamps]), digest_size=16).hexdigest()

    def __call__(self, settings: Mapping[str, Setting], seed: int) -> Mapping[str, int | float]:
        """The figures. Raises ScenarioError, SimulationError or TraceError."""
        from sim.frames import summary

        return summary(self.simulate(settings, seed))

    def simulate(self, settings: Mapping[str, Setting], seed: int) -> Result:
        """The whole result, without a decision hash."""
        scenario = self.scenario.altered(settings)
        workload = self._workload(scenario, seed)
        return scenario.simulate(seed, workload=workload, hashing=False, streaming=self._streaming)

    def _workload(self, scenario: Scenario, seed: int) -> Workload:
        parts = [scenario.workload, scenario.profile, scenario.node.run]
        keys = [
            blake2b(msgspec.json.encode([parts, of]), digest_size=16).digest()
            for of in ("any seed", seed)  # a trace that tells all durations is the same under any
        ]
        with self._lock:  # a Dask worker has threads
            found = next((key for key in keys if key in self._kept), None)
            if found is None:
                workload = scenario.build(seed)
                kept = _keep(workload, scenario.node, seed)
                if kept is None:
                    return workload
                found = keys[0] if isinstance(scenario.workload, TraceFile) and not kept.draws else keys[1]
                self._kept[found] = kept
                while sum(map(len, self._kept.values())) > KEPT_INVOCATIONS_MAX and len(self._kept) > 1:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(found)
            return self._kept[found]


class _Kept:
    """A workload of blocks that lie in memory; `draws`: it told not all durations itself."""

    def __init__(self, functions: tuple[SimFunction, ...], blocks: list[Block], draws: bool) -> None:
        self.functions = functions
        self.draws = draws
        self._blocks = blocks

    def __len__(self) -> int:
        return sum(len(block.at_ns) for block in self._blocks)

    def blocks(self) -> Iterator[Block]:
        """See `sim.Workload`."""
        return iter(self._blocks)


def _measure(scenario: Scenario, streaming: bool) -> ScenarioMeasure:
    return ScenarioMeasure(scenario, streaming=streaming)


def _keep(workload: Workload, node: Node, seed: int) -> _Kept | None:
    """The workload with its runs drawn; None where it is too long."""
    blocks: list[Block] = []
    left = KEPT_INVOCATIONS_MAX
    for block in workload.blocks():
        left -= len(block.at_ns)
        if left < 0:
            return None
        blocks.append(block)
    kept = _Kept(workload.functions, blocks, any(DRAWN in block.run_ns for block in blocks))
    return _Kept(kept.functions, list(Told(kept, node, seed).blocks()), draws=True) if kept.draws else kept


def _stamps(scenario: Scenario) -> list[tuple[str, int, int]]:
    """(path as written, size, time of change) of the files of traces, wherever in the workload they are named."""
    stamps: list[tuple[str, int, int]] = []
    pending: list[Any] = [scenario.workload]
    while pending:
        spec = pending.pop()
        if isinstance(spec, TraceFile):
            path = scenario.document.directory / spec.path
            stamps += [(spec.path, stat.st_size, stat.st_mtime_ns) for stat in _stats(path)]
        inner = getattr(spec, "workloads", None) or getattr(spec, "workload", None)
        pending += cast("tuple[Any, ...]", inner) if isinstance(inner, tuple) else [inner] if inner else []
    return stamps


def _stats(path: pathlib.Path) -> list[Any]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file.stat() for file in files if file.is_file()]

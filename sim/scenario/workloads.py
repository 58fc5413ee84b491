"""◆ The workloads that a scenario can name, as data: generated ones, traces, and those made of others.

Each has `build(seed, directory) -> Workload`. The seed is the simulation's, so that each repetition is another draw of
the same workload: an Azure-like one's functions stay, and another day of theirs is drawn. A trace is always the same.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec

from sim.errors import SimulationError
from sim.latency import Latency
from sim.workload import PoissonWorkload, SimFunction, Workload

if TYPE_CHECKING:
    from sim.traces import CleaningReport

Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
TraceFormat: TypeAlias = Literal[
    "azure2019",
    "azure2021",
    "decisions",
    "huawei2023",
    "huawei2025",
    "huawei2025-cold",
    "iluvatar",
    "opendc",
]
"""The formats of `sim.traces.formats.READERS`."""

HOUR_S = 3600.0
_FOREVER = 1 << 62


class _Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What every workload can be told: first only the `busiest` functions are kept, then time runs `faster`, then the
    head is taken (so much time, so many invocations, or both)."""

    busiest: Count | None = None
    faster: Positive = 1.0
    head_s: NotNegative | None = None
    head_invocations: Count | None = None

    def build(self, seed: int, directory: pathlib.Path) -> Workload:
        """The workload; a trace's path starts from the directory. Raises SimulationError or TraceError."""
        return self.read(seed, directory)[0]

    def read(self, seed: int, directory: pathlib.Path) -> tuple[Workload, CleaningReport | None]:
        """The same, and what the reader of a trace changed; None where nothing was read."""
        from sim.generator import compose  # numpy
        from sim.scenario.views import Busiest

        try:
            workload = self._made(seed, directory)
            report: CleaningReport | None = getattr(workload, "report", None)
            if self.busiest is not None:
                workload = Busiest(workload, self.busiest)
            if self.faster != 1.0:
                workload = compose.Faster(workload, self.faster)
            if self.head_s is not None or self.head_invocations is not None:
                workload = compose.Head(workload, invocations=self.head_invocations, duration_s=self.head_s)
        except ValueError as error:
            raise SimulationError(f"workload: {error}") from error
        return workload, report

    @property
    def length_s(self) -> float | None:
        """How much time it takes up; None where only reading it would tell."""
        own_s = self._length_s()
        scaled_s = None if own_s is None else own_s / self.faster
        known = [length_s for length_s in (scaled_s, self.head_s) if length_s is not None]
        return min(known, default=None)

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        raise NotImplementedError

    def _length_s(self) -> float | None:
        return None


class AzureLike(_Spec, frozen=True, kw_only=True, tag="azure-like"):
    """A population with the marginals published of Azure Functions in 2019 (docs/traces.md), calling as it does.

    `rate_per_s` is the mean of all invocations together; None: as many as so many functions of that cloud make, times
    `load`. `population` is the seed of the functions: who they are, how often they call, what they need.
    """

    functions: Count = 1000
    duration_s: Positive = 24 * HOUR_S
    rate_per_s: Positive | None = None
    load: Positive = 1.0
    population: int = 0

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        from sim.generator import azurelike

        spec = azurelike.AzureLike(
            functions=self.functions,
            duration_s=self.duration_s,
            load=self.load,
            seed=self.population,
            arrivals_seed=seed,
        )
        if self.rate_per_s is not None:
            natural_per_s = sum(one.per_day for one in spec.drawn()) / azurelike.DAY_S
            spec = msgspec.structs.replace(spec, load=self.load * self.rate_per_s / natural_per_s)
        return spec.build()

    def _length_s(self) -> float:
        return self.duration_s


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is written down. `run`, `init` and `cold`: None is the node's. `kind` is its runtime's."""

    name: str
    rate_per_s: Positive = 1.0
    memory_mb: Count = 256
    run: Latency | None = None
    init: Latency | None = None
    cold: Latency | None = None
    kind: str = "python:3"
    concurrency: Count = 1

    def function(self) -> SimFunction:
        """As a workload has it."""
        return SimFunction(
            name=self.name,
            memory_mb=self.memory_mb,
            kind=self.kind,
            concurrency=self.concurrency,
            cold=self.cold,
            init=self.init,
            run=self.run,
        )


class Poisson(_Spec, frozen=True, kw_only=True, tag="poisson"):
    """Independent Poisson arrivals: memoryless, at constant rates.

    `functions`: how many, or each of them. Of a number, the k-th has a share of `rate_per_s` like 1/k**zipf, `run`,
    and the memory sizes in turn; they are named `namespace/f0000` and on. Written ones have their own rates.
    """

    functions: Count | tuple[CalledFunction, ...] = 10
    duration_s: Positive = HOUR_S
    rate_per_s: Positive = 10.0
    zipf: NotNegative = 1.0
    run: Latency | None = None
    memory_mb: Count | tuple[Count, ...] = 256
    namespace: str = "poisson"

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        from sim.generator.compose import Head

        if isinstance(self.functions, int):
            functions = numbered(self.namespace, self.functions, self.memory_mb, self.run)
            shares = [(at + 1) ** -self.zipf for at in range(self.functions)]
            rates = tuple(self.rate_per_s * share / sum(shares) for share in shares)
        else:
            if not self.functions:
                raise SimulationError("workload.functions: there are none; write a number, or each of them")
            functions = tuple(one.function() for one in self.functions)
            rates = tuple(one.rate_per_s for one in self.functions)
        return Head(PoissonWorkload(functions, rates, _FOREVER, seed), duration_s=self.duration_s)

    def _length_s(self) -> float:
        return self.duration_s


class Bursts(_Spec, frozen=True, kw_only=True, tag="bursts"):
    """Every `every_s` on average (a Poisson process), `size` invocations within `width_s`, of random functions, each
    of which runs for `run_s`. Merge it with a steady workload to see what bursts do to that."""

    functions: Count = 1
    duration_s: Positive = HOUR_S
    every_s: Positive = 60.0
    size: Count = 100
    width_s: NotNegative = 1.0
    run_s: Positive = 0.1
    memory_mb: Count | tuple[Count, ...] = 256
    namespace: str = "bursts"

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        from sim.generator import processes

        return processes.Bursts(
            numbered(self.namespace, self.functions, self.memory_mb, None),
            [self.run_s] * self.functions,
            every_s=self.every_s,
            size=self.size,
            width_s=self.width_s,
            duration_s=self.duration_s,
            seed=seed,
        )

    def _length_s(self) -> float:
        return self.duration_s


class TraceFile(_Spec, frozen=True, kw_only=True, tag="trace"):
    """A trace as published, or a decision log of one's own invoker (docs/traces.md). `path` starts from the scenario's
    own directory. `spread`, `memory_mb` and `seed` decide what the trace doesn't tell."""

    path: str
    format: TraceFormat
    spread: Literal["uniform", "even", "start"] = "uniform"
    memory_mb: Count = 256
    seed: int = 0

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        from sim.traces import Choices, formats

        choices = Choices(seed=self.seed, spread=self.spread, memory_mb=self.memory_mb)
        return formats.read(self.format, directory / self.path, choices)


class ModulationState(msgspec.Struct, frozen=True, kw_only=True):
    """For `mean_s` on average (exponential), the rate is `factor` times the workload's."""

    factor: NotNegative
    mean_s: Positive


class Modulated(_Spec, frozen=True, kw_only=True, tag="modulated"):
    """Another workload under a rate that changes at random, state after state (a Poisson one becomes an MMPP)."""

    workload: AnyWorkload
    states: tuple[ModulationState, ...] = (
        ModulationState(factor=0.5, mean_s=300.0),
        ModulationState(factor=3.0, mean_s=75.0),
    )

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        from sim.generator import compose

        states = [compose.State(one.factor, one.mean_s) for one in self.states]
        return compose.Modulated(self.workload.build(seed, directory), states, seed)


class Merged(_Spec, frozen=True, kw_only=True, tag="merged"):
    """Several workloads at once. No two may have a function of the same name: give them a `namespace`."""

    workloads: tuple[AnyWorkload, ...]

    def _made(self, seed: int, directory: pathlib.Path) -> Workload:
        from sim.generator import compose

        return compose.Merged(*(one.build(seed, directory) for one in self.workloads))

    def _length_s(self) -> float | None:
        lengths = [one.length_s for one in self.workloads]
        return max((length_s for length_s in lengths if length_s is not None), default=None) if all(lengths) else None


AnyWorkload: TypeAlias = AzureLike | Poisson | Bursts | TraceFile | Modulated | Merged


def numbered(
    namespace: str, count: int, memory_mb: int | Sequence[int], run: Latency | None
) -> tuple[SimFunction, ...]:
    """So many functions, with the memory sizes in turn."""
    sizes = (memory_mb,) if isinstance(memory_mb, int) else tuple(memory_mb)
    if not sizes:
        raise SimulationError("workload.memory_mb: the list has no size in it")
    return tuple(
        SimFunction(name=f"{namespace}/f{at:04d}", memory_mb=sizes[at % len(sizes)], run=run) for at in range(count)
    )

"""◇ A workload in figures: what a trace is like, and whether a generated one is like it.

One pass over the columns, in memory that grows with the functions and not with the invocations.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from sim.workload import DRAWN, Workload

Quantiles = dict[str, float]
SHARES: Final = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
GAPS_MIN: Final = 10
"""A function's variation is told from so many gaps on."""
_HOUR_NS = 3600 * 10**9
_DAY_HOURS = 24


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A workload in figures. Quantiles are of SHARES, with `mean` and `max`; `{}` where there is nothing to tell.

    `functions` and those `called`; `length_s` until the last arrival. `invocations_of_function`: quantiles over the
    functions that are called. `busiest_share`: of all invocations, those of the busiest 1, 10, 100, ... functions.
    `run_ms`: of the runs whose duration is told (right to 3 %), the others are the share `drawn_share`. `memory_mb`:
    over functions. `gap_cv`: over functions with GAPS_MIN gaps or more, the coefficient of variation of the gaps
    between arrivals: 0 for a clock, 1 for a Poisson process, more for bursts. `hour_share`: of the invocations of whole
    days, by the hour of the day, `swing` the busiest hour's rate over the quietest's; [] and None below a day.
    `triggers`: of each, its share of functions and of invocations.
    """

    functions: int
    called: int
    invocations: int
    length_s: float
    rate_per_s: float
    invocations_of_function: Quantiles
    busiest_share: dict[str, float]
    run_ms: Quantiles
    drawn_share: float
    memory_mb: Quantiles
    gap_cv: Quantiles
    hour_share: list[float]
    swing: float | None
    triggers: dict[str, tuple[float, float]]


def describe(workload: Workload) -> Description:
    """The figures of a workload, read once."""
    seen = _Seen(len(workload.functions))
    for block in workload.blocks():
        seen.add(
            np.frombuffer(block.at_ns, np.int64),
            np.frombuffer(block.function, np.uint32).astype(np.int64),
            np.frombuffer(block.run_ns, np.int64),
        )
    total, length_s = int(seen.count.sum()), seen.last_ns / 1e9
    told = int(seen.runs.sum())
    hours = seen.hour_shares()
    return Description(
        functions=len(workload.functions),
        called=int((seen.count > 0).sum()),
        invocations=total,
        length_s=length_s,
        rate_per_s=total / length_s if length_s else 0.0,
        invocations_of_function=_quantiles(seen.count[seen.count > 0]),
        busiest_share=_busiest(seen.count),
        run_ms=seen.run_quantiles_ms(),
        drawn_share=(total - told) / total if total else 0.0,
        memory_mb=_quantiles(np.array([function.memory_mb for function in workload.functions])),
        gap_cv=_quantiles(seen.gap_cvs()),
        hour_share=hours,
        swing=max(hours) / min(hours) if hours and min(hours) > 0 else None,
        triggers=_triggers([str(getattr(function, "trigger", "")) for function in workload.functions], seen.count),
    )


class _Seen:
    """What is gathered on the way, a place for each function. Runs are counted in buckets of 1/32 of their size, as in
    `sim.recorder.Histogram`; gaps are summed in seconds."""

    def __init__(self, functions: int) -> None:
        self.count = np.zeros(functions, np.int64)
        self.runs = np.zeros(4096, np.int64)
        self.run_sum_ns = self.run_max_ns = 0
        self.last_ns = 0
        self._hours = np.zeros(0, np.int64)
        self._before_ns = np.full(functions, -1, np.int64)
        self._gaps, self._gap_sums, self._gap_squares = (np.zeros(functions) for _ in range(3))

    def add(self, at_ns: NDArray[Any], function: NDArray[Any], run_ns: NDArray[Any]) -> None:
        """A block of invocations."""
        if not len(at_ns):
            return
        self.last_ns = int(at_ns[-1])
        self.count += np.bincount(function, minlength=len(self.count))
        self._add_gaps(at_ns, function)
        hour = at_ns // _HOUR_NS
        if (missing := int(hour[-1]) + 1 - len(self._hours)) > 0:
            self._hours = np.append(self._hours, np.zeros(missing, np.int64))
        self._hours += np.bincount(hour, minlength=len(self._hours))
        told = run_ns[run_ns != DRAWN]
        if len(told):
            self.run_sum_ns += int(told.sum())
            self.run_max_ns = max(self.run_max_ns, int(told.max()))
            shift = np.maximum(0, np.frexp(told.astype(np.float64))[1] - 6)
            self.runs += np.bincount(np.minimum((shift << 6) + (told >> shift), 4095), minlength=4096)

    def _add_gaps(self, at_ns: NDArray[Any], function: NDArray[Any]) -> None:
        order = np.argsort(function, kind="stable")
        at_ns, function = at_ns[order], function[order]
        first = np.append(True, function[1:] != function[:-1])
        before_ns = np.append(0, at_ns[:-1])
        before_ns[first] = self._before_ns[function[first]]
        known = before_ns >= 0
        gap_s, of = (at_ns - before_ns)[known] / 1e9, function[known]
        size = len(self.count)
        self._gaps += np.bincount(of, minlength=size)
        self._gap_sums += np.bincount(of, gap_s, minlength=size)
        self._gap_squares += np.bincount(of, gap_s * gap_s, minlength=size)
        last = np.append(first[1:], True)
        self._before_ns[function[last]] = at_ns[last]

    def gap_cvs(self) -> NDArray[Any]:
        """The coefficient of variation of the gaps of each function that has enough."""
        enough = (self._gaps >= GAPS_MIN) & (self._gap_sums > 0)
        count, sums, squares = self._gaps[enough], self._gap_sums[enough], self._gap_squares[enough]
        mean = sums / count
        return np.sqrt(np.maximum(0.0, squares / count - mean * mean)) / mean

    def hour_shares(self) -> list[float]:
        """By the hour of the day, of whole days; a rest of a day is left out, unless it lacks but a minute."""
        days = (self.last_ns + 60 * 10**9) // (_DAY_HOURS * _HOUR_NS)
        hours = np.zeros(days * _DAY_HOURS, np.int64)
        hours[: len(self._hours)] = self._hours[: len(hours)]
        whole = hours.reshape(days, _DAY_HOURS).sum(axis=0)
        return (whole / whole.sum()).tolist() if days and whole.sum() else []

    def run_quantiles_ms(self) -> Quantiles:
        """From the buckets: the upper end of that in which the quantile lies."""
        told = int(self.runs.sum())
        if not told:
            return {}
        reached = np.cumsum(self.runs)
        made: Quantiles = {}
        for name, share in SHARES.items():
            bucket = int(np.searchsorted(reached, share * told, "left"))
            made[name] = min(self.run_max_ns, (((bucket & 63) + 1) << (bucket >> 6)) - 1) / 1e6
        return {**made, "mean": self.run_sum_ns / told / 1e6, "max": self.run_max_ns / 1e6}


def _quantiles(values: NDArray[Any]) -> Quantiles:
    if not len(values):
        return {}
    found = np.quantile(values, list(SHARES.values()), method="inverted_cdf")
    return {
        **{name: float(value) for name, value in zip(SHARES, found, strict=True)},
        "mean": float(values.mean()),
        "max": float(values.max()),
    }


def _busiest(count: NDArray[Any]) -> dict[str, float]:
    ordered, total = np.sort(count)[::-1].cumsum(), int(count.sum())
    sizes = [size for size in (1, 10, 100, 1000, 10_000) if size < len(count)]
    return {str(size): float(ordered[size - 1] / total) for size in sizes} if total else {}


def _triggers(names: list[str], count: NDArray[Any]) -> dict[str, tuple[float, float]]:
    total = max(1, int(count.sum()))
    shares: dict[str, tuple[float, float]] = {}
    for name in sorted(set(names)):
        mine = np.array([one == name for one in names])
        shares[name] = float(mine.mean()), float(count[mine].sum() / total)
    return {} if list(shares) == [""] else shares

"""◇ Results as pandas data frames: rows of invocations, rows of functions, and figures by name.

Columns and figures say their unit at the end of their names. Those in `_ns` are exact integers; those in `_ms` are the
same spans as floats for people and plots, NaN where there is none. Whatever has the properties of `sim.Result` will do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from sim.cluster.columns import PATHS, ClusterColumns
from sim.cluster.result import ClusterResult
from sim.errors import SimulationError
from sim.recorder import COLD, FAILED, KINDS, OUTCOMES, PREWARM, THAWED, WARM
from sim.result import Result

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
"""The quantiles of a summary, by the beginning of their names."""

INVOCATION_COLUMNS: Final = {
    "function": "category: the function's name",
    "kind": f"category, how it came to its container: {', '.join(KINDS)} (none: it never did)",
    "outcome": f"category: {', '.join(OUTCOMES)} (failed: /init or /run spoilt its container)",
    "arrived_ns": "int64: arrival, since the start of the simulation",
    "dispatched_ns": "int64: when a container could take it, after a start, a thaw or a wait; 0 where it never ran",
    "began_ns": "int64: when its /run began, after /init where that was needed; 0 where it never ran",
    "ended_ns": "int64: when its run ended (before the log is collected), or when it was refused",
    "wait_ms": "float64: from arrival to dispatch; NaN where it never ran",
    "init_ms": "float64: from dispatch to the begin of /run; NaN where it never ran",
    "run_ms": "float64: from the begin of /run to its end; NaN where it never ran",
    "latency_ms": "float64: from arrival to the end of the run; NaN where it never ran",
}
CLUSTER_COLUMNS: Final = {
    "controller": "int64: the number of the controller that it came to",
    "node": "int64: the number of the node that it was sent to, the last time",
    "path": f"category, how it was sent the last time: {', '.join(PATHS)}",
    "retries": "int64: how often it was sent or read again",
    "given_up": "bool: its controller had stopped waiting before the acknowledgement came",
    "reached_ns": "int64: when the node took it; 0 where none did",
    "answered_ns": "int64: when its controller had the acknowledgement, or knew that none would come",
}
"""Further columns of the invocations of a cluster, whose instants count from the arrival at a controller."""
FUNCTION_COLUMNS: Final = {
    "function": "its name",
    "memory_mb": "int64: the memory of one of its containers",
    "invocations": "int64: its invocations",
    "ran": "int64: those that came to a container; cold, prewarm, warm and thawed add up to it",
    "cold": "int64: those that waited for a container to be made",
    "prewarm": "int64: those that came into a prewarmed container",
    "warm": "int64: those that came into a warm container",
    "thawed": "int64: those that came into a paused one",
    "failed": "int64: those that spoilt their container",
    "refused": "int64: those that were refused",
    "lost": "int64: those that a cluster lost",
    "cold_share": "float64: cold of ran, 0 to 1; NaN where none ran",
    "mean_ms": "float64: mean latency of those that ran; NaN likewise",
    "p50_ms": "float64: median latency",
    "p99_ms": "float64: 99th percentile of the latency",
    "wait_mean_ms": "float64: mean wait",
    "wait_p99_ms": "float64: 99th percentile of the wait",
    "run_mean_ms": "float64: mean run",
}
SUMMARY_FIGURES: Final = {
    "invocations": "all of the workload",
    "ran": "those that came to a container",
    **{
        kind: f"those that ran {word}"
        for kind, word in zip(
            KINDS[COLD:],
            (
                "in a container made for them",
                "in a prewarmed container",
                "in a warm container",
                "in a thawed container",
            ),
            strict=True,
        )
    },
    "failed": "those whose /init or /run spoilt the container",
    "refused": "those that were refused",
    "cold_share": "cold of ran, 0 to 1",
    "init_share": "cold and prewarm of ran: those that had to initialise",
    "failed_share": "failed of ran",
    "refused_share": "refused of all invocations",
    "mean_ms": "mean latency, from arrival to the end of the run, of those that ran",
    **{f"{name}_ms": f"the latency that {100 * share:g} % don't exceed" for name, share in QUANTILES.items()},
    "wait_mean_ms": "mean wait, from arrival to dispatch (a cold start's included), of those that ran",
    **{f"wait_{name}_ms": f"the wait that {100 * share:g} % don't exceed" for name, share in QUANTILES.items()},
    "throughput_per_s": "those that ran, a second of simulated time",
    "mean_memory_mb": "memory that containers took, on the average over time",
    "memory_share": "the same, of the node's capacity",
    "memory_gb_s": "the same, times the time: what the node's memory cost",
    "starts": "containers that were started, stock and retries included",
    "evictions": "containers removed to make room",
    "removals": "containers removed for whatever reason",
    "holds": "times that reading from the topic was held, as too many waited",
    "ended_s": "simulated time until the last invocation was settled",
}
CLUSTER_FIGURES: Final = {
    "lost": "those that no node ran to an end, and none refused",
    "lost_share": "lost of all invocations",
    "overflow_share": "of those that were sent, those that went by a topic",
    "retried": "those that were sent or read more than once",
    "given_up": "those that a controller stopped waiting for",
    "imbalance": "what the node that ran most ran, over the mean of all: 1 is even",
    "answer_p50_ms": "the time from arrival to the acknowledgement that 50 % don't exceed",
    "answer_p99_ms": "the time that 99 % don't exceed",
}
"""Further figures of a cluster."""


def invocations(result: Result) -> pd.DataFrame:
    """A row for each invocation, in the order of arrival, with the columns INVOCATION_COLUMNS (and CLUSTER_COLUMNS).

    Raises SimulationError where the result kept sums instead of rows.
    """
    import numpy as np
    import pandas as pd

    rows = result.columns
    if rows is None:
        raise SimulationError("there are no rows to make a frame of: simulate without `streaming`")
    codes = np.frombuffer(rows.function, np.uint32).astype(np.int64)
    kind, outcome = np.frombuffer(rows.kind, np.uint8), np.frombuffer(rows.outcome, np.uint8)
    instants = {
        name: np.frombuffer(getattr(rows, name), np.int64).copy()
        for name in ("arrived_ns", "dispatched_ns", "began_ns", "ended_ns")
    }
    ran = kind > 0
    categories: Any = pd.Categorical.from_codes  # its stub knows no lists

    def span_ms(begin: str, end: str) -> NDArray[np.float64]:
        return np.where(ran, (instants[end] - instants[begin]) / 1e6, np.nan)

    frame = pd.DataFrame(
        {
            "function": categories(codes, categories=_names(result, codes)),
            "kind": categories(kind.astype(np.int8), categories=list(KINDS)),
            "outcome": categories(outcome.astype(np.int8), categories=list(result.outcomes)),
            **instants,
            "wait_ms": span_ms("arrived_ns", "dispatched_ns"),
            "init_ms": span_ms("dispatched_ns", "began_ns"),
            "run_ms": span_ms("began_ns", "ended_ns"),
            "latency_ms": span_ms("arrived_ns", "ended_ns"),
        }
    )
    if isinstance(rows, ClusterColumns):
        frame["controller"] = np.frombuffer(rows.controller, np.uint16).astype(np.int64)
        frame["node"] = np.frombuffer(rows.node, np.uint16).astype(np.int64)
        frame["path"] = categories(np.frombuffer(rows.path, np.uint8).astype(np.int8), categories=list(PATHS))
        frame["retries"] = np.frombuffer(rows.retries, np.uint8).astype(np.int64)
        frame["given_up"] = np.frombuffer(rows.given_up, np.uint8) > 0
        for name in ("reached_ns", "answered_ns"):
            frame[name] = np.frombuffer(getattr(rows, name), np.int64).copy()
    return frame


def functions(result: Result) -> pd.DataFrame:
    """A row for each function that was invoked, in the order of the workload, with the columns FUNCTION_COLUMNS.

    Raises SimulationError as `invocations` does.
    """
    import numpy as np

    rows = invocations(result)
    by_function = rows.groupby("function", observed=True, sort=True)
    frame = by_function.size().to_frame("invocations")
    names = rows["function"].cat.categories
    memory = {name: each.memory_mb for name, each in zip(names, result.functions, strict=False)}
    frame.insert(0, "memory_mb", [memory.get(name, 0) for name in frame.index])

    def count(which: pd.Series) -> pd.Series:
        return which.groupby(rows["function"], observed=True, sort=True).sum().astype(np.int64)

    kind, outcome = rows["kind"].cat.codes, rows["outcome"].cat.codes
    frame["ran"] = count(kind > 0)
    for name, code in (("cold", COLD), ("prewarm", PREWARM), ("warm", WARM), ("thawed", THAWED)):
        frame[name] = count(kind == code)
    frame["failed"] = count(outcome == FAILED)
    for name in ("refused", "lost"):
        frame[name] = count(outcome.isin([at for at, told in enumerate(result.outcomes) if told.startswith(name)]))
    frame["cold_share"] = (frame["cold"] / frame["ran"].where(frame["ran"] > 0)).astype(np.float64)
    for column, beginning in (("latency_ms", ""), ("wait_ms", "wait_"), ("run_ms", "run_")):
        frame[f"{beginning}mean_ms"] = by_function[column].mean()
    places = _places(frame["ran"].to_numpy(), frame["invocations"].to_numpy())
    for column, name, share in (
        ("latency_ms", "p50_ms", 0.5),
        ("latency_ms", "p99_ms", 0.99),
        ("wait_ms", "wait_p99_ms", 0.99),
    ):
        ordered = rows.sort_values(["function", column])[column].to_numpy()
        frame[name] = np.where(frame["ran"] > 0, ordered[places(share)], np.nan)
    frame = frame.reset_index()
    frame["function"] = frame["function"].astype(str)
    return frame[list(FUNCTION_COLUMNS)]


def _places(ran: NDArray[Any], of: NDArray[Any]) -> Callable[[float], NDArray[Any]]:
    """Where a quantile of each function lies, among spans in the order of functions and then of size, NaN last."""
    import numpy as np

    begins = np.cumsum(of) - of
    return lambda share: begins + np.maximum(0, np.ceil(share * ran).astype(np.int64) - 1)


def summary(result: Result) -> dict[str, float]:
    """The figures SUMMARY_FIGURES (and CLUSTER_FIGURES) by name. Sums are enough for them.

    Counts are whole numbers; shares run from 0 to 1.
    """
    ran, all_of_them = result.ran, result.invocations
    failed, refused = result.outcomes[OUTCOMES[FAILED]], result.refused
    removals = cast("dict[str, int]", result.removals)
    memory_mb = result.mean_memory_mb
    capacity_mb = result.capacity_mb if isinstance(result, ClusterResult) else result.policy.capacity_mb
    figures: dict[str, float] = {
        "invocations": all_of_them,
        "ran": ran,
        **{kind: result.kinds[kind] for kind in KINDS[COLD:]},
        "failed": failed,
        "refused": refused,
        "cold_share": result.cold_share,
        "init_share": result.init_share,
        "failed_share": failed / ran if ran else 0.0,
        "refused_share": refused / all_of_them if all_of_them else 0.0,
        "mean_ms": result.mean_latency_ns / 1e6,
        **{f"{name}_ms": result.latency_ns(share) / 1e6 for name, share in QUANTILES.items()},
        "wait_mean_ms": result.mean_wait_ns / 1e6,
        **{f"wait_{name}_ms": result.wait_ns(share) / 1e6 for name, share in QUANTILES.items()},
        "throughput_per_s": result.throughput_per_s,
        "mean_memory_mb": memory_mb,
        "memory_share": memory_mb / capacity_mb if capacity_mb else 0.0,
        "memory_gb_s": result.memory_mb_ns / 1024 / 1e9,
        "starts": result.starts,
        "evictions": removals.get("evicted", 0),
        "removals": sum(removals.values()),
        "holds": result.holds,
        "ended_s": result.ended_ns / 1e9,
    }
    if isinstance(result, ClusterResult):
        figures |= {
            "lost": result.lost,
            "lost_share": result.lost / all_of_them if all_of_them else 0.0,
            "overflow_share": result.overflow_share,
            "retried": result.retried,
            "given_up": result.given_up,
            "imbalance": result.imbalance,
            "answer_p50_ms": result.answer_ns(0.5) / 1e6,
            "answer_p99_ms": result.answer_ns(0.99) / 1e6,
        }
    return figures


def _names(result: Result, codes: NDArray[Any]) -> list[str]:
    """The functions' names by their index; a number where a result doesn't know them."""
    known = [each.name for each in result.functions]
    size = int(codes.max()) + 1 if len(codes) else 0
    return known + [f"function {index}" for index in range(len(known), size)]

"""◇ The hybrid histogram against fixed lifetimes (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020)."""

from __future__ import annotations

from bisect import bisect_left
from math import ceil

import msgspec

from invoker.policy import policyset
from invoker.policy.keepalive import FixedTtl, HybridHistogram
from invoker.policy.pausing import NeverPause
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import MINUTE_NS
from sim import Node, Result, simulate
from sim.generator import population
from sim.generator.arrivals import Renewal
from sim.headlines.findings import Measured
from sim.latency import Constant
from sim.recorder import COLD
from sim.workload import Workload

DAY_S = 86_400.0
APP_MB = 128
NOTHING = Constant(0)
ABSTRACT = Node(
    cold=NOTHING, init=NOTHING, run=NOTHING, logs=NOTHING, pause=NOTHING, thaw=NOTHING, remove=NOTHING, slowdown=()
)
"""Nothing takes time, as in the paper's own simulator."""
OVER_SHORT = "p75 cold share, fixed 10 min over histogram"
OVER_EQUAL = "p75 cold share, fixed of equal memory over histogram"
FIXED_MINUTES = (10, 30, 60, 120)
_FUNCTIONS_PER_APP = 3
"""The population is drawn by functions; there are not so many of them for each app that apps would run out."""


class HistogramAgainstFixed(msgspec.Struct, frozen=True):
    """`apps` apps for `days` days. Who is called more often than every `busy_s` on average is not simulated: it has a
    container all the time and no cold start to speak of under either policy, and is counted so."""

    apps: int = 400
    days: float = 7.0
    busy_s: float = 120.0

    @property
    def claim(self) -> str:
        """See `Headline`."""
        return (
            "At the memory of a fixed lifetime the hybrid histogram leaves less than half of the cold starts at the "
            "75th percentile of apps (Shahrad et al., Serverless in the Wild, ATC 2020)"
        )

    @property
    def setting(self) -> str:
        """See `Headline`."""
        return (
            f"{self.apps} apps of the generator for {self.days:g} days, memory without limit, no time taken by "
            "anything, each app's container its own; a fixed lifetime of equal memory is read off between "
            f"{', '.join(map(str, FIXED_MINUTES))} minutes; apps that are called every {self.busy_s:g} s or more often "
            "count as always warm"
        )

    @property
    def bounds(self) -> dict[str, float]:
        """See `Headline`."""
        return {OVER_SHORT: 2.0, OVER_EQUAL: 2.0}

    @property
    def remark(self) -> str:
        """See `Headline`."""
        return (
            "What the histogram gains comes from apps that are called regularly but seldom: it lets them go and has "
            "them back before they are called. Apps that are called at random and seldom are cold under both. With a "
            "fixed lifetime, a quarter of the apps are called so seldom that each call is cold, whatever the lifetime "
            "up to two hours: more memory buys nothing there."
        )

    def measure(self, seed: int) -> Measured:
        """See `Headline`."""
        workload, busy = self.workload(seed)
        fixed = [_figures(workload, busy, FixedTtl(ttl_ns=minutes * MINUTE_NS)) for minutes in FIXED_MINUTES]
        cold, memory_mb = _figures(workload, busy, HybridHistogram())
        equal = _between([each[1] for each in fixed], [each[0] for each in fixed], memory_mb)
        return Measured(
            {
                "p75 cold share, fixed 10 min": fixed[0][0],
                "p75 cold share, fixed of equal memory": equal,
                "p75 cold share, histogram": cold,
            },
            {
                "memory, histogram over fixed 10 min": memory_mb / fixed[0][1],
                OVER_SHORT: fixed[0][0] / cold,
                OVER_EQUAL: equal / cold,
            },
        )

    def workload(self, seed: int) -> tuple[Workload, int]:
        """Each app as one function, called as the app is; and how many busy ones there are beside them."""
        every = [one for one in population.draw(self.apps * _FUNCTIONS_PER_APP, seed) if one.leads][: self.apps]
        apps = [one for one in every if one.per_day <= DAY_S / self.busy_s]
        functions = tuple(
            msgspec.structs.replace(function, memory_mb=APP_MB, kind=f"app{at}")  # nobody takes another's container
            for at, function in enumerate(population.named(tuple(apps)))
        )
        workload = Renewal(
            functions,
            per_s=[one.per_day / DAY_S for one in apps],
            gap_cv=[one.gap_cv for one in apps],
            run_ns=[0.0] * len(apps),
            swings=[one.swings for one in apps],
            duration_s=self.days * DAY_S,
            seed=seed,
        )
        return workload, len(every) - len(apps)


def _figures(workload: Workload, busy: int, keep_alive: AnyKeepAlive) -> tuple[float, float]:
    """The 75th percentile over apps of their share of cold starts, and the mean memory in MB."""
    policy = msgspec.structs.replace(
        policyset.default(len(workload.functions) * APP_MB * 4),
        keep_alive=keep_alive,
        pausing=NeverPause(),
        starts_max=len(workload.functions),
        brief_ns=0,
    )
    result = simulate(workload, ABSTRACT, policy, 0, hashing=False)
    shares = sorted([*_cold_shares(result, len(workload.functions)), *[0.0] * busy])
    return shares[ceil(0.75 * len(shares)) - 1], result.mean_memory_mb + busy * APP_MB


def _cold_shares(result: Result, functions: int) -> list[float]:
    """Of each function that was called, the share of its calls that found no container."""
    assert result.columns is not None
    called, cold = [0] * functions, [0] * functions
    for function, kind in zip(result.columns.function, result.columns.kind, strict=True):
        called[function] += 1
        cold[function] += kind == COLD
    return [cold[at] / called[at] for at in range(functions) if called[at]]


def _between(xs: list[float], ys: list[float], x: float) -> float:
    """The value at `x` on the line through the points, which rise in x; beyond them that of the last."""
    at = bisect_left(xs, x)
    if at in (0, len(xs)):
        return ys[min(at, len(xs) - 1)]
    share = (x - xs[at - 1]) / (xs[at] - xs[at - 1])
    return ys[at - 1] + share * (ys[at] - ys[at - 1])

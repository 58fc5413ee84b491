"""◇ Greedy-Dual-Size-Frequency against a lifetime (Fuerst and Sharma, "FaasCache", ASPLOS 2021)."""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec

from invoker.policy import policyset
from invoker.policy.keepalive import GreedyDual, LruTtl
from invoker.policy.pausing import NeverPause
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import MINUTE_NS
from sim import Node, SimFunction, simulate
from sim.generator import population
from sim.generator.arrivals import Renewal
from sim.headlines.findings import Measured
from sim.headlines.histogram import DAY_S, NOTHING
from sim.latency import Constant
from sim.recorder import COLD, PREWARM
from sim.rng import sequence
from sim.workload import Workload

INIT_MU, INIT_SIGMA = 0.2965, 1.326
"""Lognormal seconds of a cold start: Huawei's regions, EuroSys 2025."""
RUN_MAX_S = 30.0
SHARES = (0.15, 0.3, 0.5)
"""The node's memory as a share of what one container of each function takes."""
FREE_START = Node(cold=NOTHING, logs=NOTHING, pause=NOTHING, thaw=NOTHING, remove=NOTHING, slowdown=())
"""All of a cold start's time is /init's, of which the policy learns."""


class GreedyDualAgainstTtl(msgspec.Struct, frozen=True):
    """`functions` functions for `hours` hours, none called more often than every `thinned_to_s` on average."""

    functions: int = 400
    hours: float = 12.0
    thinned_to_s: float = 60.0

    @property
    def claim(self) -> str:
        """See `Headline`."""
        return (
            "Greedy-Dual keep-alive spends less than a third of the time on cold starts that a lifetime of 10 minutes "
            "does on the same memory (Fuerst and Sharma, FaasCache, ASPLOS 2021)"
        )

    @property
    def setting(self) -> str:
        """See `Headline`."""
        return (
            f"{self.functions} functions of the generator for {self.hours:g} hours on one node, cold starts lognormal "
            f"with a median of {math.exp(INIT_MU):.2f} s, memory from {SHARES[0]:.0%} to {SHARES[-1]:.0%} of one "
            "container for each function; under pressure the least recently used goes where there is a lifetime; none "
            f"is called more often than every {self.thinned_to_s:g} s"
        )

    @property
    def bounds(self) -> dict[str, float]:
        """See `Headline`."""
        return {_ratio(share): 3.0 for share in SHARES}

    @property
    def remark(self) -> str:
        """See `Headline`."""
        return (
            "The gain has two sources: what is evicted under pressure (the ratio to plain LRU shows that alone), and "
            "that nothing goes for its age alone. Where memory is so short that containers rarely reach 10 minutes, "
            "only the first is left, and then the ratio is smaller on this population, whose sizes vary less than its "
            "rates."
        )

    def measure(self, seed: int) -> Measured:
        """See `Headline`."""
        workload, init_s = self.workload(seed)
        footprint_mb = sum(function.memory_mb for function in workload.functions)
        ratios: dict[str, float] = {}
        for share in SHARES:
            capacity_mb = round(footprint_mb * share)
            greedy_s = _cold_s(workload, init_s, GreedyDual(), capacity_mb)
            ratios[_ratio(share)] = _cold_s(workload, init_s, LruTtl(ttl_ns=10 * MINUTE_NS), capacity_mb) / greedy_s
            ratios[f"plain LRU over greedy-dual, {share:.0%} memory"] = (
                _cold_s(workload, init_s, LruTtl(ttl_ns=0), capacity_mb) / greedy_s
            )
        return Measured({}, ratios)

    def workload(self, seed: int) -> tuple[Workload, list[float]]:
        """The workload, and each function's cold start in seconds."""
        drawn = population.draw(self.functions, seed)
        init_s = cold_starts_s(len(drawn), seed)
        functions: list[SimFunction] = [
            msgspec.structs.replace(function, kind=f"image{at}", init=Constant(round(seconds * 1e9)))
            for at, (function, seconds) in enumerate(zip(population.named(drawn), init_s, strict=True))
        ]
        workload = Renewal(
            functions,
            per_s=[min(one.per_day / DAY_S, 1 / self.thinned_to_s) for one in drawn],
            gap_cv=[one.gap_cv for one in drawn],
            run_ns=[min(one.run_s, RUN_MAX_S) * 1e9 for one in drawn],
            swings=[one.swings for one in drawn],
            duration_s=self.hours * 3600,
            seed=seed,
        )
        return workload, init_s


def _ratio(share: float) -> str:
    return f"lifetime over greedy-dual, {share:.0%} memory"


def cold_starts_s(count: int, seed: int) -> list[float]:
    """Lognormal cold starts: one from each of as many equal shares of the distribution, in random order."""
    source = sequence(seed, "headline/cold starts")
    shares = [(at + source.random()) / count for at in range(count)]
    source.shuffle(shares)
    normal = NormalDist()
    return [round(math.exp(INIT_MU + INIT_SIGMA * normal.inv_cdf(share)), 6) for share in shares]


def _cold_s(workload: Workload, init_s: list[float], keep_alive: AnyKeepAlive, capacity_mb: int) -> float:
    """The seconds that calls waited for cold starts in all."""
    policy = msgspec.structs.replace(
        policyset.default(capacity_mb),
        keep_alive=keep_alive,
        pausing=NeverPause(),
        starts_max=len(workload.functions),
        brief_ns=0,
        queue_limit=1_000_000,
    )
    result = simulate(workload, FREE_START, policy, 0, hashing=False)
    assert result.columns is not None
    rows = zip(result.columns.function, result.columns.kind, strict=True)
    return sum(init_s[function] for function, kind in rows if kind in (COLD, PREWARM))

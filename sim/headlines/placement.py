"""◇ Placement: CH-RLU (Fuerst and Sharma, HPDC 2022) against plain hashing, Hiku (Akbari and Hauswirth, 2025) against
least connections."""

from __future__ import annotations

import msgspec

from invoker.policy import policyset
from invoker.policy.balancing import AnyBalancer, BoundedLoad, Hiku, LeastLoaded, RandomLoadUpdate, Sharding
from invoker.policy.keepalive import LruTtl
from invoker.policy.pausing import NeverPause
from invoker.policy.types import MINUTE_NS, SECOND_NS
from sim import Cluster, ClusterResult, Node, simulate_cluster
from sim.cluster import Member
from sim.generator import population
from sim.generator.arrivals import Renewal
from sim.headlines.findings import Measured
from sim.headlines.greedydual import cold_starts_s
from sim.latency import Constant
from sim.workload import Workload

NODES, CPUS = 8, 4
NODE = Node(cold=Constant(SECOND_NS // 5), cpus=CPUS, slowdown=())
RUN_S_MIN, RUN_S_MAX, INIT_S_MAX = 0.01, 10.0, 8.0
PLAIN_HASHING = BoundedLoad(bound_percent=100_000_000)
"""Consistent hashing without a bound that would ever be met."""
REPORT_NS = 5 * SECOND_NS
"""How old the news of a node's load may be."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`functions` functions that use `utilisation` of all CPUs for `minutes`; none makes more than one in `busiest` of
    the load."""

    functions: int = 400
    utilisation: float = 0.4
    minutes: float = 10.0
    busiest: int = 20

    def workload(self, seed: int) -> Workload:
        """The generator's popularity, runs and variation, its rates scaled to the load."""
        drawn = population.draw(self.functions, seed)
        runs_s = [min(max(one.run_s, RUN_S_MIN), RUN_S_MAX) for one in drawn]
        loads = [one.per_day * run_s for one, run_s in zip(drawn, runs_s, strict=True)]
        most = sum(loads) / self.busiest
        capped = [min(load, most) for load in loads]
        scale = self.utilisation * NODES * CPUS / sum(capped)
        inits_s = cold_starts_s(len(drawn), seed)
        functions = [
            msgspec.structs.replace(
                function, kind=f"image{at}", init=Constant(round(min(init_s, INIT_S_MAX) * SECOND_NS))
            )
            for at, (function, init_s) in enumerate(zip(population.named(drawn), inits_s, strict=True))
        ]
        return Renewal(
            functions,
            per_s=[load * scale / run_s for load, run_s in zip(capped, runs_s, strict=True)],
            gap_cv=[one.gap_cv for one in drawn],
            run_ns=[run_s * SECOND_NS for run_s in runs_s],
            swings=[False] * len(drawn),
            duration_s=self.minutes * 60,
            seed=seed,
        )

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"{self.functions} functions of the generator that use {self.utilisation:.0%} of {NODES} nodes with {CPUS} "
            f"CPUs each for {self.minutes:g} minutes, none more than one in {self.busiest} of it; runs share the CPUs"
        )


def placed(workload: Workload, balancer: AnyBalancer, memory_mb: int, *, reports: bool = False) -> ClusterResult:
    """The workload on the cluster, with nodes of that memory."""
    cluster = Cluster(
        nodes=(Member(node=NODE, cores=CPUS),) * NODES,
        balancer=balancer,
        report_every_ns=REPORT_NS if reports else 0,
        limit_ms=300_000,
    )
    policy = msgspec.structs.replace(
        policyset.default(memory_mb), pausing=NeverPause(), keep_alive=LruTtl(ttl_ns=10 * MINUTE_NS)
    )
    return simulate_cluster(workload, cluster, policy, 1)


HASHING_OVER = "mean latency, plain hashing over CH-RLU"
SHARDING_OVER = "mean latency, OpenWhisk's sharding over CH-RLU"


class RandomLoadUpdateAgainstHashing(msgspec.Struct, frozen=True):
    """CH-RLU, whose loads are news that is up to five seconds old."""

    load: Load = Load()
    memory_mb: int = 16_384

    @property
    def claim(self) -> str:
        """See `Headline`."""
        return (
            "Consistent hashing with random load updates halves the mean latency under OpenWhisk's balancer, which "
            "hashes too (Fuerst and Sharma, CH-RLU, HPDC 2022)"
        )

    @property
    def setting(self) -> str:
        """See `Headline`."""
        return f"{self.load.words}; {self.memory_mb} MB a node; loads are reported every {REPORT_NS // SECOND_NS} s"

    @property
    def bounds(self) -> dict[str, float]:
        """See `Headline`."""
        return {HASHING_OVER: 2.0, SHARDING_OVER: 2.0}

    @property
    def remark(self) -> str:
        """See `Headline`."""
        return (
            "Hashing alone sends a popular function to one node, which its runs then share; how bad that is depends on "
            "which functions meet on a node, so the ratio varies much between populations. Where one function has more "
            "load than the nodes of its chain can take, CH-RLU sends the rest home, and is no better."
        )

    def measure(self, seed: int) -> Measured:
        """See `Headline`."""
        workload = self.load.workload(seed)
        mean_s = {
            "plain hashing": placed(workload, PLAIN_HASHING, self.memory_mb).mean_latency_ns / 1e9,
            "sharding": placed(workload, Sharding(), self.memory_mb).mean_latency_ns / 1e9,
            "CH-RLU": placed(workload, RandomLoadUpdate(), self.memory_mb, reports=True).mean_latency_ns / 1e9,
        }
        return Measured(
            {f"mean latency, s, {name}": value for name, value in mean_s.items()},
            {
                HASHING_OVER: mean_s["plain hashing"] / mean_s["CH-RLU"],
                SHARDING_OVER: mean_s["sharding"] / mean_s["CH-RLU"],
            },
        )


COLD_OVER = "cold share, least connections over Hiku"
LATENCY_OVER = "mean latency, least connections over Hiku"


class HikuAgainstLeastConnections(msgspec.Struct, frozen=True):
    """Hiku, on nodes so small that cold starts are common."""

    load: Load = Load()
    memory_mb: int = 4_096

    @property
    def claim(self) -> str:
        """See `Headline`."""
        return (
            "Pulling takes the cold starts from 43 % to 30 % and 14.9 % off the mean latency of least connections "
            "(Akbari and Hauswirth, Hiku, 2025)"
        )

    @property
    def setting(self) -> str:
        """See `Headline`."""
        return f"{self.load.words}; {self.memory_mb} MB a node; calls come whether or not earlier ones were answered"

    @property
    def bounds(self) -> dict[str, float]:
        """See `Headline`."""
        return {COLD_OVER: 43 / 30, LATENCY_OVER: 1 / (1 - 0.149)}

    @property
    def remark(self) -> str:
        """See `Headline`."""
        return (
            "An invoker that has an idle container of the function gets the call, so fewer calls are cold. What that "
            "takes off the mean depends on how much of it is cold starts; here most of it is the runs themselves, and "
            "callers don't wait for an answer before they call again, as the paper's did."
        )

    def measure(self, seed: int) -> Measured:
        """See `Headline`."""
        workload = self.load.workload(seed)
        least = placed(workload, LeastLoaded(), self.memory_mb)
        hiku = placed(workload, Hiku(), self.memory_mb)
        return Measured(
            {
                "cold share, least connections": least.cold_share,
                "cold share, Hiku": hiku.cold_share,
                "mean latency, s, least connections": least.mean_latency_ns / 1e9,
                "mean latency, s, Hiku": hiku.mean_latency_ns / 1e9,
            },
            {
                COLD_OVER: least.cold_share / hiku.cold_share,
                LATENCY_OVER: least.mean_latency_ns / hiku.mean_latency_ns,
            },
        )

# %% [markdown]
# # A first simulation
#
# Four things make a simulation, and nothing else: a **workload** (who calls which function when), a **node** (how
# long things take there), a **policy** (what the invoker decides) and a **seed**. The policy is not a model of the
# invoker's: it is the invoker's own code.

# %%
from invoker.policy import policyset
from sim import Node, PoissonWorkload, SimFunction, simulate
from sim.latency import Exponential

SECOND_NS = 1_000_000_000

# %% [markdown]
# Thirty functions, each called at random: the first five times a second, the last once in three minutes. A run takes
# 200 ms on the average.

# %%
rates_per_s = [5 / place**2 for place in range(1, 31)]
functions = tuple(
    SimFunction(name=f"shop/f{place}", memory_mb=256, run=Exponential(0.2 * SECOND_NS)) for place in range(1, 31)
)
workload = PoissonWorkload(functions, tuple(rates_per_s), count=30_000, seed=1)

# %% [markdown]
# The node is one as we measured it: a container takes a quarter of a second to start, and starts slow each other
# down. It has 12 GB for containers, and the policies that the invoker has by default.

# %%
node = Node()
policy = policyset.default(capacity_mb=12 * 1024)
result = simulate(workload, node, policy, seed=1, sample_every_ns=10 * SECOND_NS)
result

# %% [markdown]
# Thirty thousand invocations, an hour of a node's life, in about a second. What became of them?

# %%
from sim.report import figures
from sim.report.run import run_of

run = run_of("a first simulation", result)
figures.starts_by_kind(run.invocations)

# %% [markdown]
# Nearly all came to a container that knew their code already. A container that was left alone for 150 ms is frozen,
# and thawed for the next one: that takes a fraction of a millisecond, so *thawed* is nearly as good as *warm*. A cold
# start is another matter. The next picture is about the time from the arrival until the run begins, so about
# everything but the run itself. It shows what share of the invocations begins later than a given time: follow the
# line of 1 % to the right until it meets a colour.

# %%
figures.overhead_by_kind(run.invocations)

# %% [markdown]
# And the node itself, over time. Most of what is warm is frozen; only the dark part does any work. That is what keep-
# alive costs, and why there are policies about it.

# %%
figures.memory_over_time(run.samples, run.ended_ns, run.capacity_mb)

# %% [markdown]
# ## The same again
#
# The same four things give the same decisions, to the last one. The decision hash is taken over everything that the
# policy was told and everything that it decided, with the instants; so two runs can be told equal by comparing 32
# digits.

# %%
again = simulate(workload, node, policy, seed=1)
assert again.decision_hash == result.decision_hash
result.decision_hash

# %% [markdown]
# ## What if
#
# What would it cost to let go of idle containers after half a minute, rather than after a quarter of an hour? One
# line changes; the workload and the luck stay what they were, so what differs is due to the policy.

# %%
import msgspec

from invoker.policy.keepalive import FixedTtl

hasty = msgspec.structs.replace(policy, keep_alive=FixedTtl(ttl_ns=30 * SECOND_NS))
hasty_result = simulate(workload, node, hasty, seed=1)

for name, found in (("15 min", result), ("30 s", hasty_result)):
    print(f"kept for {name:6}  {found.cold_share:6.2%} cold   {found.mean_memory_mb:5.0f} MB held")

# %%
figures.overhead_compared(
    {"kept 15 min": run.invocations, "kept 30 s": run_of("30 s", hasty_result).invocations},
)

# %% [markdown]
# Half of the memory, and 25 times the cold starts; yet only two invocations in a hundred feel them, by a quarter of a
# second. Whether that is a good trade depends on what memory costs and on who waits. The next notebook asks for
# numbers.

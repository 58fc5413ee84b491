# %% [markdown]
# # Capacity planning
#
# How much memory does a node need, so that at most one invocation in ten starts cold? Too little, and people wait;
# too much, and someone pays for containers that do nothing. A simulation answers with a number, and with how sure it
# is.

# %% [markdown]
# A scenario says what is simulated: here six hours of three hundred functions, drawn as public traces describe a
# cloud's (most are called a few times a day, a few make nearly all the calls), on a node with 2 GB for containers. In
# a file it looks the same.

# %%
from sim.scenario import of_settings

scenario = of_settings(
    {
        "workload": {"type": "azure-like", "functions": 300, "load": 0.01, "duration": "6 h", "population": 6},
        "policy": {"memory": "2 GB"},
        "seed": 1,
    }
)
print(scenario.as_yaml())
result = scenario.simulate()
result

# %% [markdown]
# ## One run is not enough
#
# The same functions, the same node; only the day is another. What comes out differs, and a plan that was made for one
# of these days would be a plan for that day.

# %%
for seed in range(1, 6):
    print(f"day {seed}: {scenario.simulate(seed).cold_share:.2%} cold")

# %% [markdown]
# ## Against memory
#
# So each size is simulated for several days, the same days for each size. The bars are 99 % intervals of the mean.

# %%
from sim.report.curves import with_intervals
from sim.statistics import replications

TARGET = 0.10
sizes_mb = [1536, 2048, 3072, 4096, 6144, 8192]
cold = {}
for size_mb in sizes_mb:
    sized = scenario.altered({"policy.memory_mb": size_mb})
    cold[size_mb] = replications([100 * sized.simulate(seed).cold_share for seed in range(1, 5)])

with_intervals(
    "Cold starts by the memory of the node",
    ("memory for containers (GB)", "cold starts (%)"),
    {"lru-ttl": [(size_mb / 1024, interval) for size_mb, interval in cold.items()]},
    target=(100 * TARGET, "target"),
)

# %%
enough_mb = next(size_mb for size_mb, interval in cold.items() if interval.high <= 100 * TARGET)
found = cold[enough_mb]
print(
    f"{enough_mb / 1024:g} GB are enough: {found.mean:.1f} % cold, and with 99 % confidence {found.high:.1f} % at most"
)

# %% [markdown]
# The curve falls steeply and then not at all: from some size on nothing is evicted any more, and what still starts
# cold was not called for longer than containers are kept. No memory helps there; only another policy would. `sim
# capacity` searches for the size by itself, to the nearest step that you name.
#
# ## What the answer looks like from inside
#
# At that size, one of the days. The dashed line is what was bought, the areas what it is used for.

# %%
from sim.report import figures
from sim.report.run import run_of

chosen = scenario.altered({"policy.memory_mb": enough_mb})
run = run_of(f"{enough_mb} MB", chosen.simulate(sample_every_ns=60 * 10**9))
figures.memory_over_time(run.samples, run.ended_ns, run.capacity_mb)

# %% [markdown]
# ## What it would cost to be wrong
#
# Half of it, and twice of it, for those who wait. The lines of the size that was chosen and of twice that lie on each
# other: the rest of the money would buy nothing.

# %%
waits = {}
for size_mb in (enough_mb // 2, enough_mb, enough_mb * 2):
    sized = scenario.altered({"policy.memory_mb": size_mb})
    waits[f"{size_mb / 1024:g} GB"] = run_of("", sized.simulate()).invocations
figures.overhead_compared(waits)

# %% [markdown]
# # Policies compared
#
# Which containers to keep when memory is short, and for how long? There is no best answer, but there are bad ones.
# Here three keep-alive policies meet the same day of the same functions, on nodes of several sizes.
#
# The workload is drawn as public traces describe a cloud's: most functions are called a few times a day, a few make
# nearly all the calls.

# %%
from sim.scenario import of_settings

scenario = of_settings(
    {
        "workload": {"type": "azure-like", "functions": 300, "load": 0.01, "duration": "6 h", "population": 6},
        "policy": {"memory": "2 GB"},
        "seed": 1,
    }
)

# %% [markdown]
# A policy is named as in the invoker's settings, and it is the same object that runs there.

# %%
for name in ("lru-ttl", "hybrid-histogram"):
    print(name, scenario.altered({"policy.keep_alive.name": name}).simulate())

# %% [markdown]
# ## What memory buys
#
# A policy that keeps more has fewer cold starts; so comparing cold starts alone would be unfair. The question is
# which policy has fewer of them *for the memory that its containers hold*. Each point is the mean of several days,
# the same ones for every policy, with its 99 % interval. On the grey line are those than which nothing is better in
# both.

# %%
from sim.planning import ScenarioMeasure, ThisProcess
from sim.report.front import POLICIES, measured

front = measured(
    ThisProcess(ScenarioMeasure(scenario)),
    policies={name: (("policy.keep_alive.name", name),) for name in POLICIES},
    capacities_mb=[2048, 3072, 4096, 8192],
    seeds=range(1, 4),
    scope="Six hours of 300 functions.",
)
front.picture()

# %%
print(front.told())

# %% [markdown]
# On a small node, learning pays: the hybrid histogram lets go of what won't be called soon, and what it foresees is
# ready without having stood there all the time. With memory to spare, it is the fixed lifetime that falls behind: it
# ends after a quarter of an hour though nobody needs the room, while greedy-dual keeps what is dear to start.
#
# ## Who pays
#
# The mean hides who waits. A point of the next picture is a function; here under the default policy, with
# room enough. Who is called less than once an hour is cold every time, unless somebody foresees it.

# %%
from sim.report import figures
from sim.report.run import run_of

roomy = scenario.altered({"policy.memory": "4 GB"})
lru = run_of("lru-ttl", roomy.simulate())
figures.functions_by_rate(lru.invocations, lru.ended_ns)

# %% [markdown]
# ## What foresight looks like
#
# The same day under two policies. The histogram has fewer cold starts, and about as many that come to a container
# which stood ready without the function's code: that code has to be loaded, which takes the 1.4 ms of the step in the
# line.

# %%
learnt = run_of("", roomy.altered({"policy.keep_alive.name": "hybrid-histogram"}).simulate())
figures.overhead_compared({"lru-ttl": lru.invocations, "hybrid-histogram": learnt.invocations})

# %% [markdown]
# A difference of one day may be luck. `sim compare` takes the differences day by day (the luck is the same for both,
# so most of it cancels out) and says with an interval whether anything is left.

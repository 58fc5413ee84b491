# %% [markdown]
# # Simulation against reality
#
# A simulator of scheduling is wrong where it thinks that things take other times than they do. So the times are
# measured on one run of a real invoker, and put to the test on *another* run, of which the simulation is told nothing
# but who called what when.
#
# Both runs are made here, with processes as containers, in a few seconds. That is enough to show how it is done, and
# not to prove anything about a node of yours: there, take the decision logs of an hour.

# %%
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import msgspec

from invoker.client import Client
from invoker.dev_process import DevProcess
from sim.rng import sequence

directory = tempfile.TemporaryDirectory()
NAPS_S = {"short": 0.02, "middle": 0.06, "long": 0.15}


def call(client, name):
    client.invoke(f"guest/{name}", msgspec.json.encode({"seconds": NAPS_S[name]}))


def live(seed, calls=60, per_s=20):
    """Run an invoker, call three functions at random instants, and give back its decision log."""
    chance = sequence(seed, "notebook")
    nap = {
        "exec": {"kind": "python:3", "code": (files("invoker.examples") / "nap.py").read_text()},
        "limits": {"memory": 128},
    }
    data_dir = Path(directory.name) / f"live-{seed}"
    with DevProcess(data_dir, ["--memory", "768MB"]) as process:
        client = Client(process.door)
        for name in NAPS_S:
            client.put(f"guest/{name}", nap, overwrite=True)
        with ThreadPoolExecutor(32) as callers:
            for _ in range(calls):
                time.sleep(chance.expovariate(per_s))
                callers.submit(call, client, chance.choices(list(NAPS_S), (5, 3, 2))[0])
        log = sorted(Path(process.page.decision_log).glob("decisions-*.jsonl"))[0]
    return Path(shutil.copy(log, Path(directory.name) / f"decisions-{seed}.jsonl"))


measured_log, tested_log = live(1), live(2)

# %% [markdown]
# ## What was measured
#
# `sim fit` does this from the command line. Each stage of a container's life has its latencies; a function that was
# called often enough has its own.

# %%
from sim.fit import fit

profile = fit([measured_log], "samples").profile
for stage, latency in profile.stages.items():
    print(f"{stage:8} {latency.n:5} times   p50 {latency.p50_ns / 1e6:8.2f} ms   p99 {latency.p99_ns / 1e6:8.2f} ms")

# %% [markdown]
# ## What is predicted
#
# The other run's arrivals, on the node that was measured, under the policies that ran. How long each run takes is
# drawn, too: the simulation doesn't know that of the other run either.

# %%
from sim import ListWorkload, simulate
from sim.traces.decisions import policies
from sim.traces.recorded import recorded
from sim.workload import DRAWN

tested = recorded(tested_log)
policy = policies(tested_log)
arrivals = [
    (at_ns, function, DRAWN) for at_ns, function in zip(tested.columns.arrived_ns, tested.columns.function, strict=True)
]
workload = ListWorkload(profile.apply(tested.functions.known), arrivals)
really = tested.result(policy)
predicted = [simulate(workload, profile.node(), policy, seed) for seed in range(20)]

# %% [markdown]
# Twenty seeds are twenty ways in which it might have gone. What really happened should look like one of them.


# %%
def figures_of(result):
    return {
        "cold starts": result.kinds["cold"],
        "mean latency (ms)": result.mean_latency_ns / 1e6,
        "p50 latency (ms)": result.latency_ns(0.5) / 1e6,
        "p95 latency (ms)": result.latency_ns(0.95) / 1e6,
        "memory held (MB)": result.mean_memory_mb,
    }


simulated = [figures_of(result) for result in predicted]
print(f"{'':20}{'live':>8}{'simulated, lowest to highest of 20':>38}")
for name, value in figures_of(really).items():
    column = [figures[name] for figures in simulated]
    print(f"{name:20}{value:8.1f}{min(column):16.1f} to {max(column):.1f}")

# %%
from sim.report import figures
from sim.report.run import run_of

figures.overhead_compared(
    {"live": run_of("live", really).invocations}
    | {f"seed {seed}": run_of("", predicted[seed]).invocations for seed in range(3)}
)

# %% [markdown]
# The line of the live run should lie among the others. Where it doesn't, something takes a time that the model
# charges elsewhere or not at all. On a machine that is busy with other things, as it is while the tests of this
# project run, the two live runs themselves differ by more than the simulation is wrong; that is why a few seconds
# prove nothing.
#
# What no log holds can't be simulated from one: how long a call is on its way to the invoker, and whether a caller
# waits for one answer before the next call. The arrivals are taken as they were.

# %% [markdown]
# ## The same, step by step
#
# One thing needs no statistics. Fed with what the live run was told, the heart decides what it decided then: not
# nearly, but exactly. What a simulation gets wrong is times, never decisions.

# %%
from invoker.replay import replay

report = replay([tested_log])
assert report.identical
print(report.verdict())
directory.cleanup()

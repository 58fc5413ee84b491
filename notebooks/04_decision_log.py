# %% [markdown]
# # A decision log, explained
#
# The invoker writes down everything that its scheduling heart was told and everything that it decided. Nothing else
# influenced it, so the log explains each decision, and can be fed to the heart again. Here a real invoker runs for a
# few seconds; its containers are processes of this machine.

# %%
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import msgspec

from invoker.client import Client
from invoker.dev_process import DevProcess

directory = tempfile.TemporaryDirectory()


def code(name):
    return {
        "exec": {"kind": "python:3", "code": (files("invoker.examples") / name).read_text()},
        "limits": {"memory": 128},
    }


def call(client, action, **parameters):
    return client.invoke(action, msgspec.json.encode(parameters))


with DevProcess(Path(directory.name), ["--memory", "384MB"]) as process:
    client = Client(process.door)
    client.put("guest/hello", code("hello.py"), overwrite=True)
    client.put("guest/nap", code("nap.py"), overwrite=True)
    for name in ("Ada", "Grace"):
        call(client, "guest/hello", name=name)
    time.sleep(0.5)  # left alone, the container is frozen
    call(client, "guest/hello", name="Edsger")
    with ThreadPoolExecutor() as pool:  # three naps at once want 384 MB: all that there is
        list(pool.map(lambda seconds: call(client, "guest/nap", seconds=seconds), (0.6, 0.3, 0.3)))
    call(client, "guest/hello", name="Barbara")
    log = sorted(Path(process.page.decision_log).glob("decisions-*.jsonl"))

# %% [markdown]
# ## What is in it
#
# The first line tells which policies ran. Each of the others is a step: the instant in nanoseconds, an event, and the
# actions that followed.

# %%
lines = log[0].read_text().splitlines()
for line in lines[:6]:
    print(line if len(line) < 150 else line[:147] + "...")

# %% [markdown]
# ## In words
#
# `invoker replay --tell` says the same for people.

# %%
from invoker import replay
from invoker.narration import Narrator

narrator = Narrator()
for decision in replay.read(log[0]):
    told = narrator.tell(decision.now_ns, decision.event, decision.actions)
    if told.clauses:
        print(f"{decision.now_ns / 1e9:8.3f} s  {'; '.join(told.clauses)}")

# %% [markdown]
# ## As a picture
#
# Each row is a container. The first stands for *hello*: it starts, runs, rests, is frozen, and runs again. Then three
# naps come at once. Each wants a container of its own, and there is memory for three in all: *hello* has to go, and
# is started anew when it is asked for once more.

# %%
from sim.report.lives import lives, lives_picture

header = msgspec.json.decode(lines[0], type=replay.Header)
table = lives(header.policies, replay.read(log[0]))
lives_picture(table, "Four greetings and three naps on 384 MB")

# %%
table.assign(ms=((table.end_ns - table.begin_ns) / 1e6).round(1)).head(8)

# %% [markdown]
# ## The same again
#
# Feed the events to the heart of today, and compare what it decides with what was written. That is the test behind
# all that is said about the simulator: what is simulated is what ships.

# %%
report = replay.replay(log)
assert report.identical
print(report.verdict())
directory.cleanup()

"""◆ Records the decision log that lies in `examples/decisions`: an `invoker dev` with too little memory for its load.

    python scripts/record_decisions.py DIRECTORY

Six functions that sleep, called by chance for two minutes. The calls are the same each time, what the machine makes of
them is not; so the log is a real one, and another recording tells of another machine.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import msgspec

from invoker.client import Client
from invoker.dev_process import DevProcess

NODE_MEMORY = "768 MB"
DURATION_S = 120.0
SEED = 5
CALLS_IN_FLIGHT_MAX = 32


class Called(NamedTuple):
    """A function: how long it usually sleeps, how often it is called, and what memory its containers have."""

    name: str
    median_s: float
    rate_per_s: float
    memory_mb: int


FUNCTIONS = (
    Called("web", 0.05, 3.0, 128),
    Called("thumb", 0.25, 1.35, 256),
    Called("mail", 0.1, 0.75, 128),
    Called("report", 0.6, 0.375, 256),
    Called("hook", 0.02, 0.45, 128),
    Called("nightly", 0.4, 0.15, 256),
)
SPREAD = 0.4
"""Of the logarithm of a run."""


def calls() -> list[tuple[float, str, float]]:
    """(instant, function, how long it sleeps), all in s, in the order of time."""
    chance = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    made: list[tuple[float, str, float]] = []
    for function in FUNCTIONS:
        at_s = chance.expovariate(function.rate_per_s)
        while at_s <= DURATION_S:
            made.append((at_s, function.name, chance.lognormvariate(0, SPREAD) * function.median_s))
            at_s += chance.expovariate(function.rate_per_s)
    return sorted(made)


def record(data_dir: Path) -> Path:
    """Serve, call, stop; the directory of the log."""
    code = files("invoker.examples").joinpath("nap.py").read_text("utf-8")
    with DevProcess(data_dir, ["--memory", NODE_MEMORY]) as process:
        client = Client(process.door)
        for function in FUNCTIONS:
            limits = {"memory": function.memory_mb, "timeout": 60_000, "logs": 256}
            action = {"exec": {"kind": "python:3", "code": code, "binary": False}, "limits": limits}
            client.put(f"guest/{function.name}", action, overwrite=True)
        began_s = time.monotonic()
        with ThreadPoolExecutor(CALLS_IN_FLIGHT_MAX) as pool:
            for at_s, name, sleeps_s in calls():
                time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                pool.submit(client.begin, f"guest/{name}", msgspec.json.encode({"seconds": round(sleeps_s, 6)}))
        directory = Path(str(process.page.decision_log))
        process.stop()  # waits for what still runs
    return directory


def main(arguments: list[str]) -> None:
    """Record into the directory that is named, in which nothing may lie yet."""
    if len(arguments) != 1 or Path(arguments[0]).exists():
        raise SystemExit("name a directory that is not there yet")
    with tempfile.TemporaryDirectory(prefix="record-decisions-") as data_dir:
        shutil.copytree(record(Path(data_dir)), arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])

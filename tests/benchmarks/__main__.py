"""Measure, and write docs/benchmarks.md and docs/simulator-benchmarks.md: `make bench`.

Exits non-zero where a target is missed. `--only simulator` needs no Docker and takes two minutes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import http_cpu, invoker_load, policy_step, simulator

DOCS = Path(__file__).parents[2] / "docs"


def machine() -> str:
    """What it is measured on, and how busy that is already."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return (
        f"Machine: {os.cpu_count()} cores ({model}), Linux {platform.release()}, Python {platform.python_version()}, "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; load average before the start "
        f"{os.getloadavg()[0]:.1f}."
    )


def docker() -> str:
    """The daemon's version."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def node(rounds: int) -> bool:
    """The invoker itself; whether all targets are met."""
    began = machine()
    measured = invoker_load.measure({"invoker": invoker_load.OURS}, rounds)["invoker"]
    verdict, good = invoker_load.verdicts(measured)
    costs = policy_step.measure_all()
    of_steps, steps_good = policy_step.verdicts(costs)
    parts = [
        "# Benchmarks",
        "",
        "Printed by `make bench`, which overwrites this page. Machines are noisy: what counts are the ratios, each",
        "taken inside one round, against the floor measured just before (the same sender calling a container's `/run`",
        "directly). `invoker serve` runs over Docker with TLS on, log line, decision log and spool written, beside a",
        "real Kafka and a CouchDB that has every action and takes all records. The simulator has a",
        "[page of its own](simulator-benchmarks.md).",
        "",
        f"{began} Docker {docker()}.",
        "",
        "## Targets",
        "",
        *verdict,
        *of_steps,
        "",
        f"## An invocation, end to end ({rounds} rounds)",
        "",
        "Times in ms, `rps` requests a second, `cpu_us` the invoker's CPU for a request in µs.",
        "",
        *invoker_load.table(measured),
        "",
        "## A step of the heart",
        "",
        *policy_step.table(costs),
        "",
        "## The HTTP server, beside aiohttp.web",
        "",
        *http_cpu.table(),
    ]
    return _write("benchmarks.md", parts) and good and steps_good


def of_simulator() -> bool:
    """The simulator; whether all targets are met."""
    began = machine()
    measured = simulator.measure()
    verdict, good = simulator.verdicts(measured)
    parts = [
        "# Benchmarks of the simulator",
        "",
        "Printed by `make bench`, or by `scripts/bench --only simulator`, which overwrites this page. The heart that",
        "ships, every decision hashed and a row kept for each invocation, on CPU time of one core; the sweep is on",
        "the clock, on all cores.",
        "",
        began,
        "",
        "## Targets",
        "",
        "| what | should be | is | |",
        "|---|---|---|---|",
        *verdict,
        "",
        "## By workload",
        "",
        *simulator.table(measured),
        "",
        *simulator.PEERS,
    ]
    return _write("simulator-benchmarks.md", parts) and good


def _write(name: str, parts: list[str]) -> bool:
    (DOCS / name).write_text("\n".join(parts) + "\n")
    print("\n".join(parts))
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("node", "simulator"))
    options = parser.parse_args()
    good = options.only == "node" or of_simulator()
    if options.only != "simulator":
        good &= node(options.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

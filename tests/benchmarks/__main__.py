"""Measure everything and write docs/benchmarks.md: `make bench`. Exits non-zero where a target is missed."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import http_cpu, invoker_load, policy_step, simulator

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def machine() -> str:
    """What it was measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    version = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, Python {platform.python_version()}, "
        f"Docker {version}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    began = machine()
    load_before = os.getloadavg()[0]
    rounds = invoker_load.measure({"invoker": invoker_load.OURS}, options.rounds)["invoker"]
    verdict, good = invoker_load.verdicts(rounds)
    costs = policy_step.measure_all()
    of_steps, steps_good = policy_step.verdicts(costs)
    simulated = simulator.measure()
    of_simulator, simulator_good = simulator.verdicts(simulated)
    parts = [
        "# Benchmarks",
        "",
        "Printed by `make bench`, which overwrites this page. Machines are noisy: what counts are the ratios, each",
        "taken inside one round, against the floor measured just before (the same sender calling a container's `/run`",
        "directly). `invoker serve` runs over Docker with TLS on, log line, decision log and spool written, beside a",
        "real Kafka and a CouchDB that has every action and takes all records.",
        "",
        f"Machine: {began}; load average before the start {load_before:.1f}.",
        "",
        "## Targets",
        "",
        *verdict,
        *of_steps,
        *of_simulator,
        "",
        f"## An invocation, end to end ({options.rounds} rounds)",
        "",
        "Times in ms, `rps` requests a second, `cpu_us` the invoker's CPU for a request in µs.",
        "",
        *invoker_load.table(rounds),
        "",
        "## A step of the heart",
        "",
        *policy_step.table(costs),
        "",
        "## The simulator, the same heart on drawn latencies",
        "",
        *simulator.table(simulated),
        "",
        "## The HTTP server, beside aiohttp.web",
        "",
        *http_cpu.table(),
    ]
    PAGE.write_text("\n".join(parts) + "\n")
    print("\n".join(parts))
    return 0 if good and steps_good and simulator_good else 1


if __name__ == "__main__":
    sys.exit(main())

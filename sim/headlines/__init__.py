"""◇ Headlines: what papers on serverless scheduling claim, tried with the policies that ship.

Each headline is a small study on the generator's workloads: two policies (or more) for each seed, a figure of each, and
the claim's own ratio. `HEADLINES` has them by name; `findings.find` runs one.
"""

from __future__ import annotations

from sim.headlines.findings import Finding, Headline, Measured, Row, find
from sim.headlines.greedydual import GreedyDualAgainstTtl
from sim.headlines.histogram import HistogramAgainstFixed
from sim.headlines.placement import HikuAgainstLeastConnections, RandomLoadUpdateAgainstHashing

HEADLINES: dict[str, Headline] = {
    "hybrid-histogram": HistogramAgainstFixed(),
    "greedy-dual": GreedyDualAgainstTtl(),
    "ch-rlu": RandomLoadUpdateAgainstHashing(),
    "hiku": HikuAgainstLeastConnections(),
}
"""The headlines by name."""

__all__ = ["HEADLINES", "Finding", "Headline", "Measured", "Row", "find"]

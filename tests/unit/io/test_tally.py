"""The hot path's counters print exactly as prometheus_client's own do."""

from __future__ import annotations

import random

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from invoker.io.metrics import RUN_S, SIZE_BYTES
from invoker.io.tally import Tallies


def test_a_tally_prints_as_the_library_prints() -> None:
    prometheus_client.disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies()
    runs = (
        tallies.histogram("run_seconds", "Runs", RUN_S),
        prometheus_client.Histogram("run_seconds", "Runs", buckets=RUN_S, registry=theirs),
    )
    sizes = (
        tallies.histogram("size_bytes", "Sizes", SIZE_BYTES),
        prometheus_client.Histogram("size_bytes", "Sizes", buckets=SIZE_BYTES, registry=theirs),
    )
    ended = tallies.counters("ended", "Ended", "status", ["good", "bad"])
    their_ended = prometheus_client.Counter("ended", "Ended", ["status"], registry=theirs)
    begun = tallies.counter("begun", "Begun"), prometheus_client.Counter("begun", "Begun", registry=theirs)
    ours.register(tallies)
    draw = random.Random(1)
    for status in ("good", "bad"):
        their_ended.labels(status)
    for number in range(1000):
        seconds, size = (
            draw.choice([0.005, draw.expovariate(2), 5000.0]),
            draw.choice([0, 512, draw.randrange(3_000_000)]),
        )
        status = "good" if number % 3 else "bad"
        for one in runs:
            one.observe(seconds)
        for one in sizes:
            one.observe(size)
        for one in begun:
            one.inc()
        ended[status].inc()
        their_ended.labels(status).inc()
    assert sorted(generate_latest(ours).splitlines()) == sorted(generate_latest(theirs).splitlines())

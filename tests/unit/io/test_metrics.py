"""Metrics: the exposition has the contract's names, labels and buckets to the letter; the page agrees with it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from invoker.io import metrics
from invoker.io.metrics import Metrics, Snapshot
from invoker.policy.outcome import Status
from scripts import metrics_page

EACH_LOOP = True
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

SHORT = "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0"
RUN = "0.005 0.01 0.1 0.25 0.5 1.0 2.5 5.0 10.0 30.0 60.0 120.0 240.0 480.0 960.0 1920.0"
SIZE = "512.0 1024.0 2048.0 4096.0 16384.0 65536.0 524288.0 1.048576e+06"
BATCH = "10.0 30.0 100.0 300.0 1000.0 3000.0 10000.0 30000.0 100000.0"

COUNTERS = {
    "counter_invoker_activation_start_total": [],
    "counter_invoker_containerStart_counter_total": [
        f'containerState="{kind}"' for kind in ("cold", "prewarm", "warm")
    ],
    "counter_activations_status_counter_total": [
        f'status="{status}"' for status in ("success", "application_error", "developer_error", "system_error")
    ],
    "counter_database_cacheHit_counter_total": [],
    "counter_database_cacheMiss_counter_total": [],
    "counter_database_getDocument_start_total": [],
    "counter_database_getDocument_error_total": [],
    "counter_database_getDocumentAttachment_start_total": [],
    "counter_database_getDocumentAttachment_error_total": [],
    "counter_database_saveDocumentBulk_start_total": [],
    "counter_database_saveDocumentBulk_error_total": [],
}
HISTOGRAMS = {
    "histogram_invoker_activationInit_finish_seconds": RUN,
    "histogram_invoker_activationRun_finish_seconds": RUN,
    "histogram_invoker_collectLogs_finish_seconds": SHORT,
    "histogram_activations_resultSize_counter_bytes": SIZE,
    "histogram_activations_logsSize_counter_bytes": SIZE,
    "histogram_invoker_docker_finish_seconds": SHORT,
    "histogram_invoker_containerPoll_finish_seconds": "0.005 0.01 0.1 0.25 0.5 1.0 2.5 5.0 10.0 20.0 30.0",
    "histogram_database_getDocument_finish_seconds": SHORT,
    "histogram_database_getDocumentAttachment_finish_seconds": SHORT,
    "histogram_database_saveDocumentBulk_finish_seconds": SHORT,
    "histogram_database_batchSize_counter": BATCH,
    "histogram_kafka_topic_start_seconds": SHORT,
}


def exposition() -> str:
    """The text after every labelled metric was touched."""
    all_metrics = Metrics()
    all_metrics.kafka_delay.labels("invoker0").observe(0.1)
    all_metrics.kafka_lag.labels("invoker0").set(3)
    return all_metrics.render().decode()


def series(text: str) -> list[str]:
    """Names with their labels."""
    return [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.contract("15")
def test_counters_have_the_contracts_names_and_labels() -> None:
    found = [one for one in series(exposition()) if one.startswith("counter_")]
    expected = [
        f"{name}{{{label}}}" if label else name for name, labels in COUNTERS.items() for label in (labels or [""])
    ]
    assert sorted(found) == sorted(expected)


@pytest.mark.contract("15")
def test_histograms_have_the_contracts_names_and_buckets() -> None:
    text = exposition()
    buckets = [one for one in series(text) if "_bucket" in one and not one.startswith("invoker_")]
    found = {one.partition("{")[0].removesuffix("_bucket") for one in buckets}
    assert found == set(HISTOGRAMS)
    for name, expected in HISTOGRAMS.items():
        edges = re.findall(rf'^{name}_bucket{{(?:[^}}]*,)?le="([^"]+)"', text, re.MULTILINE)
        assert " ".join(dict.fromkeys(edges)) == f"{expected} +Inf", name


@pytest.mark.contract("15")
def test_labels_of_histograms_and_gauges() -> None:
    found = series(exposition())
    commands = [one for one in found if one.startswith("histogram_invoker_docker_finish_seconds_count")]
    assert commands == [
        f'histogram_invoker_docker_finish_seconds_count{{cmd="{command}"}}'
        for command in ("run", "pause", "unpause", "rm")
    ]
    assert 'histogram_kafka_topic_start_seconds_count{topic="invoker0"}' in found
    assert 'gauge_kafka_topic_counter{topic="invoker0"}' in found


@pytest.mark.contract("15")
def test_there_is_nothing_but_the_contracts_ours_and_the_process() -> None:
    text = exposition()
    assert "_created" not in text
    prefixes = ("counter_", "histogram_", "gauge_kafka_topic_counter", "invoker_", "process_")
    assert all(one.startswith(prefixes) for one in series(text))
    assert "process_resident_memory_bytes" in text
    assert "process_cpu_seconds_total" in text


@pytest.mark.contract("15")
def test_children_are_bound() -> None:
    all_metrics = Metrics()
    all_metrics.activation_start.inc()
    all_metrics.container_start["warm"].inc()
    all_metrics.activation_status[Status.SYSTEM_ERROR].inc()
    all_metrics.activation_status[Status.SYSTEM_ERROR].inc()
    all_metrics.docker["rm"].observe(0.2)
    all_metrics.get_document.error.inc()
    lines = all_metrics.render().decode().splitlines()
    assert "counter_invoker_activation_start_total 1.0" in lines
    assert 'counter_invoker_containerStart_counter_total{containerState="warm"} 1.0' in lines
    assert 'counter_activations_status_counter_total{status="system_error"} 2.0' in lines
    assert 'histogram_invoker_docker_finish_seconds_bucket{cmd="rm",le="0.25"} 1.0' in lines
    assert "counter_database_getDocument_error_total 1.0" in lines


def test_two_registries_do_not_share() -> None:
    first, second = Metrics(), Metrics()
    first.activation_start.inc()
    assert b"counter_invoker_activation_start_total 0.0" in second.render()


async def test_a_scrape_shows_the_state_read_on_the_loop() -> None:
    all_metrics = Metrics()
    threads: list[asyncio.Task[None] | None] = []

    def read() -> Snapshot:
        threads.append(asyncio.current_task())
        return Snapshot({"idle": 256}, {"idle": 1, "busy": 2}, waiting=3, quarantined=4, log_lines_dropped=5)

    all_metrics.show(read)
    lines = (await all_metrics.scrape()).decode().splitlines()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert threads == [asyncio.current_task()]
    for line in (
        'invoker_memory_mebibytes{state="idle"} 256.0',
        'invoker_containers{state="busy"} 2.0',
        "invoker_waiting 3.0",
        "invoker_quarantined 4.0",
        "invoker_log_lines_dropped_total 5.0",
    ):
        assert line in lines


async def test_the_loops_lag_is_the_worst_since_the_last_scrape() -> None:
    all_metrics = Metrics()
    loop = asyncio.get_running_loop()
    all_metrics.lag.start()
    try:
        until_s = loop.time() + metrics.LAG_SAMPLE_S * 2
        while loop.time() < until_s:
            pass  # hold the loop past the sample's instant
        async with asyncio.timeout(5):
            lag_s = 0.0
            while not lag_s:
                await asyncio.sleep(0)
                lag_s = all_metrics.lag.take()
        assert metrics.LAG_SAMPLE_S / 2 < lag_s < 5
        assert all_metrics.lag.take() == 0.0
    finally:
        all_metrics.lag.stop()
        all_metrics.lag.stop()


def test_the_page_agrees_with_the_registry() -> None:
    assert PAGE.read_text("utf-8") == metrics_page.page(), "run: python -m scripts.metrics_page > docs/metrics.md"


def test_every_metric_of_ours_serves_somebody() -> None:
    """An alert or a panel; one that serves neither tells nobody anything."""
    asked = {**metrics_page.alerts(), **metrics_page.panels()}
    idle = [
        metric.name
        for metric in Metrics().registry.collect()
        if metric.name.startswith("invoker_") and not metrics_page.serving(metric.name, asked)
    ]
    assert not idle


def test_the_pages_labels_are_those_of_the_samples() -> None:
    all_metrics = Metrics()
    all_metrics.kafka_delay.labels("t").observe(1)
    all_metrics.kafka_lag.labels("t").set(1)
    all_metrics.kafka_trouble.labels("topic").inc()
    all_metrics.kafka_skipped.labels("old").inc()
    all_metrics.http_refused.labels("400").inc()
    all_metrics.handshakes_failed.labels("timeout").inc()
    all_metrics.access_refused.labels("token").inc()
    all_metrics.reloaded("tls", True)
    all_metrics.kubernetes_lists.labels("nodes").inc()
    all_metrics.kubernetes_faults.labels("nodes").inc()
    all_metrics.kubernetes_watching.labels("nodes").set(1)
    all_metrics.show(lambda: Snapshot({"idle": 1}, {"idle": 1}))
    asyncio.run(all_metrics.scrape())
    for metric in all_metrics.registry.collect():
        labels = {name for sample in metric.samples for name in sample.labels} - {"le"}
        assert labels == set(metrics.LABELS.get(metric.name, ())), metric.name
        assert metric.documentation, metric.name

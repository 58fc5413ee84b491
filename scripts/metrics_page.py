"""◆ Prints docs/metrics.md: every metric with its meaning, and the alert and the panel of the dashboard it serves.

Names and meanings are the registry's (invoker/io/metrics.py), alerts those of deploy/prometheus/alerts.yml, panels
those of deploy/grafana: `python -m scripts.metrics_page > docs/metrics.md`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from invoker.io.metrics import LABELS, UNITS, Metrics

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def alerts() -> dict[str, str]:
    """The alerts, each with its expression."""
    page: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))
    return {rule["alert"]: rule["expr"] for group in page["groups"] for rule in group["rules"]}


def panels() -> dict[str, str]:
    """The dashboard's panels, each with its expressions."""
    page: dict[str, Any] = json.loads((DEPLOY / "grafana" / "functions-invoker.json").read_text("utf-8"))
    return {panel["title"]: " ".join(target["expr"] for target in panel.get("targets", ())) for panel in page["panels"]}


def serving(name: str, expressions: dict[str, str]) -> str:
    """Who of them asks for this metric."""
    asks = re.compile(rf"\b{re.escape(name)}(_bucket|_sum|_count|_total)?\b")
    return ", ".join(who for who, expression in expressions.items() if asks.search(expression))


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "`GET /metrics` answers in Prometheus' text format 0.0.4. Names that begin with `counter_`, `histogram_`"
    yield "or `gauge_` are the reference's, for dashboards know them; `invoker_` marks this invoker's own, `process_`"
    yield "those of the process. Alerts are in `deploy/prometheus/alerts.yml`, where each says what to do; panels in"
    yield "the dashboard of `deploy/grafana`. This page is made by `python -m scripts.metrics_page`."
    yield ""
    yield "| metric | type | labels | unit | meaning | alert | panel |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    ringing, shown = alerts(), panels()
    for metric in sorted(Metrics().registry.collect(), key=lambda metric: metric.name):
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        unit = next((unit for end, unit in UNITS if metric.name.endswith(end)), "count")
        labels = ", ".join(f"`{label}`" for label in LABELS.get(metric.name, ()))
        meaning = metric.documentation.rstrip(".")
        alert, panel = serving(metric.name, ringing), serving(metric.name, shown)
        yield f"| `{name}` | {metric.type} | {labels} | {unit} | {meaning} | {alert} | {panel} |"


if __name__ == "__main__":
    sys.stdout.write(page())

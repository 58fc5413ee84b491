"""◆ Looking inside a running invoker: `/metrics`, and pages under `/debug/`.

They tell of functions and containers of all tenants, so they may be moved to a listener of their own (METRICS_PORT).
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Callable

import msgspec

from invoker.io.http.server import Exchange, Request, Router
from invoker.io.metrics import CONTENT_TYPE, Metrics, Snapshot
from invoker.policy import Pool

CONTAINERS_SHOWN_MAX = 1000
TASKS_SHOWN_MAX = 200


def snapshot(pool: Pool, log_lines_dropped: int) -> Snapshot:
    """What the gauges show of the pool."""
    memory: Counter[str] = Counter()
    containers: Counter[str] = Counter()
    for container in pool.containers.values():
        memory[container.state.value] += container.memory_mb
        containers[container.state.value] += 1
    return Snapshot(dict(memory), dict(containers), len(pool.waiting), pool.quarantined, log_lines_dropped)


class DebugApi:
    """Serves the pages. `in_flight` counts the activations under way."""

    def __init__(
        self, pool: Pool, metrics: Metrics, in_flight: Callable[[], int], engine: Callable[[], object]
    ) -> None:
        self._pool = pool
        self._metrics = metrics
        self._in_flight = in_flight
        self._engine = engine

    def register(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "/metrics", self._show_metrics)
        router.add("GET", "/debug/", self._show_index)
        router.add("GET", "/debug/pool", self._show_pool)
        router.add("GET", "/debug/tasks", self._show_tasks)

    async def _show_metrics(self, _request: Request, exchange: Exchange) -> None:
        exchange.respond(200, await self._metrics.scrape(), CONTENT_TYPE)

    def _show_index(self, _request: Request, exchange: Exchange) -> None:
        exchange.respond(200, b"/debug/pool  the pool as JSON\n/debug/tasks  asyncio's tasks and where they wait\n")

    def _show_pool(self, _request: Request, exchange: Exchange) -> None:
        """The pool's counts and containers, the first CONTAINERS_SHOWN_MAX of them."""
        pool = self._pool
        containers = [
            {
                "container": container.id,
                "state": container.state.value,
                "kind": container.stem.kind,
                "memoryMB": container.memory_mb,
                "action": f"{container.function.key.path}/{container.function.key.name}"
                if container.function
                else None,
                "namespace": container.function.key.namespace if container.function else None,
                "running": container.running,
            }
            for container in list(pool.containers.values())[:CONTAINERS_SHOWN_MAX]
        ]
        page = {
            "accounting": pool.policies.accounting,
            "capacityMB": pool.policies.capacity_mb,
            "chargedMB": pool.charged_mb,
            "waiting": len(pool.waiting),
            "quarantined": pool.quarantined,
            "draining": pool.draining,
            "inFlight": self._in_flight(),
            "engine": self._engine(),
            "containers": containers,
        }
        exchange.respond(200, msgspec.json.encode(page), "application/json")

    def _show_tasks(self, _request: Request, exchange: Exchange) -> None:
        """Where the tasks of the loop stand, as asyncio prints them."""
        text = io.StringIO()
        for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name())[:TASKS_SHOWN_MAX]:
            task.print_stack(file=text)
        exchange.respond(200, text.getvalue().encode("utf-8", "backslashreplace"))

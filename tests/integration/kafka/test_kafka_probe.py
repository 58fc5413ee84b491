"""The controllers' test action over Kafka, through a real container, though no database has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from invoker.driver import Driver
from invoker.io.docker.engine import DockerEngine
from invoker.io.kafka.probe import ProbeActions
from invoker.io.logging import Logs
from invoker.protocol.manifest import RuntimesManifest
from invoker.runner import Runner, RunnerSettings
from tests.support.body import Body
from tests.support.kafka_peers import controller, node, quick, until
from tests.support.kafka_server import Broker

pytestmark = pytest.mark.docker

KIND = "nodejs:20"
CONTROLLER_START_MS = 1_700_000_000_000


def real_body(engine: DockerEngine, image: str, instance: int) -> Body:
    """A body whose containers are Docker's, and whose actions nobody has written."""
    body = Body(instance=instance)
    manifest = RuntimesManifest({KIND: image}, {"nodejs:default": KIND}, ())
    body.driver = Driver(body.pool, engine, body.clock, manifest.image)
    body.runner = Runner(
        RunnerSettings(instance, 1 << 30),
        body.driver,
        ProbeActions(body.store, manifest.resolve, 128),
        body.store,
        manifest.resolve,
        body.clock,
        body.metrics,
        cast("Logs", body.lines),
    )
    return body


@pytest.mark.contract("3", "5")
async def test_the_test_action_runs_in_a_real_container(
    kafka: Broker, docker_engine: Callable[..., Awaitable[DockerEngine]], docker_images: dict[str, str]
) -> None:
    settings = quick(kafka.bootstrap)
    body = real_body(await docker_engine(), docker_images["nodejs:default"], settings.instance)
    probe: dict[str, Any] = {
        "action": {"path": "whisk.system", "name": "invokerHealthTestAction0", "version": "0.0.1"},
        "transid": ["sid_invokerHealth", CONTROLLER_START_MS],
        "user": {"subject": "whisk.system", "namespace": {"name": "whisk.system"}},
        "blocking": False,
        "revision": None,
    }
    async with controller(kafka.bootstrap, settings) as peer, node(settings, body) as invoker:
        told = await peer.ask(without_content=True, **probe)
        assert told["transid"] == ["sid_invokerHealth", CONTROLLER_START_MS]
        assert told["isSystemError"] is False
        assert told["instance"]["instance"] == settings.instance
        await until(lambda: bool(body.lines.completed), "it is logged")
        (line,) = body.lines.completed
        assert (line["activationStatus"], line["kind"], line["containerType"]) == ("success", KIND, "cold")
        ((record, _),) = body.store.records.values()
        assert record["response"]["result"] == {}
        assert invoker.intake.in_flight == 0
        await body.driver.drain()

"""◆ An invoker that can be killed: what reads a topic joined to containers in memory and records on disk.

    python -m tests.support.kafka_program BOOTSTRAP INSTANCE DELIVERY DIRECTORY

Prints `reading` once it does, and drains on SIGTERM. Each activation takes RUN_S in one of CONTAINERS containers.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import cast

import msgspec

from invoker.driver import Driver
from invoker.io.clock import SystemClock
from invoker.io.containers.fake import FakeEngine, Moment
from invoker.io.kafka.consumer import KafkaConsumer
from invoker.io.kafka.producer import KafkaProducer
from invoker.io.kafka.settings import Delivery, DeliverySettings, KafkaSettings
from invoker.io.logging import Logs
from invoker.io.metrics import Metrics
from invoker.io.sqlite.store import SqliteStore
from invoker.kafka_intake import KafkaIntake
from invoker.policy import Pool, policyset
from invoker.ports import ContainerSpec
from invoker.protocol.secrets import KeyRing
from invoker.runner import Runner, RunnerSettings
from tests.support.body import KIND, MEMORY_MB, Lines, Store, document

CONTAINERS = 4
INTAKE_LIMIT = 16
RUN_S = 0.01


async def gate(moment: Moment, _: ContainerSpec) -> None:
    """A run takes its time."""
    if moment == "run":
        await asyncio.sleep(RUN_S)


async def serve(bootstrap: str, instance: int, delivery: Delivery, directory: Path) -> None:
    """Until SIGTERM."""
    clock, metrics = SystemClock(), Metrics()
    policies = msgspec.structs.replace(policyset.default(CONTAINERS * MEMORY_MB), intake_limit=INTAKE_LIMIT)
    pool = Pool(policies)
    engine = FakeEngine(gate=gate)
    intake: KafkaIntake
    driver = Driver(pool, engine, clock, lambda kind: kind, hold_intake=lambda held: intake.hold(held))
    actions = Store()
    actions.actions["guest", "act"] = document()
    records = SqliteStore(directory / "records.db")
    runner = Runner(
        RunnerSettings(instance, policies.capacity_mb << 20, log_wait_s=0.05),
        driver,
        actions,
        records,
        {KIND: KIND}.get,
        clock,
        metrics,
        cast("Logs", Lines()),
    )
    settings = KafkaSettings(hosts=(bootstrap,), instance=instance, tls=False)
    consumer, producer = KafkaConsumer(settings), KafkaProducer(settings)
    intake = KafkaIntake(
        DeliverySettings(delivery=delivery, intake_limit=INTAKE_LIMIT),
        settings.topic,
        consumer,
        producer,
        runner,
        KeyRing(),
        clock,
        metrics,
        waiting=lambda: len(pool.waiting),
        running=lambda: len(pool.placed),
    )
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await records.open()
    await engine.open()
    await producer.open()
    await intake.open()
    sys.stdout.write("reading\n")
    sys.stdout.flush()
    await stopped.wait()
    await intake.finished()
    await driver.drain()
    await engine.close()
    await intake.close()
    await consumer.close()
    await producer.close()
    await records.close()


if __name__ == "__main__":
    _, bootstrap, instance, delivery, directory = sys.argv
    asyncio.run(serve(bootstrap, int(instance), cast("Delivery", delivery), Path(directory)))

"""◆ Sends activations over Kafka as a controller does, and times them until their acknowledgement.

`python -m tests.benchmarks.kafka_load BOOTSTRAP ACTION COUNT IN_FLIGHT` prints figures as tools/send does: ms, and
activations a second.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

TOPIC, ANSWERS = "invoker0", "completed0"
LIMIT_S = 30.0


def message(activation: str, action: str) -> bytes:
    """As a controller writes it."""
    return json.dumps(
        {
            "transid": ["t" + activation, time.time_ns() // 1_000_000],
            "activationId": activation,
            "rootControllerIndex": {"asString": "0"},
            "blocking": True,
            "revision": "1-x",
            "action": {"path": "guest", "name": action, "version": "0.0.1"},
            "user": {
                "subject": "guest",
                "namespace": {"name": "guest", "annotations": []},
                "authkey": {"api_key": "a:b"},
                "limits": {},
            },
            "content": {},
            "initArgs": [],
            "lockedArgs": {},
        }
    ).encode()


class Load:
    """One run of it."""

    def __init__(self, producer: AIOKafkaProducer, action: str, count: int) -> None:
        self._producer = producer
        self._action = action
        self._left = count
        self.waiting: dict[str, asyncio.Future[bool]] = {}
        self.times_ms: list[float] = []
        self.bad = 0

    async def send(self) -> None:
        """One in flight, until all are sent."""
        while self._left > 0:
            self._left -= 1
            activation = uuid.uuid4().hex
            answered = self.waiting[activation] = asyncio.get_running_loop().create_future()
            began_s = time.perf_counter()
            await self._producer.send_and_wait(TOPIC, message(activation, self._action))
            try:
                async with asyncio.timeout(LIMIT_S):
                    good = await answered
            except TimeoutError:
                good = False
            self.bad += not good
            self.times_ms.append((time.perf_counter() - began_s) * 1e3)

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        """Take the acknowledgements."""
        async for record in consumer:
            response = json.loads(record.value)["response"]
            activation = response if isinstance(response, str) else response["activationId"]
            answered = self.waiting.pop(activation, None)
            if answered is not None:
                answered.set_result(isinstance(response, str) or response["response"]["statusCode"] == 0)


async def run(bootstrap: str, action: str, count: int, in_flight: int) -> dict[str, float]:
    """Send `count`, `in_flight` at a time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(ANSWERS, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks=1)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="latest", fetch_max_wait_ms=100)
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(ANSWERS, 0)])
    await consumer.seek_to_end()
    load = Load(producer, action, count)
    listening = asyncio.create_task(load.listen(consumer))
    began_s = time.perf_counter()
    await asyncio.gather(*(load.send() for _ in range(in_flight)))
    took_s = time.perf_counter() - began_s
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await consumer.stop()
    await producer.stop()
    cuts = statistics.quantiles(load.times_ms, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "rps": count / took_s, "bad": load.bad}


def main() -> int:
    bootstrap, action, count, in_flight = sys.argv[1:]
    print(json.dumps(asyncio.run(run(bootstrap, action, int(count), int(in_flight)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

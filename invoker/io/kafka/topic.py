"""◆ The invoker's own topic: made at the start, and again whenever it turns out to be gone (contract, section 5)."""

from __future__ import annotations

from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # pyright: ignore[reportMissingTypeStubs]
from aiokafka.errors import TopicAlreadyExistsError, for_code  # pyright: ignore[reportMissingTypeStubs]

from invoker.io.kafka.link import client_arguments
from invoker.io.kafka.settings import MIB, KafkaSettings

TOPIC_SETTINGS = {
    "max.message.bytes": str(2 * MIB),
    "segment.bytes": str(512 * MIB),
    "retention.bytes": str(1024 * MIB),
    "retention.ms": str(48 * 60 * 60 * 1000),
}


async def ensure_topic(settings: KafkaSettings) -> None:
    """Create the topic: one partition, one replica. One that exists is left as it is. Raises aiokafka's errors."""
    arguments = client_arguments(settings)
    admin: Any = AIOKafkaAdminClient(**arguments)
    try:
        await admin.start()
        reply = await admin.create_topics([NewTopic(settings.topic, 1, 1, topic_configs=TOPIC_SETTINGS)])
        for _topic, code, *message in reply.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(*message)
    finally:
        await admin.close()

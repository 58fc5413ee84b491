"""◇ The settings that concern Kafka."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from invoker.config.values import Settings, hosts, setting


class KafkaSettings(Settings):
    """Where activations come from when the node is overloaded, and acknowledgements go to."""

    kafka_hosts: Annotated[tuple[str, ...], BeforeValidator(hosts), Field(min_length=1)] = setting(
        ..., "KAFKA_HOSTS", "Kafka's bootstrap servers, comma-separated", "kafka-0:9093,kafka-1:9093"
    )
    kafka_tls_server_name: str = setting(
        "kafka.openwhisk.svc.cluster.local", "KAFKA_TLS_SERVER_NAME", "Name that the brokers' certificate has to bear"
    )

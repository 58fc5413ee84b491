"""◇ The settings that concern Kafka."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from invoker.config.values import Count, OptionalPath, Settings, hosts, lower, setting


def _mechanism(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


class KafkaSettings(Settings):
    """Where activations come from when the node is overloaded, and acknowledgements go to.

    Without any of the settings that secure it, what the reference fixes in code holds: TLS with this server name.
    """

    kafka_hosts: Annotated[tuple[str, ...], BeforeValidator(hosts), Field(min_length=1)] = setting(
        ..., "KAFKA_HOSTS", "Kafka's bootstrap servers, comma-separated", "kafka-0:9093,kafka-1:9093"
    )
    kafka_security: Annotated[Literal["tls", "plaintext"], BeforeValidator(lower)] = setting(
        "tls", "KAFKA_SECURITY", "tls, or plaintext where the network is trusted"
    )
    kafka_tls_server_name: str = setting(
        "kafka.openwhisk.svc.cluster.local",
        "KAFKA_TLS_SERVER_NAME",
        "Name that the brokers' certificate has to bear; empty: the name that is connected to",
    )
    kafka_client_cert_file: OptionalPath = setting(
        "", "KAFKA_CLIENT_CERT_FILE", "Certificate to show to the brokers (PEM); empty: none", "/certs/kafka.crt"
    )
    kafka_client_key_file: OptionalPath = setting(
        "", "KAFKA_CLIENT_KEY_FILE", "That certificate's private key (PEM)", "/certs/kafka.key"
    )
    kafka_sasl_mechanism: Annotated[
        Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], BeforeValidator(_mechanism)
    ] = setting(
        "",
        "KAFKA_SASL_MECHANISM",
        "How to log in to the brokers: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: not at all",
        "SCRAM-SHA-512",
    )
    kafka_sasl_username: str = setting("", "KAFKA_SASL_USERNAME", "The user to log in as", "invoker")
    kafka_sasl_password: SecretStr = setting(
        "", "KAFKA_SASL_PASSWORD", "That user's password", "<password>", secret=True
    )
    kafka_delivery: Annotated[Literal["at-most-once", "at-least-once"], BeforeValidator(lower)] = setting(
        "at-most-once",
        "KAFKA_DELIVERY",
        "at-most-once commits a message before it runs: a crash loses what was read and not finished, at most "
        "INTAKE_LIMIT and what runs; at-least-once commits it once it is acknowledged: a crash runs some again",
    )
    kafka_uncommitted_limit: Count = setting(
        "1000",
        "KAFKA_UNCOMMITTED_LIMIT",
        "at-least-once: messages read beyond the oldest unfinished one; a crash runs at most so many again",
    )
    kafka_duplicates_window: Count = setting(
        "10000", "KAFKA_DUPLICATES_WINDOW", "at-least-once: activation ids remembered, to recognise a second copy"
    )
    kafka_pings: bool = setting(
        "false", "KAFKA_PINGS", "Whether the topic health gets a ping each second, as upstream's controllers want it"
    )

    @model_validator(mode="after")
    def _kafka_fits(self) -> Self:
        if (self.kafka_client_cert_file is None) != (self.kafka_client_key_file is None):
            raise ValueError("KAFKA_CLIENT_CERT_FILE and KAFKA_CLIENT_KEY_FILE only make sense together")
        if self.kafka_client_cert_file is not None and self.kafka_security != "tls":
            raise ValueError("KAFKA_CLIENT_CERT_FILE is shown over TLS only; set KAFKA_SECURITY=tls")
        if self.kafka_sasl_mechanism and not (self.kafka_sasl_username and self.kafka_sasl_password.get_secret_value()):
            raise ValueError("KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
        return self

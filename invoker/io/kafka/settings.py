"""◇ What the Kafka parts need to know, with the contract's defaults (sections 2 and 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from invoker.errors import PlatformFault

KIB = 1024
MIB = 1024 * KIB
SaslMechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Delivery = Literal["at-most-once", "at-least-once"]


class AnswerTooLarge(PlatformFault):
    """The broker takes no acknowledgement of this size. Its short form may still go through."""


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Brokers, how to be let in, and the limits of what goes to and fro.

    `tls_server_name` "": the name connected to is checked. `authority` is trusted beside the system's. `sasl_mechanism`
    "": no login. `record_limit_bytes` bounds a fetch and the topic's messages; `answer_limit_bytes` what is sent.
    `backoff_*_s`: waits between attempts while the brokers are away. `absent_topic_s`: how long a controller's topic
    that is not there is waited for.
    """

    hosts: tuple[str, ...]
    instance: int = 0
    tls: bool = True
    tls_server_name: str = "kafka.openwhisk.svc.cluster.local"
    authority: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    sasl_mechanism: SaslMechanism = ""
    sasl_username: str = ""
    sasl_password: str = ""
    fetch_wait_ms: int = 500
    record_limit_bytes: int = 2 * MIB
    answer_limit_bytes: int = 2 * MIB
    request_timeout_ms: int = 5_000
    probe_every_s: float = 5.0
    backoff_min_s: float = 0.1
    backoff_max_s: float = 5.0
    absent_topic_s: float = 60.0
    close_timeout_s: float = 2.0

    def __repr__(self) -> str:
        """Without the password."""
        return f"<KafkaSettings {','.join(self.hosts)} tls={self.tls} sasl={self.sasl_mechanism or 'none'}>"

    @property
    def topic(self) -> str:
        """The invoker's own topic, also its consumer group's name."""
        return f"invoker{self.instance}"

    @property
    def where(self) -> str:
        """The bootstrap servers, for people."""
        return ",".join(self.hosts)


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the intake takes messages.

    `intake_limit`: messages between the topic and a container, over all doors; the pool's own word. `answers_limit`:
    finished activations whose acknowledgement the broker has not taken yet. `uncommitted_limit` and
    `duplicates_window` only concern at-least-once. `old_ms`: a blocking message older than this is skipped.
    """

    delivery: Delivery = "at-most-once"
    intake_limit: int = 16
    answers_limit: int = 256
    uncommitted_limit: int = 1_000
    duplicates_window: int = 10_000
    old_ms: int = 10 * 60 * 1000

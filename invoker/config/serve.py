"""◇ The settings of `invoker serve`: one node of a cluster."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretBytes, model_validator

from invoker.config.cluster import ClusterSettings
from invoker.config.common import EngineSettings, LimitSettings, LogSettings, NetworkSettings, PolicySettings
from invoker.config.couchdb import CouchSettings
from invoker.config.firewall import FirewallSettings
from invoker.config.kafka import KafkaSettings
from invoker.config.listener import ListenerSettings
from invoker.config.values import SizeBytes, key_ring, manifest, setting


class ServeSettings(
    CouchSettings,
    KafkaSettings,
    ListenerSettings,
    ClusterSettings,
    FirewallSettings,
    LogSettings,
    PolicySettings,
    EngineSettings,
    NetworkSettings,
    LimitSettings,
):
    """`invoker serve`: one node of a cluster."""

    instance: Annotated[int, Field(ge=0)] = setting(..., "ID", "Instance id: the N of invokerN", "0")
    user_memory_bytes: SizeBytes = setting(..., "USER_MEMORY", "Memory that containers may reserve in all", "16 GB")
    minimum_function_memory_bytes: SizeBytes = setting(
        ...,
        "MINIMUM_FUNCTION_MEMORY",
        "Least memory of a container, so that no more than USER_MEMORY over this stand at once",
        "128 MB",
    )
    encryption_keys: Annotated[dict[str, SecretBytes], BeforeValidator(key_ring)] = setting(
        ...,
        "ENCRYPTION_KEYS",
        "Keys of encrypted parameters: JSON object, key name -> base64 of a 32-byte AES key; {} for none",
        '{"k1": "<base64 of 32 bytes>"}',
        secret=True,
    )
    runtimes_manifest: Annotated[str, BeforeValidator(manifest)] = setting(
        ...,
        "RUNTIMES_MANIFEST",
        "Runtimes and their prewarmed stock, as JSON",
        '{"runtimes": {"nodejs": [{"kind": "nodejs:14", "image": {"prefix": "p", "name": "n", "tag": "t"}}]}}',
    )

    niceness: Annotated[int, Field(ge=-20, le=19)] = setting(
        "-10",
        "NICENESS",
        "Priority of the invoker's loop for the scheduler, -20 (first) to 19: one thread serves all functions of the "
        "node and has to come to its turn beside theirs. Below 0 needs CAP_SYS_NICE, and is told where it is lacking",
    )

    @model_validator(mode="after")
    def _memory_fits(self) -> Self:
        """What only makes sense together."""
        if self.minimum_function_memory_bytes > self.user_memory_bytes:
            raise ValueError("MINIMUM_FUNCTION_MEMORY is larger than USER_MEMORY, so nothing could run")
        return self

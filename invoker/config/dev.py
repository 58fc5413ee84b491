"""◇ The settings of `invoker dev`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from invoker.config.common import EngineSettings, LimitSettings, LogSettings, NetworkSettings, PolicySettings
from invoker.config.values import (
    DurationNs,
    InterfaceName,
    OptionalPath,
    Port,
    SizeBytes,
    comma_list,
    none_if_empty,
    optional_manifest,
    setting,
)


class DevSettings(LogSettings, PolicySettings, EngineSettings, NetworkSettings, LimitSettings):
    """`invoker dev`: everything in one process on one machine."""

    http_host: str = setting("127.0.0.1", "HTTP_HOST", "Address to listen on")
    http_port: Port = setting("8080", "HTTP_PORT", "Port to listen on; 0: any free one")
    data_dir: Path = setting(
        ".invoker",
        "DATA_DIR",
        "Directory of actions and records, and of the decision log where DECISION_LOG_DIR is empty",
    )
    engine: Literal["process", "docker"] = setting(
        "process", "ENGINE", "What containers are made of: process or docker"
    )
    user_memory_bytes: SizeBytes = setting("1 GB", "USER_MEMORY", "Memory that containers may reserve in all")
    metrics_port: Annotated[Port | None, BeforeValidator(none_if_empty)] = setting(
        "", "METRICS_PORT", "Port of /metrics and /debug; empty: the same port as /invoke", "9100"
    )
    runtimes_manifest: Annotated[str | None, BeforeValidator(optional_manifest)] = setting(
        "", "RUNTIMES_MANIFEST", "Runtimes and their prewarmed stock, as JSON; empty: those that ship with the invoker"
    )
    tls_cert_file: OptionalPath = setting("", "TLS_CERT_FILE", "Certificate, PEM; empty: plain HTTP", "tls.crt")
    tls_key_file: OptionalPath = setting("", "TLS_KEY_FILE", "Its private key, PEM; empty: plain HTTP", "tls.key")
    oci_runtime: str = setting("runc", "OCI_RUNTIME", "OCI runtime of the containers, as Docker knows it")
    resolver_file: OptionalPath = setting(
        "", "RESOLVER_FILE", "Host file bound to /etc/resolv.conf; empty: none", "/etc/docker/functions.resolv.conf"
    )
    drain_delay_ns: DurationNs = setting("0", "DRAIN_DELAY", "After SIGTERM: time to go on serving", "5s")
    containers_api_host: str = setting("http://127.0.0.1:8080", "CONTAINERS_API_HOST", "Given as __OW_API_HOST")
    containers_dns_servers: Annotated[tuple[IPv4Address, ...], BeforeValidator(comma_list)] = setting(
        (), "CONTAINERS_DNS_SERVERS", "DNS servers of the containers; empty: the engine's", "10.245.0.10"
    )
    containers_network: str = setting("invoker-dev", "CONTAINERS_NETWORK", "Docker network of the containers")
    containers_subnet: IPv4Network = setting("172.29.0.0/16", "CONTAINERS_SUBNET", "That network's subnet")
    containers_bridge_name: InterfaceName = setting("br-invoker-dev", "CONTAINERS_BRIDGE_NAME", "Its bridge interface")

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE go together; give both or none")
        return self

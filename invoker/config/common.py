"""◇ The settings that `invoker serve` and `invoker dev` share."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from invoker.config.values import (
    AddressRange,
    Count,
    DurationNs,
    InterfaceName,
    OptionalPath,
    Settings,
    SizeBytes,
    address_range,
    comma_list,
    level,
    lower,
    none_if_empty,
    parse_duration_ns,
    setting,
)
from invoker.policy import policyset
from invoker.policy.policyset import AnyKeepAlive

KeepAliveName: TypeAlias = Literal[
    "lru-ttl",
    "fixed-ttl",
    "openwhisk-lru",
    "greedy-dual",
    "frequency",
    "size",
    "landlord",
    "hybrid-histogram",
    "rainbowcake",
    "cidre",
]
"""All but the oracle, which would have to know the future."""

KEEP_ALIVE_NAMES: tuple[str, ...] = get_args(KeepAliveName)


def json_object(value: str) -> str:
    """A JSON object as text, or nothing. Whether the policy has such parameters is told with the policy's name."""
    try:
        msgspec.json.decode(value or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"is no JSON object: {error}") from None
    return value


def _parameter(name: str, value: object) -> object:
    """The value; a span of time that is written with its unit in ns."""
    if not (name.endswith("_ns") and isinstance(value, str)):
        return value
    try:
        return parse_duration_ns(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


class LogSettings(Settings):
    """What is logged and how."""

    log_level: Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(level)] = setting(
        "info", "LOG_LEVEL", "Least level that is logged: debug, info, warn or error, in any letter case"
    )
    log_format: Annotated[Literal["json", "console"], BeforeValidator(lower)] = setting(
        "json", "LOG_FORMAT", "json, or console for a person (only where stdout is a terminal)"
    )


class PolicySettings(Settings):
    """How the pool decides."""

    policy: Literal["default", "reference"] = setting(
        "default",
        "POLICY",
        "default charges memory from start until removed; reference decides as the original system does",
    )
    keep_alive: KeepAliveName = setting(
        "lru-ttl",
        "KEEP_ALIVE",
        "Which idle container goes first, and what is kept for how long (docs/policies.md): "
        + ", ".join(KEEP_ALIVE_NAMES),
    )
    keep_alive_parameters: Annotated[str, AfterValidator(json_object)] = setting(
        "",
        "KEEP_ALIVE_PARAMETERS",
        "Parameters of that policy as a JSON object; spans (names in _ns) may have a unit. Empty: its defaults",
        '{"ttl_ns": "10m"}',
    )
    idle_time_ns: DurationNs = setting(
        "15m", "IDLE_TIME", "Idle containers are removed after this time, where the policy has a `ttl_ns`"
    )
    pausing: Literal["fixed", "adaptive", "never"] = setting(
        "fixed", "PAUSING", "When idle containers are frozen: fixed (after PAUSE_GRACE), adaptive or never"
    )
    pause_grace_ns: DurationNs = setting("150ms", "PAUSE_GRACE", "Idle time before a container is frozen")
    prewarm: Literal["fixed", "reactive"] = setting(
        "fixed", "PREWARM", "Stock of prewarmed containers: fixed by the manifest, or reactive to cold starts"
    )
    creates_at_a_time: Count = setting("4", "CREATES_AT_A_TIME", "Containers being created at once")
    brief_wait_ns: DurationNs = setting(
        "10ms", "BRIEF_WAIT", "No container is started to spare an invocation a wait that is expected to be this brief"
    )
    queue_limit: Count = setting("10000", "QUEUE_LIMIT", "Invocations that may wait for a container; more are refused")
    intake_limit: Count = setting("16", "INTAKE_LIMIT", "Invocations that wait before reading from the queue is held")
    intake_low: Annotated[Count | None, BeforeValidator(none_if_empty)] = setting(
        "", "INTAKE_LOW", "Invocations that may still wait when reading goes on; empty: half of INTAKE_LIMIT", "8"
    )
    queueing: Literal["fcfs", "sjf", "edf", "fair"] = setting(
        "fcfs",
        "QUEUEING",
        "Who of those who wait gets a container first: fcfs (who came first), sjf (the shortest expected stay), edf "
        "(the earliest deadline: arrival and the action's time limit) or fair (who had the smallest share)",
    )
    fair_by: Literal["function", "namespace"] = setting(
        "function", "FAIR_BY", "Between whom QUEUEING=fair is fair: function or namespace"
    )
    wait_limit_ns: DurationNs = setting(
        "0s", "WAIT_LIMIT", "An invocation that has waited so long is refused (status 3); 0s: never"
    )
    decision_log_dir: OptionalPath = setting(
        "", "DECISION_LOG_DIR", "Directory of the decision log; empty: none is written", "/var/log/invoker"
    )
    decision_log_bytes: SizeBytes = setting(
        "64 MB", "DECISION_LOG_BYTES", "Size at which a file of the decision log is closed and the next begun"
    )
    decision_log_files: Count = setting(
        "100", "DECISION_LOG_FILES", "Files of the decision log that are kept; the oldest go, and their run with them"
    )

    @model_validator(mode="after")
    def _keep_alive_is_one(self) -> Self:
        try:
            _ = self.keep_alive_policy
        except ValueError as error:
            raise ValueError(f"KEEP_ALIVE_PARAMETERS: {error}") from None
        return self

    @property
    def keep_alive_policy(self) -> AnyKeepAlive:
        """KEEP_ALIVE with its parameters; its `ttl_ns`, if it has one and it is not given, is IDLE_TIME."""
        given: dict[str, Any] = msgspec.json.decode(self.keep_alive_parameters or "{}")
        if "ttl_ns" in policyset.KEEP_ALIVES[self.keep_alive].__struct_fields__:
            given.setdefault("ttl_ns", self.idle_time_ns)
        return policyset.keep_alive(self.keep_alive, {name: _parameter(name, value) for name, value in given.items()})


class EngineSettings(Settings):
    """How containers are made."""

    oci_runtime: str = setting("runsc", "OCI_RUNTIME", "OCI runtime of the containers, as Docker knows it")
    resolver_file: OptionalPath = setting(
        "/etc/docker/functions.resolv.conf", "RESOLVER_FILE", "Host file bound to /etc/resolv.conf; empty: none"
    )
    docker_socket: Path = setting("/var/run/docker.sock", "DOCKER_SOCKET", "The Docker daemon's socket")


class LimitSettings(Settings):
    """Limits of the HTTP side, and the end."""

    body_limit_bytes: SizeBytes = setting("5 MB", "BODY_LIMIT", "Largest body of a request")
    drain_delay_ns: DurationNs = setting(
        "5s", "DRAIN_DELAY", "After SIGTERM: time to go on serving, so that controllers learn of it"
    )


class NetworkSettings(Settings):
    """The containers' network, and what containers are told of the world."""

    containers_api_host: Annotated[str, Field(min_length=1)] = setting(
        ..., "CONTAINERS_API_HOST", "Given to containers as __OW_API_HOST", "https://api.example.com"
    )
    containers_dns_servers: Annotated[tuple[IPv4Address, ...], BeforeValidator(comma_list), Field(min_length=1)] = (
        setting(..., "CONTAINERS_DNS_SERVERS", "DNS servers of the containers, comma-separated", "10.245.0.10")
    )
    containers_network: Annotated[str, Field(min_length=1)] = setting(
        ..., "CONTAINERS_NETWORK", "Docker network of the containers", "functions"
    )
    containers_subnet: IPv4Network = setting(..., "CONTAINERS_SUBNET", "That network's subnet", "172.18.0.0/16")
    containers_bridge_name: InterfaceName = setting(
        ..., "CONTAINERS_BRIDGE_NAME", "That network's bridge interface", "br-functions"
    )
    containers_addresses: Annotated[AddressRange | None, BeforeValidator(address_range)] = setting(
        "",
        "CONTAINERS_ADDRESSES",
        "Addresses that containers may have; empty: .2 to .254 of the subnet's first /24",
        "172.18.0.2-172.18.0.254",
    )

    @model_validator(mode="after")
    def _addresses_fit(self) -> Self:
        addresses = self.containers_addresses
        if addresses is not None and not (
            addresses.first in self.containers_subnet and addresses.last in self.containers_subnet
        ):
            raise ValueError(f"CONTAINERS_ADDRESSES is not inside CONTAINERS_SUBNET, {self.containers_subnet}")
        if self.containers_subnet.num_addresses < 4:
            raise ValueError("CONTAINERS_SUBNET has no address for a container; take /29 or larger")
        return self

    @property
    def addresses(self) -> AddressRange:
        """CONTAINERS_ADDRESSES, or its default: `.2` to `.254` of the subnet's first /24."""
        if self.containers_addresses is not None:
            return self.containers_addresses
        base = self.containers_subnet.network_address
        return AddressRange(base + 2, base + min(254, self.containers_subnet.num_addresses - 2))

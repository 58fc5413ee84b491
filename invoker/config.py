"""◇ Settings: what the environment may say, checked as a whole before anything starts (contract, section 2).

Names are the contract's; what the reference fixes in code is a setting here with the same default. All mistakes are
told at once, a line each, with an example of a right value; secrets appear in no text. Values come from a mapping that
is given, so neither tests nor this page's generator (`python -m invoker.config`) touch the process's environment.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, cast

from pydantic import BeforeValidator, Field, SecretBytes, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from invoker.config_values import (
    AddressRange,
    Count,
    DurationNs,
    InterfaceName,
    OptionalPath,
    Port,
    Settings,
    SizeBytes,
    address_range,
    comma_list,
    format_duration,
    hosts,
    key_ring,
    level,
    lower,
    manifest,
    none_if_empty,
    optional_manifest,
    setting,
    url,
)
from invoker.errors import SettingsError
from invoker.protocol.sizes import format_size

SIMILAR = 0.85  # how alike two names have to be to be told as a likely slip


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
    keep_alive: Literal["lru-ttl", "greedy-dual"] = setting(
        "lru-ttl", "KEEP_ALIVE", "Which idle container goes first: lru-ttl or greedy-dual"
    )
    idle_time_ns: DurationNs = setting("15m", "IDLE_TIME", "Idle containers are removed after this time")
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
    decision_log_dir: OptionalPath = setting(
        "", "DECISION_LOG_DIR", "Directory of the decision log; empty: none is written", "/var/log/invoker"
    )
    decision_log_bytes: SizeBytes = setting(
        "64 MB", "DECISION_LOG_BYTES", "Size at which a file of the decision log is closed and the next begun"
    )
    decision_log_files: Count = setting(
        "100", "DECISION_LOG_FILES", "Files of the decision log that are kept; the oldest go, and their run with them"
    )


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


class ServeSettings(LogSettings, PolicySettings, EngineSettings, NetworkSettings, LimitSettings):
    """`invoker serve`: one node of a cluster."""

    instance: Annotated[int, Field(ge=0)] = setting(..., "ID", "Instance id: the N of invokerN", "0")
    couch_url: Annotated[str, BeforeValidator(url)] = setting(
        ..., "COUCH_URL", "CouchDB's base URL, scheme and port included", "https://couchdb:6984"
    )
    couch_username: Annotated[str, Field(min_length=1)] = setting(..., "COUCH_USERNAME", "CouchDB's user", "invoker")
    couch_password: Annotated[SecretStr, Field(min_length=1)] = setting(
        ..., "COUCH_PASSWORD", "CouchDB's password", "<password>", secret=True
    )
    kafka_hosts: Annotated[tuple[str, ...], BeforeValidator(hosts), Field(min_length=1)] = setting(
        ..., "KAFKA_HOSTS", "Kafka's bootstrap servers, comma-separated", "kafka-0:9093,kafka-1:9093"
    )
    kafka_tls_server_name: str = setting(
        "kafka.openwhisk.svc.cluster.local", "KAFKA_TLS_SERVER_NAME", "Name that the brokers' certificate has to bear"
    )
    user_memory_bytes: SizeBytes = setting(..., "USER_MEMORY", "Memory that containers may reserve in all", "16 GB")
    minimum_function_memory_bytes: SizeBytes = setting(
        ..., "MINIMUM_FUNCTION_MEMORY", "Smallest memory of an action; bounds how many run at once", "128 MB"
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
    http_host: str = setting("0.0.0.0", "HTTP_HOST", "Address to listen on")  # noqa: S104 - a node agent is called from outside
    http_port: Port = setting("8443", "HTTP_PORT", "Port to listen on")
    metrics_port: Annotated[Port | None, BeforeValidator(none_if_empty)] = setting(
        "", "METRICS_PORT", "Port of /metrics and /debug; empty: the same port as /invoke", "9100"
    )
    tls_cert_file: Path = setting("/invokercerts/tls.crt", "TLS_CERT_FILE", "The listener's certificate, PEM")
    tls_key_file: Path = setting("/invokercerts/tls.key", "TLS_KEY_FILE", "Its private key, PEM, without a passphrase")
    tls_client_ca_file: OptionalPath = setting(
        "",
        "TLS_CLIENT_CA_FILE",
        "Authority whose certificate clients have to show; empty: none is asked for",
        "/certs/clients.crt",
    )
    cluster_ca_file: OptionalPath = setting(
        "/certs/ca.crt", "CLUSTER_CA_FILE", "The cluster's authority, trusted beside the system's; empty: none"
    )

    @model_validator(mode="after")
    def _memory_fits(self) -> Self:
        """What only makes sense together."""
        if self.minimum_function_memory_bytes > self.user_memory_bytes:
            raise ValueError("MINIMUM_FUNCTION_MEMORY is larger than USER_MEMORY, so nothing could run")
        return self

    @property
    def concurrent_limit(self) -> int:
        """How many invocations can run at once: USER_MEMORY / MINIMUM_FUNCTION_MEMORY."""
        return self.user_memory_bytes // self.minimum_function_memory_bytes


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


class Row(NamedTuple):
    """One setting, for people. `value` is None where only the model is described; secrets are redacted."""

    name: str
    value: str | None
    meaning: str
    default: str


PLAIN = {
    "missing": "is missing",
    "too_short": "is empty",
    "int_parsing": "is no integer",
    "string_too_short": "is empty",
    "ip_v4_network": "is no IPv4 network (address/prefix, no host bits set)",
}
Model = TypeVar("Model", bound=Settings)


def load(environ: Mapping[str, str]) -> ServeSettings:
    """The settings of `invoker serve`. Raises SettingsError, one line for each bad or missing variable."""
    return _load(ServeSettings, environ, {})


def load_dev(environ: Mapping[str, str], **options: object) -> DevSettings:
    """The settings of `invoker dev`: `options` by field names go before the environment; None means not given."""
    return _load(DevSettings, environ, {name: value for name, value in options.items() if value is not None})


def likely_slips(model: type[Settings], environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that are no setting but look like one that is not set: name -> the setting that was probably meant."""
    unset = [name for name in _fields(model) if name not in environ]
    slips: dict[str, str] = {}
    for name in environ:
        if name not in _fields(model):
            close = difflib.get_close_matches(name.upper(), unset, n=1, cutoff=SIMILAR)
            if close:
                slips[name] = close[0]
    return slips


def describe(model: type[Settings] | Settings) -> list[Row]:
    """Every setting in order, with its value where an instance is given."""
    settings = model if isinstance(model, Settings) else None
    cls = model if isinstance(model, type) else type(model)
    rows: list[Row] = []
    for attribute, info in cls.model_fields.items():
        value = None if settings is None else _shown(attribute, info, getattr(settings, attribute))
        default = "required" if info.is_required() else str(info.default)
        rows.append(Row(str(info.alias), value, info.description or "", default))
    return rows


def page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables. A wrong or missing one stops the start with one message that names all",
        "of them. Byte sizes are an integer and a unit (`B`, `KB`, `MB`, `GB`, 1024-based); spans of time a number and",
        "`ms`, `s`, `m` or `h`. This page is made by `python -m invoker.config`.",
    ]
    for title, cls in (("`invoker serve`", ServeSettings), ("`invoker dev`", DevSettings)):
        lines += ["", f"## {title}", "", "| variable | meaning | default | example |", "| --- | --- | --- | --- |"]
        for name, info in sorted(_fields(cls).items(), key=lambda item: not item[1].is_required()):
            default = "required" if info.is_required() else f"`{info.default}`" if info.default else "empty"
            lines.append(f"| `{name}` | {info.description} | {default} | `{_example(info)}` |")
    return "\n".join(lines) + "\n"


def _load(model: type[Model], environ: Mapping[str, str], options: dict[str, object]) -> Model:
    given: dict[str, Any] = {name: environ[name] for name in _fields(model) if name in environ}
    for attribute, value in options.items():
        given[str(model.model_fields[attribute].alias)] = value
    try:
        return model(**given)
    except ValidationError as error:
        lines = [*_complaints(model, error), *_slips(model, environ)]
    raise SettingsError("the settings can't be used:\n" + "\n".join(lines))


def _complaints(model: type[Settings], error: ValidationError) -> Iterator[str]:
    told: set[str] = set()
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if not detail["loc"]:  # what only makes sense together
            yield f"  {text}"
            continue
        name = str(detail["loc"][0])
        if name in told:  # one line a variable, however many parts of it are wrong
            continue
        told.add(name)
        what = PLAIN.get(detail["type"], text)
        yield f"  {name}: {what[0].lower()}{what[1:]}; for example {name}={_example(_fields(model)[name])}"


def _slips(model: type[Settings], environ: Mapping[str, str]) -> Iterator[str]:
    for name, meant in likely_slips(model, environ).items():
        yield f"  {name}: is no setting; did you mean {meant}?"


def _fields(model: type[Settings]) -> dict[str, FieldInfo]:
    return {str(info.alias): info for info in model.model_fields.values()}


def _example(info: FieldInfo) -> str:
    return str(info.examples[0]) if info.examples else ""


def _shown(attribute: str, info: FieldInfo, value: object) -> str:
    if info.json_schema_extra == {"secret": True}:
        return "[redacted]"
    if value is None:
        return ""
    if isinstance(value, tuple) and not isinstance(value, AddressRange):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    if attribute.endswith("_ns") and isinstance(value, int):
        return format_duration(value)
    if attribute.endswith("_bytes") and isinstance(value, int):
        return format_size(value)
    return str(value)


if __name__ == "__main__":
    sys.stdout.write(page())

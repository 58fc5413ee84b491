"""◇ The Docker create body: the one place that says what a function's container may do (contract, section 12).

It is made from closed, typed fields, and nothing of a request reaches it but a size and a kind's image. `is_hardened`
judges a body without regard to how it was made; a property test holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

MB = 1_048_576
CPU_SHARES_MIN = 2  # the kernel's
PIDS_MAX = 1024
FILES_MAX = 1024
NAME_PART_CHARACTERS_MAX = 100
WORK_DIRECTORY = "/tmp"  # noqa: S108 - the container's own, in memory
RESOLVER = "/etc/resolv.conf"
_OUTSIDE_NAMES = re.compile(r"[^a-zA-Z0-9_.-]")


def create_body(
    *,
    image: str,
    memory_mb: int,
    network: str,
    address: str | None,
    oci_runtime: str,
    labels: Mapping[str, str],
    resolver_file: str | None = None,
    dns_servers: Sequence[str] = (),
    api_host: str = "",
) -> dict[str, Any]:
    """The JSON of POST /containers/create. ValueError for a size below 1 MB.

    `address` is a fixed IPv4 address on `network`, None lets Docker choose. `resolver_file` is a file of the host
    that is bound over /etc/resolv.conf, None leaves Docker's own. `labels` tell whose container it is.
    """
    if memory_mb < 1:
        raise ValueError(f"a container of {memory_mb} MB can't be made")
    memory_bytes = memory_mb * MB
    host: dict[str, Any] = {
        "Runtime": oci_runtime,
        "NetworkMode": network,
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,
        "CpuShares": max(CPU_SHARES_MIN, memory_mb),
        "PidsLimit": PIDS_MAX,
        "Ulimits": [{"Name": "nofile", "Soft": FILES_MAX, "Hard": FILES_MAX}],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Tmpfs": {WORK_DIRECTORY: f"rw,exec,nosuid,nodev,size={memory_mb}m"},
        "LogConfig": {"Type": "none", "Config": {}},
        "Dns": list(dns_servers),
    }
    if resolver_file is not None:
        host["Mounts"] = [{"Type": "bind", "Source": resolver_file, "Target": RESOLVER, "ReadOnly": True}]
    return {
        "Image": image,
        "WorkingDir": WORK_DIRECTORY,
        "Env": [f"HOME={WORK_DIRECTORY}", f"__OW_API_HOST={api_host}"],
        "Labels": dict(labels),
        "HostConfig": host,
        "NetworkingConfig": {
            "EndpointsConfig": {network: {} if address is None else {"IPAMConfig": {"IPv4Address": address}}}
        },
    }


def container_name(n: int, part1: str, part2: str, prefix: str = "wsk") -> str:
    """`wsk_<n>_<part1>_<part2>`; parts lose what a name can't have, and what is over 100 characters.

    The parts are (namespace, action) or ("prewarm", kind). `n`, which counts from 1, makes the name unique.
    """
    parts = [_OUTSIDE_NAMES.sub("", part)[:NAME_PART_CHARACTERS_MAX] for part in (part1, part2)]
    return "_".join([prefix, str(n), *parts])


_PLAIN_FIELDS = frozenset({"Image", "WorkingDir", "Env", "Labels", "HostConfig", "NetworkingConfig"})
_HOST_FIELDS = frozenset(
    {"Runtime", "NetworkMode", "Memory", "MemorySwap", "CpuShares", "PidsLimit", "Ulimits", "CapDrop", "SecurityOpt"}
    | {"ReadonlyRootfs", "Tmpfs", "LogConfig", "Dns", "Mounts"}
)
_SHARED_NETWORKS = frozenset({"host", "default", "bridge", "none", ""})


def is_hardened(body: Mapping[str, Any]) -> bool:
    """Whether a container of this body is confined as the contract asks: no field beyond those, none of them loosened."""
    host = cast("Mapping[str, Any]", body.get("HostConfig", {}))
    memory_bytes = host.get("Memory", 0)
    return (
        _PLAIN_FIELDS.issuperset(body)
        and _HOST_FIELDS.issuperset(host)
        and body.get("WorkingDir") == WORK_DIRECTORY
        and host.get("CapDrop") == ["ALL"]
        and host.get("SecurityOpt") == ["no-new-privileges"]
        and host.get("ReadonlyRootfs") is True
        and host.get("LogConfig") == {"Type": "none", "Config": {}}
        and memory_bytes >= MB
        and host.get("MemorySwap") == memory_bytes
        and host.get("Tmpfs") == {WORK_DIRECTORY: f"rw,exec,nosuid,nodev,size={memory_bytes // MB}m"}
        and host.get("CpuShares") == max(CPU_SHARES_MIN, memory_bytes // MB)
        and host.get("PidsLimit") == PIDS_MAX
        and host.get("Ulimits") == [{"Name": "nofile", "Soft": FILES_MAX, "Hard": FILES_MAX}]
        and _own_network(host.get("NetworkMode"), body.get("NetworkingConfig"))
        and _only_the_resolver(host.get("Mounts", []))
    )


def _own_network(mode: object, config: object) -> bool:
    """One named network, not the host's, not another container's."""
    if not isinstance(mode, str) or mode in _SHARED_NETWORKS or mode.startswith("container:"):
        return False
    return isinstance(config, dict) and list(cast("dict[str, dict[str, Any]]", config).get("EndpointsConfig", {})) == [
        mode
    ]


def _only_the_resolver(mounts: object) -> bool:
    if not isinstance(mounts, list):
        return False
    return all(
        mount.get("Type") == "bind" and mount.get("Target") == RESOLVER and mount.get("ReadOnly") is True
        for mount in cast("list[Mapping[str, Any]]", mounts)
    )

"""◇ What Docker is asked to create for an action: a fixed, hardened body with few typed holes (contract, section 12).

User code is the adversary here, and so is whatever names it: a namespace, an action, a kind. None of them reaches any
other place than the container's name, which is stripped to harmless characters. Nothing in the body is taken over from
outside but the fields below, so no caller can loosen it; `is_hardened` says it again, from the other side, for tests
and for whoever wants to check a body before it goes to the daemon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

MEGABYTE_BYTES = 1_048_576
MEMORY_MB_MIN = 6  # the least that Docker takes
MEMORY_MB_MAX = 16 * 1024 * 1024
CPU_SHARES_MIN = 2
CPU_SHARES_MAX = 262_144
PIDS_MAX = 1024
OPEN_FILES_MAX = 1024
NAME_PART_CHARACTERS_MAX = 256

WORK_DIRECTORY = "/tmp"  # noqa: S108  (inside the container, a tmpfs of its own)
RESOLVER_TARGET = "/etc/resolv.conf"
TMPFS_FLAGS = "rw,exec,nosuid,nodev"

_NAME_STRIP = re.compile(r"[^a-zA-Z0-9_.-]")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_SHARED_NETWORKS = ("host", "none", "bridge", "default")  # Docker's own: no place of one's own, or no fixed address
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")

_BODY_KEYS = {"Image", "WorkingDir", "Env", "Labels", "Tty", "OpenStdin", "HostConfig", "NetworkingConfig"}
_HOST_KEYS = {
    "Mounts",
    "Tmpfs",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
    "LogConfig",
    "Memory",
    "MemorySwap",
    "CpuShares",
    "PidsLimit",
    "Ulimits",
    "Dns",
    "NetworkMode",
    "Runtime",
}


def create_body(
    *,
    image: str,
    memory_mb: int,
    network: str,
    address: str,
    oci_runtime: str,
    resolver_file: str | None,
    dns_servers: Sequence[str],
    api_host: str,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """The JSON of Docker's `POST /containers/create`.

    `address` is the fixed IPv4 address on `network`; `resolver_file`, a path of the host, is bound read-only over
    /etc/resolv.conf, None leaves that out. `labels` carry the owner and the instance, by which orphans are found.
    Raises ValueError for a value that would not do what it says.
    """
    if not MEMORY_MB_MIN <= memory_mb <= MEMORY_MB_MAX:
        raise ValueError(f"a container's memory is {MEMORY_MB_MIN} to {MEMORY_MB_MAX} MB, not {memory_mb}")
    if _NETWORK.fullmatch(network) is None or network in _SHARED_NETWORKS:
        raise ValueError(f"containers need a network of their own, and {network[:40]!r} is none")
    if _IPV4.fullmatch(address) is None:
        raise ValueError(f"{address[:40]!r} is no IPv4 address")
    if resolver_file is not None and not resolver_file.startswith("/"):
        raise ValueError(f"the resolver file is an absolute path of the host, not {resolver_file[:80]!r}")
    if not image or not oci_runtime:
        raise ValueError("a container needs an image and an OCI runtime")
    return {
        "Image": image,
        "WorkingDir": WORK_DIRECTORY,
        "Env": [f"HOME={WORK_DIRECTORY}", f"__OW_API_HOST={api_host}"],
        "Labels": dict(labels),
        "Tty": False,  # with a terminal the output would have no frames
        "OpenStdin": False,
        "HostConfig": _host_config(memory_mb, network, oci_runtime, resolver_file, dns_servers),
        "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": address}}}},
    }


def _host_config(
    memory_mb: int, network: str, oci_runtime: str, resolver_file: str | None, dns_servers: Sequence[str]
) -> dict[str, Any]:
    memory_bytes = memory_mb * MEGABYTE_BYTES
    return {
        # A mount of type bind: unlike the short form it fails where the file is missing, and a colon is no separator.
        "Mounts": [] if resolver_file is None else [_resolver_mount(resolver_file)],
        "Tmpfs": {WORK_DIRECTORY: f"{TMPFS_FLAGS},size={memory_mb}m"},
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "LogConfig": {"Type": "none"},
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,  # memory and swap together: so no swap
        "CpuShares": _cpu_shares(memory_mb),
        "PidsLimit": PIDS_MAX,
        "Ulimits": [{"Name": "nofile", "Soft": OPEN_FILES_MAX, "Hard": OPEN_FILES_MAX}],
        "Dns": list(dns_servers),
        "NetworkMode": network,
        "Runtime": oci_runtime,
    }


def _resolver_mount(resolver_file: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": resolver_file, "Target": RESOLVER_TARGET, "ReadOnly": True}


def _cpu_shares(memory_mb: int) -> int:
    return max(CPU_SHARES_MIN, min(memory_mb, CPU_SHARES_MAX))


def container_name(n: int, part1: str, part2: str, prefix: str = "wsk") -> str:
    """`wsk_<n>_<namespace>_<action>` or `wsk_<n>_prewarm_<kind>`; each part loses all but `[a-zA-Z0-9_.-]`.

    `n` counts from 1 and keeps names apart. A prefix that is empty then, or begins with no letter or digit (Docker
    refuses such a name), is taken as `wsk`.
    """
    head = _stripped(prefix)
    if not head[:1].isalnum():
        head = "wsk"
    return f"{head}_{n}_{_stripped(part1)}_{_stripped(part2)}"


def _stripped(part: str) -> str:
    return _NAME_STRIP.sub("", part)[:NAME_PART_CHARACTERS_MAX]


def is_hardened(body: Mapping[str, Any]) -> bool:
    """Whether a create body keeps user code in: no key that this module doesn't set, and none of them loosened."""
    host = _mapping(body.get("HostConfig"))
    if set(body) != _BODY_KEYS or set(host) != _HOST_KEYS:
        return False
    return _is_alone(body, host) and _is_unprivileged(host) and _is_bounded(host)


def _is_alone(body: Mapping[str, Any], host: Mapping[str, Any]) -> bool:
    """On one network of its own, with no file of the host but the resolver's, read-only."""
    network = host["NetworkMode"]
    endpoints = _mapping(_mapping(body["NetworkingConfig"]).get("EndpointsConfig"))
    return (
        isinstance(network, str)
        and _NETWORK.fullmatch(network) is not None
        and network not in _SHARED_NETWORKS
        and set(endpoints) == {network}
        and _is_resolver_alone(host["Mounts"])
    )


def _is_resolver_alone(mounts: object) -> bool:
    if not isinstance(mounts, list):
        return False
    found = [_mapping(mount) for mount in cast("list[object]", mounts)]
    return all(mount == _resolver_mount(str(mount.get("Source"))) for mount in found)


def _is_unprivileged(host: Mapping[str, Any]) -> bool:
    return bool(
        host["CapDrop"] == ["ALL"]
        and host["SecurityOpt"] == ["no-new-privileges"]
        and host["ReadonlyRootfs"] is True
        and host["LogConfig"] == {"Type": "none"}
    )


def _is_bounded(host: Mapping[str, Any]) -> bool:
    """Memory, its swap, the tmpfs, CPU, processes and open files are limited, and agree with each other."""
    memory_bytes = host["Memory"]
    if not isinstance(memory_bytes, int) or memory_bytes % MEGABYTE_BYTES or memory_bytes < MEGABYTE_BYTES:
        return False
    memory_mb = memory_bytes // MEGABYTE_BYTES
    return bool(
        host["MemorySwap"] == memory_bytes
        and host["Tmpfs"] == {WORK_DIRECTORY: f"{TMPFS_FLAGS},size={memory_mb}m"}
        and host["CpuShares"] == _cpu_shares(memory_mb)
        and host["PidsLimit"] == PIDS_MAX
        and host["Ulimits"] == [{"Name": "nofile", "Soft": OPEN_FILES_MAX, "Hard": OPEN_FILES_MAX}]
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}

"""The create body says what the contract says, and `is_hardened` sees each way to loosen it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from invoker.protocol.container_body import container_name, create_body, is_hardened


def body(**changed: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "image": "p/n:t",
        "memory_mb": 256,
        "network": "functions",
        "address": "172.18.0.7",
        "oci_runtime": "runsc",
        "resolver_file": "/etc/docker/functions.resolv.conf",
        "dns_servers": ["10.0.0.53"],
        "api_host": "https://api.example",
        "labels": {"owner": "us", "instance": "3"},
    }
    return create_body(**(fields | changed))


@pytest.mark.contract("12")
def test_the_whole_body() -> None:
    assert body() == {
        "Image": "p/n:t",
        "WorkingDir": "/tmp",
        "Env": ["HOME=/tmp", "__OW_API_HOST=https://api.example"],
        "Labels": {"owner": "us", "instance": "3"},
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/etc/docker/functions.resolv.conf",
                    "Target": "/etc/resolv.conf",
                    "ReadOnly": True,
                }
            ],
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=256m"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "none"},
            "Memory": 256 * 1_048_576,
            "MemorySwap": 256 * 1_048_576,
            "CpuShares": 256,
            "PidsLimit": 1024,
            "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 1024}],
            "Dns": ["10.0.0.53"],
            "NetworkMode": "functions",
            "Runtime": "runsc",
        },
        "NetworkingConfig": {"EndpointsConfig": {"functions": {"IPAMConfig": {"IPv4Address": "172.18.0.7"}}}},
    }


@pytest.mark.contract("12")
def test_without_a_resolver_file_nothing_of_the_host_is_bound() -> None:
    made = body(resolver_file=None)
    assert made["HostConfig"]["Mounts"] == []
    assert is_hardened(made)


@pytest.mark.contract("12")
def test_cpu_shares_stay_within_the_kernel_s_bounds() -> None:
    assert body(memory_mb=300_000)["HostConfig"]["CpuShares"] == 262_144
    assert is_hardened(body(memory_mb=300_000))


REFUSED: list[tuple[str, Any, str]] = [
    *(("memory_mb", value, "memory") for value in (-1, 0, 5, 1 << 40)),
    *(("network", name, "network") for name in ("", "host", "none", "bridge", "default", "container:a", "a b", "-a")),
    *(("address", text, "IPv4") for text in ("", "172.18.0", "172.18.0.256", "172.18.0.7.", "172.18.0.7\n", "::1")),
    *(("resolver_file", path, "absolute") for path in ("", "resolv.conf")),
    ("image", "", "image"),
    ("oci_runtime", "", "runtime"),
]


@pytest.mark.parametrize(("field", "value", "named"), REFUSED)
def test_what_would_not_do_what_it_says_is_refused(field: str, value: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        body(**{field: value})


LOOSENED: list[tuple[str, Any]] = [
    ("Privileged", True),
    ("CapAdd", ["SYS_ADMIN"]),
    ("CapDrop", []),
    ("CapDrop", ["NET_RAW"]),
    ("SecurityOpt", []),
    ("SecurityOpt", ["no-new-privileges", "seccomp=unconfined"]),
    ("ReadonlyRootfs", False),
    ("LogConfig", {"Type": "json-file"}),
    ("Memory", 0),
    ("Memory", 512 * 1_048_576),
    ("Memory", "268435456"),
    ("MemorySwap", -1),
    ("CpuShares", 0),
    ("PidsLimit", -1),
    ("Ulimits", []),
    ("Ulimits", [{"Name": "nofile", "Soft": 1024, "Hard": 1_048_576}]),
    ("Tmpfs", {}),
    ("Tmpfs", {"/tmp": "rw,exec,size=256m"}),
    ("Tmpfs", {"/tmp": "rw,exec,nosuid,nodev,size=256m", "/run": "rw"}),
    ("NetworkMode", "host"),
    ("NetworkMode", "container:other"),
    ("NetworkMode", "elsewhere"),
    ("NetworkMode", None),
    ("PidMode", "host"),
    ("IpcMode", "host"),
    ("Binds", ["/:/host"]),
    ("Devices", [{"PathOnHost": "/dev/kmsg"}]),
    ("Mounts", [{"Type": "bind", "Source": "/", "Target": "/host", "ReadOnly": True}]),
    ("Mounts", [{"Type": "bind", "Source": "/x", "Target": "/etc/resolv.conf", "ReadOnly": False}]),
    ("Mounts", [{"Type": "bind", "Source": "/x", "Target": "/etc/resolv.conf"}]),
    ("Mounts", "none"),
    ("Mounts", [1]),
]


@pytest.mark.parametrize(("key", "value"), LOOSENED, ids=[f"{key}={value}" for key, value in LOOSENED])
def test_each_way_to_loosen_a_body_is_seen(key: str, value: object) -> None:
    made = copy.deepcopy(body())
    assert is_hardened(made)
    made["HostConfig"][key] = value
    assert not is_hardened(made)


@pytest.mark.parametrize("key", sorted(body()["HostConfig"]))
def test_a_missing_restriction_is_seen(key: str) -> None:
    made = copy.deepcopy(body())
    del made["HostConfig"][key]
    assert not is_hardened(made)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"HostConfig": None},
        body() | {"HostConfig": []},
        body() | {"User": "root"},
        body() | {"NetworkingConfig": None},
        body() | {"NetworkingConfig": {"EndpointsConfig": {"functions": {}, "other": {}}}},
    ],
)
def test_a_body_of_another_shape_is_not_hardened(broken: dict[str, Any]) -> None:
    assert not is_hardened(broken)


@pytest.mark.contract("12")
@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ((1, "guest", "hello"), "wsk_1_guest_hello"),
        ((2, "prewarm", "nodejs:14"), "wsk_2_prewarm_nodejs14"),
        ((3, "alice@example.com", "pkg/do it"), "wsk_3_aliceexample.com_pkgdoit"),
        ((4, "ünï", "$(rm -rf)"), "wsk_4_n_rm-rf"),
        ((5, "", ""), "wsk_5__"),
        ((6, "a" * 300, "b"), f"wsk_6_{'a' * 256}_b"),
    ],
)
def test_names(parts: tuple[int, str, str], name: str) -> None:
    assert container_name(*parts) == name


@pytest.mark.parametrize(
    ("prefix", "head"), [("node7", "node7"), ("a b", "ab"), ("", "wsk"), ("-x", "wsk"), ("ü", "wsk")]
)
def test_a_prefix_that_docker_would_refuse_is_not_used(prefix: str, head: str) -> None:
    assert container_name(1, "a", "b", prefix) == f"{head}_1_a_b"

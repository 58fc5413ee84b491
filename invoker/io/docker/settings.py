"""◇ How containers are made in Docker: what may be chosen, with the contract's defaults (sections 2 and 12)."""

from __future__ import annotations

from typing import Literal

import msgspec

from invoker.io.containers.http import RESPONSE_LIMIT_BYTES
from invoker.io.docker.addresses import FIRST_OFFSET, LAST_OFFSET

OWNER_LABEL = "functions-invoker.owner"
INSTANCE_LABEL = "functions-invoker.instance"


class DockerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `DockerEngine` needs to know.

    `socket` None: from DOCKER_HOST, else the usual place. `address_first` and `address_last` count from the subnet's
    own address; `address_last` None takes the whole subnet. `resolver_file` None: no bind over /etc/resolv.conf.
    `owner` and `instance` mark the containers that are ours to remove. `creates_at_a_time` None: as many as there are
    CPUs, at most 10, for the daemon starts no more a second when asked for more at once. `freeze`: by the container's
    cgroup, by the daemon's pause, or by the cgroup where it can be reached and by the daemon elsewhere.
    """

    network: str = "functions"
    subnet: str = "172.18.0.0/16"
    bridge: str = "br-functions"
    socket: str | None = None
    api_version: str = "auto"
    address_first: int = FIRST_OFFSET
    address_last: int | None = LAST_OFFSET
    oci_runtime: str = "runsc"
    resolver_file: str | None = "/etc/docker/functions.resolv.conf"
    dns_servers: tuple[str, ...] = ()
    api_host: str = ""
    owner: str = "functions-invoker"
    instance: int = 0
    name_prefix: str = "wsk"
    creates_at_a_time: int | None = None
    command_timeout_s: float = 600.0
    ready_timeout_s: float = 30.0
    response_limit_bytes: int = RESPONSE_LIMIT_BYTES
    freeze: Literal["auto", "cgroup", "pause"] = "auto"

    @property
    def labels(self) -> dict[str, str]:
        """What every container of this invoker bears."""
        return {OWNER_LABEL: self.owner, INSTANCE_LABEL: str(self.instance)}

"""◇ How the firewall is kept: what may be chosen, with the contract's defaults (section 17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from invoker.firewall.state import Guarded
from invoker.io.docker.settings import OWNER_LABEL

FIREWALL_LABEL = "functions-invoker.firewall"
"""Marks a helper container, and whose it is. Action containers bear their instance under another label, and whoever
removes those finds no helper."""

Place = Literal["helper", "host"]
Backend = Literal["auto", "legacy", "nft"]
Outcome = Literal["unchanged", "changed", "failed"]
Operation = Literal["reconcile", "setup", "cleanup"]
Observe = Callable[[Operation, float], None]
"""Told (operation, seconds): one look at the table, the setting up and the removal of one container's own rules."""


class FirewallSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `FirewallReconciler` needs to know.

    `place`: iptables runs in a helper container in the node's network, or beside the invoker itself. `backend`: auto
    takes the one that already holds most of the node's rules, since Docker and the cluster's proxy wrote them.
    `socket` None: from DOCKER_HOST, else the usual place. `network_mode` is the helper's, in Docker's words.
    `oci_runtime` is the helper's own: it needs the node's kernel, not a sandbox's. `lock_file`: where the node's
    iptables programs take turns; None, or none there: the helper takes turns with itself alone. `role` tells two
    helpers of one invoker apart.
    """

    guarded: Guarded
    place: Place = "helper"
    backend: Backend = "auto"
    image: str = "functions-invoker/firewall:1"
    interval_s: float = 60.0
    retry_first_s: float = 1.0
    command_timeout_s: float = 20.0
    socket: str | None = None
    api_version: str = "auto"
    network_mode: str = "host"
    oci_runtime: str = "runc"
    lock_file: str | None = "/run/xtables.lock"
    owner: str = "functions-invoker"
    instance: int = 0
    name_prefix: str = "wsk"
    role: str = ""

    @property
    def name(self) -> str:
        """The helper container's name. Where action containers have a number, it has a word."""
        return f"{self.name_prefix}_firewall_{self.instance}{self.role and f'_{self.role}'}"

    @property
    def labels(self) -> dict[str, str]:
        """What the helper container bears."""
        return {OWNER_LABEL: self.owner, FIREWALL_LABEL: f"{self.instance}{self.role and f'.{self.role}'}"}

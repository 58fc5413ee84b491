"""◇ What the firewall is made from: the cluster around the node, the containers' network, one container's rules."""

from __future__ import annotations

from typing import Literal

import msgspec


class ClusterState(msgspec.Struct, frozen=True):
    """What is known of the cluster; addresses as text, IPv4 or IPv6. Empty on a machine without Kubernetes.

    `node_addresses`: the nodes' external addresses. `api_endpoints`: the endpoints of `default/kubernetes`.
    `dns_service`: the DNS service's cluster address; `dns_pods`: the addresses of its pods.
    """

    node_addresses: tuple[str, ...] = ()
    api_endpoints: tuple[str, ...] = ()
    dns_service: str | None = None
    dns_pods: tuple[str, ...] = ()


class Guarded(msgspec.Struct, frozen=True):
    """The network that is guarded: the containers' bridge interface and its subnet (CIDR).

    `resolvers`: the DNS servers that containers are told of; port 53 of each is open, wherever it is.
    `rejected`: networks (CIDR) out of reach beyond those of the contract.
    """

    bridge: str
    subnet: str
    resolvers: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()


class ContainerRule(msgspec.Struct, frozen=True):
    """One rule for what one container sends beyond its bridge; the first that fits decides, and where none does, the
    rules for all containers follow.

    `destination` is an IPv4 address or network. `ports` (first, last) are of the destination and need `protocol` tcp or
    udp.
    """

    verdict: Literal["accept", "reject"]
    destination: str = "0.0.0.0/0"
    protocol: Literal["tcp", "udp", "icmp"] | None = None
    ports: tuple[int, int] | None = None

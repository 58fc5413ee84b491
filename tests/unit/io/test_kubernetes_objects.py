"""What the firewall makes of Kubernetes' objects, read from the JSON that API servers send."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec
import pytest

from invoker.firewall.state import ClusterState
from invoker.io.kubernetes.objects import (
    EndpointSlice,
    KubernetesObject,
    Node,
    Page,
    Service,
    cluster_state,
    nodes,
    service,
    slices,
)
from tests.support import kubernetes_api as made

Item = TypeVar("Item", bound=KubernetesObject)


def read(item: type[Item], body: dict[str, Any], name: str = "one", namespace: str = "") -> Item:
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": "1"}
    return msgspec.json.decode(json.dumps({"apiVersion": "v1", **body, "metadata": metadata}), type=item)


@pytest.mark.contract("17")
def test_the_state_of_a_cluster() -> None:
    cluster = [
        made.node(("InternalIP", "10.0.0.1"), ("ExternalIP", "203.0.113.10"), ("Hostname", "node-0")),
        made.node(("ExternalIP", "203.0.113.9"), ("ExternalIP", "2001:DB8::1"), ("ExternalDNS", "node-1.example.com")),
        made.node(("ExternalIP", "not-an-address"), ("ExternalIP", "203.0.113.9")),
        {"status": {}},
        {},
    ]
    state = cluster_state(
        [read(Node, body) for body in cluster],
        [
            read(EndpointSlice, made.endpoint_slice("kubernetes", "198.51.100.2")),
            read(EndpointSlice, made.endpoint_slice("kubernetes", "198.51.100.1", ready=False)),
        ],
        [read(Service, made.service("10.245.0.10"))],
        [
            read(EndpointSlice, made.endpoint_slice("dns", "10.244.1.5", "10.244.0.5")),
            read(EndpointSlice, made.endpoint_slice("dns", "10.244.2.5", ready=None)),
            read(EndpointSlice, made.endpoint_slice("dns", "10.244.3.5", ready=False, serving=True)),
            read(EndpointSlice, made.endpoint_slice("dns", "10.244.4.5", ready=False, serving=False)),
            read(EndpointSlice, made.endpoint_slice("dns")),
        ],
    )
    assert state == ClusterState(
        node_addresses=("203.0.113.9", "203.0.113.10", "2001:db8::1"),
        api_endpoints=("198.51.100.1", "198.51.100.2"),
        dns_service="10.245.0.10",
        dns_pods=("10.244.0.5", "10.244.1.5", "10.244.2.5", "10.244.3.5"),
    )


def test_equal_clusters_are_equal_values_whatever_the_order() -> None:
    bodies = [made.node(("ExternalIP", f"203.0.113.{number}")) for number in range(9)]
    there = cluster_state([read(Node, body) for body in bodies], [], [], [])
    back = cluster_state([read(Node, body) for body in reversed(bodies)], [], [], [])
    assert there == back


@pytest.mark.parametrize("address", ["None", ""])
def test_a_service_without_an_address_has_none(address: str) -> None:
    assert cluster_state([], [], [read(Service, made.service(address))], []).dns_service is None
    assert cluster_state([], [], [], []) == ClusterState()


def test_keys() -> None:
    assert read(Node, {}, "node-0").key == "node-0"
    assert read(Service, {}, "dns", "kube-system").key == "kube-system/dns"


def test_an_empty_list_may_be_null() -> None:
    page = msgspec.json.decode(b'{"metadata": {"resourceVersion": "7"}, "items": null}', type=Page[Node])
    assert (page.metadata.resource_version, page.metadata.continue_, page.items) == ("7", "", None)


def test_what_is_asked_for() -> None:
    assert nodes().path == made.NODES
    api = slices("api_endpoints", "default", "kubernetes")
    assert (api.path, api.selector) == (made.API_SLICES, {"labelSelector": f"{made.SERVICE_OF_SLICES}=kubernetes"})
    dns = service("dns_service", "serverless-coredns", "coredns")
    assert (dns.path, dns.selector) == (made.DNS_SERVICES, {"fieldSelector": "metadata.name=coredns"})

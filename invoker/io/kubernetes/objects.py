"""◇ The few fields of Kubernetes objects that concern a node, and what the firewall makes of them.

Endpoints come as EndpointSlices (discovery.k8s.io/v1, served since Kubernetes 1.21). The older Endpoints objects are
cut off at 1000 addresses, show one address family, and are answered with a warning since 1.33. The API servers keep a
slice of `default/kubernetes` up to date, and hand-made Endpoints are mirrored into slices.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Generic, TypeVar

import msgspec

from invoker.firewall.state import ClusterState

GONE = 410
"""The status that says: the version you name is too old; list anew."""


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """What names an object. `resource_version` is opaque: it can be handed back, not compared."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class KubernetesObject(msgspec.Struct, frozen=True):
    """Any object; alone it reads a bookmark."""

    metadata: ObjectMeta

    @property
    def key(self) -> str:
        """Names it among its kind: `namespace/name`, or `name` where it is in no namespace."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


Item = TypeVar("Item", bound=KubernetesObject)


class NodeAddress(msgspec.Struct, frozen=True):
    """`type` is InternalIP, ExternalIP, Hostname or a DNS name's."""

    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True):
    """What the kubelet and the cloud say of a node."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(KubernetesObject, frozen=True):
    """A machine of the cluster."""

    status: NodeStatus = NodeStatus()


class ServiceSpec(msgspec.Struct, frozen=True):
    """`clusterIP` is an address, empty while none is assigned, or "None" for a headless service."""

    cluster_ip: str = msgspec.field(default="", name="clusterIP")


class Service(KubernetesObject, frozen=True):
    """A service's front."""

    spec: ServiceSpec = ServiceSpec()


class EndpointConditions(msgspec.Struct, frozen=True):
    """Unknown (None) counts as yes for `ready`; `serving` also holds for a pod that ends but still answers."""

    ready: bool | None = None
    serving: bool | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """One pod or server behind a service."""

    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions = EndpointConditions()

    @property
    def answers(self) -> bool:
        """Whether the service may send anything there."""
        return self.conditions.ready is not False or self.conditions.serving is True


class EndpointSlice(KubernetesObject, frozen=True):
    """A part of a service's endpoints; a service has any number of slices."""

    endpoints: tuple[Endpoint, ...] | None = None


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The list's version, and how to ask for its next page; empty at the last."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One answer to a list."""

    metadata: ListMeta
    items: tuple[Item, ...] | None = None


class Event(msgspec.Struct, frozen=True):
    """One line of a watch. `object` is the kind that is watched, or a Status where `type` is ERROR."""

    type: str
    object: msgspec.Raw


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    """`retry_after_seconds`: how long the server wants to be left alone."""

    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True):
    """The API's own words for what went wrong."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class ServerVersion(msgspec.Struct, frozen=True, rename="camel"):
    """What `/version` tells."""

    git_version: str = "unknown"


class Resource(msgspec.Struct, Generic[Item], frozen=True):
    """What is listed and watched. `name` is for people and metrics; `grant` names the permission that it takes."""

    name: str
    path: str
    item: type[Item]
    grant: str
    selector: dict[str, str] = msgspec.field(default_factory=dict[str, str])


def nodes() -> Resource[Node]:
    """Every node of the cluster."""
    return Resource("nodes", "/api/v1/nodes", Node, "nodes in all the cluster")


def service(name: str, namespace: str, service_name: str) -> Resource[Service]:
    """One service, by its name."""
    return Resource(
        name,
        f"/api/v1/namespaces/{namespace}/services",
        Service,
        f"services in namespace {namespace}",
        {"fieldSelector": f"metadata.name={service_name}"},
    )


def slices(name: str, namespace: str, service_name: str) -> Resource[EndpointSlice]:
    """The endpoint slices of one service."""
    return Resource(
        name,
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        EndpointSlice,
        f"endpointslices.discovery.k8s.io in namespace {namespace}",
        {"labelSelector": f"kubernetes.io/service-name={service_name}"},
    )


def cluster_state(
    nodes: Iterable[Node],
    api_slices: Iterable[EndpointSlice],
    dns_services: Iterable[Service],
    dns_slices: Iterable[EndpointSlice],
) -> ClusterState:
    """What the firewall has to know (contract, section 17).

    An API server that is not ready stays an endpoint, since what is to be kept from it is not its health; a DNS pod
    that answers nobody is none. What is no IP address (a host name, "None") is left out.
    """
    external = [
        address.address for node in nodes for address in node.status.addresses or () if address.type == "ExternalIP"
    ]
    cluster_addresses = _addresses(service.spec.cluster_ip for service in dns_services)
    return ClusterState(
        _addresses(external),
        _addresses(_endpoints(api_slices, all_of_them=True)),
        cluster_addresses[0] if cluster_addresses else None,
        _addresses(_endpoints(dns_slices, all_of_them=False)),
    )


def _endpoints(slices: Iterable[EndpointSlice], *, all_of_them: bool) -> Iterable[str]:
    for one in slices:
        for endpoint in one.endpoints or ():
            if all_of_them or endpoint.answers:
                yield from endpoint.addresses or ()


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that are IP addresses, in their usual spelling, each once, in order."""
    found: set[IPv4Address | IPv6Address] = set()
    for text in texts:
        try:
            found.add(ip_address(text))
        except ValueError:
            continue
    return tuple(str(address) for address in sorted(found, key=lambda address: (address.version, int(address))))

"""◇ The settings that concern the cluster around the node: its authority, and Kubernetes where there is one.

The original always runs in Kubernetes; this invoker also runs on a plain machine. So KUBERNETES decides by itself: on
in a pod, which knows the API server's address from its environment, and off elsewhere. In a pod it stays on even where
the credentials are missing: a firewall that silently knows nothing of its cluster would be worse than no start.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from invoker.config.values import DurationNs, OptionalPath, Settings, lower, setting


def namespaced(value: object) -> object:
    """`namespace/name`, both of them there and fit for a URL."""
    if isinstance(value, str):
        parts = value.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.replace("-", "").isalnum() for part in parts):
            raise ValueError("is not namespace/name")
    return value


class ClusterSettings(Settings):
    """What the node knows of its cluster."""

    cluster_ca_file: OptionalPath = setting(
        "/certs/ca.crt", "CLUSTER_CA_FILE", "The cluster's authority, trusted beside the system's; empty: none"
    )
    kubernetes: Annotated[Literal["auto", "on", "off"], BeforeValidator(lower)] = setting(
        "auto", "KUBERNETES", "Watch the cluster for the firewall: on, off, or auto, which is on in a pod"
    )
    kubernetes_service_host: str = setting(
        "", "KUBERNETES_SERVICE_HOST", "The API server's address; the kubelet sets it in every pod", "10.245.0.1"
    )
    kubernetes_service_port: Annotated[int, Field(ge=1, le=65535)] = setting(
        "443", "KUBERNETES_SERVICE_PORT", "Its port; the kubelet sets this too"
    )
    kubernetes_credentials_dir: str = setting(
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "KUBERNETES_CREDENTIALS_DIR",
        "Directory of the service account's token and ca.crt, both read again when replaced",
    )
    kubernetes_dns_service: Annotated[str, BeforeValidator(namespaced)] = setting(
        "serverless-coredns/serverless-coredns",
        "KUBERNETES_DNS_SERVICE",
        "The DNS service that containers may reach, namespace/name",
    )
    kubernetes_open_timeout_ns: Annotated[DurationNs, Field(gt=0)] = setting(
        "30s", "KUBERNETES_OPEN_TIMEOUT", "At the start: time for the first complete list of the cluster"
    )
    kubernetes_resync_ns: Annotated[DurationNs, Field(gt=0)] = setting(
        "10m",
        "KUBERNETES_RESYNC",
        "The cluster is listed anew after this time, or up to twice as much, even if all is well",
    )

    @model_validator(mode="after")
    def _server_is_known(self) -> Self:
        if self.kubernetes == "on" and not self.kubernetes_service_host:
            raise ValueError(
                "KUBERNETES is on, but KUBERNETES_SERVICE_HOST, which the kubelet sets in a pod, is empty: give it, or "
                "set KUBERNETES=off"
            )
        return self

    @property
    def kubernetes_url(self) -> str | None:
        """Where the API server is; None where no cluster is to be watched."""
        host = self.kubernetes_service_host
        if self.kubernetes == "off" or not host:
            return None
        return f"https://{f'[{host}]' if ':' in host else host}:{self.kubernetes_service_port}"

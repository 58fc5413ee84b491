"""◇ The settings that concern the cluster around the node: its authority, Kubernetes, the firewall."""

from __future__ import annotations

from invoker.config.values import OptionalPath, Settings, setting


class ClusterSettings(Settings):
    """What the node knows of its cluster."""

    cluster_ca_file: OptionalPath = setting(
        "/certs/ca.crt", "CLUSTER_CA_FILE", "The cluster's authority, trusted beside the system's; empty: none"
    )

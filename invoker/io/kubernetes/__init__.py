"""◆ Kubernetes: what the cluster around the node looks like, watched."""

"""◇ Workloads made from a seed: like a cloud, by a process, or from other workloads."""

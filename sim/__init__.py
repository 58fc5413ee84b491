"""◇ The simulator: the production heart (`invoker.policy`) driven by drawn latencies instead of containers."""

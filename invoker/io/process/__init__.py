"""◆ Processes: the engine that needs no daemon, for development."""

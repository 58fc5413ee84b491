"""◆ Docker: the engine that makes real containers, over the daemon's API."""

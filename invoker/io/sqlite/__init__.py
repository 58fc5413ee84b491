"""◆ SQLite: the embedded store of `invoker dev`."""

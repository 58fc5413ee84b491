"""◆ The doors of `invoker dev`: its API for the other commands, its documents, the page that tells where it is."""

"""◆ One module a command. What is heavy is imported inside, so that `--help` is quick and a server stays small."""

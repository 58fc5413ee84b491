"""◆ The commands of `loadtest`, a module for each; they stay thin."""

"""◆ The commands of `sim`, a module each, and thin: what they do is importable, as the README shows."""

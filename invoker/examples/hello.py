# ruff: noqa: T201 - what a function prints is its log
"""◇ Greets, and counts: what a module keeps lives as long as its container, so a warm one goes on counting."""

greeted = 0


def main(args: dict[str, object]) -> dict[str, object]:
    """`name` -> a greeting."""
    global greeted  # noqa: PLW0603 - that it stays is what the example shows
    greeted += 1
    name = args.get("name", "world")
    print(f"greeting {name}, number {greeted} of this container")
    return {"greeting": f"Hello, {name}!", "greeted": greeted}

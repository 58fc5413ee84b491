"""◇ Has a defect: an exception that nobody catches is the developer's error."""


def main(args: dict[str, object]) -> dict[str, object]:
    """`of` -> its first word; an empty text has none."""
    words = str(args.get("of", "")).split()
    return {"first": words[0]}

# ruff: noqa: T201 - what a function prints is its log
"""◇ Eats memory until it gets no more: the limit of its container ends it."""

MB = 1_048_576


def main(args: dict[str, object]) -> dict[str, object]:
    """`megabytes` -> that it got them all."""
    eaten: list[bytearray] = []
    for number in range(int(str(args.get("megabytes", 100_000)))):
        eaten.append(bytearray(b"\1") * MB)  # touched, so that it is really there
        if number % 32 == 0:
            print(f"{number} MB so far", flush=True)
    return {"eaten": len(eaten)}

# ruff: noqa: T201 - what a function prints is its log
"""◇ Takes its time without using it, as functions that wait for others do."""

import time


def main(args: dict[str, object]) -> dict[str, object]:
    """`seconds` -> how long it slept; `0.2` unless told."""
    seconds = float(str(args.get("seconds", 0.2)))
    print(f"sleeping {seconds} s")
    time.sleep(seconds)
    return {"slept": seconds}

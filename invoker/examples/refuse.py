"""◇ Says no by itself: a result with `error` is the application's own error, and its container is kept."""


def main(args: dict[str, object]) -> dict[str, object]:
    """`amount` -> a receipt, or an error where there is too little."""
    amount = float(str(args.get("amount", 0)))
    if amount < 1:
        return {"error": f"{amount} is too little: at least 1 is needed"}
    return {"paid": amount}

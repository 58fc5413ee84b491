"""◆ `invoker tour`: what `make run` shows."""

from __future__ import annotations


def tour() -> int:
    """Start an invoker of its own, run functions on it cold, warm, paused and failing, and tell what its pool decided."""
    from invoker.tour import run

    return run()

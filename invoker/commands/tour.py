"""◆ `invoker tour`: what `make run` shows."""

from __future__ import annotations


def tour() -> int:
    """Start an invoker, run functions on it, and tell what its pool decided."""
    from invoker.tour import run

    return run()

"""◇ What can go wrong in a simulation, for people."""

from __future__ import annotations

from invoker.errors import InvokerError


class SimulationError(InvokerError):
    """The simulation can't be run as it is asked for; the text says what to change."""

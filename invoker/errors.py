"""◇ The errors that cross rooms, split by whose fault they are. `invoker.io` turns foreign exceptions into these."""

from __future__ import annotations

from invoker.policy.events import Fault


class InvokerError(Exception):
    """Base of all errors of this package; its text names what is wrong and what to do."""


class PlatformFault(InvokerError):
    """Ours, or a neighbour's: Docker, a store, the machine. The caller sees status 3."""


class CallerFault(InvokerError):
    """What was sent can't be used; the caller sees 400 and nothing runs."""


class ContainerFault(InvokerError):
    """A container was lost. `fault` tells whose doing."""

    def __init__(self, message: str, fault: Fault = "platform") -> None:
        super().__init__(message)
        self.fault: Fault = fault


class StartFailed(ContainerFault):
    """No container came of a start. `leaked`: something of it could not be removed and stays taken."""

    def __init__(self, message: str, *, leaked: bool = False) -> None:
        super().__init__(message)
        self.leaked = leaked


class ActionNotFound(InvokerError):
    """The action's document or attachment is not there (the caller's error, status 1)."""


class SettingsError(InvokerError):
    """The settings can't be used; the text names every bad variable."""

"""◇ The interface of a keep-alive policy, and the units of its parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, TypeAlias

import msgspec

from invoker.policy.container import Container
from invoker.policy.function import Function, Stem

SpanNs: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Percent: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=100)]
Permille: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=999)]
Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Length: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10_080)]
"""Of what is kept for each function: at most as many entries as a week has minutes."""


class KeepAlive(ABC):
    """It sees activations arrive, containers become idle and be taken; it never moves one itself.

    Every method is O(1), or O(log n) in the number of functions or containers. A policy that `foresees` says how many
    containers without code will be wanted, by `Stem.foreseen`; it is asked for its next instant when a container
    became idle, and called at that instant.
    """

    foresees: ClassVar[bool] = False

    def arrived(self, function: Function, now_ns: int) -> None:  # noqa: B027 - few need it
        """An activation of the function arrived; where it will run is not decided yet."""

    def used(self, function: Function) -> None:  # noqa: B027 - few need it
        """An activation of the function got a container."""

    @abstractmethod
    def idle(self, container: Container, now_ns: int) -> int:
        """The container became idle. Returns the instant at which it is to be removed if still idle, 0 for never."""

    @abstractmethod
    def taken(self, container: Container) -> None:
        """The container is idle no more: used again, or being removed."""

    @abstractmethod
    def victim(self) -> Container | None:
        """The idle container to evict next; None only where none is idle. Changes no container."""

    def evicted(self, container: Container) -> None:  # noqa: B027 - few need it
        """The victim was evicted under pressure (`taken` follows)."""

    def patience_ns(self, function: Function) -> int:
        """How long an activation may wait for a container of its function to come free, when one is expected within
        that time, before one is started for it; where the policy set's `brief_ns` is longer, that holds."""
        del function
        return 0

    def next_ns(self) -> int:
        """The next instant at which `foresee` has something to change, 0 for none."""
        return 0

    def foresee(self, now_ns: int) -> list[Stem]:
        """Bring `Stem.foreseen` up to the instant. Returns the stems where it changed."""
        del now_ns
        return []

"""◇ Landlord: every container pays rent by its size from a credit, and who can't pay goes."""

from __future__ import annotations

import msgspec

from invoker.policy.container import Container
from invoker.policy.keepalive.base import KeepAlive, SpanNs
from invoker.policy.keepalive.queue import ContainerQueue


class Landlord(msgspec.Struct, frozen=True, tag="landlord"):
    """Landlord (Young, Algorithmica 2002), as compared with in FaasCache (Fuerst and Sharma, ASPLOS 2021).

    A use sets the container's credit to what its cold start costs (ns); under pressure all pay the same rent per MB
    until one has nothing left, and that one goes. Nobody's credit is touched for it: the rent per MB that was asked for
    so far is a clock, and a container goes when the clock reaches its value at the last use + credit / memory_mb.
    `ttl_ns` 0: nobody goes without pressure.
    """

    ttl_ns: SpanNs = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _Landlord(self)


class _Landlord(KeepAlive):
    def __init__(self, spec: Landlord) -> None:
        self._ttl_ns = spec.ttl_ns
        self._rent = 0
        self._queue = ContainerQueue()

    def idle(self, container: Container, now_ns: int) -> int:
        function = container.function
        assert function is not None
        self._queue.add(container, self._rent + function.cost_ns // function.memory_mb)
        return now_ns + self._ttl_ns if self._ttl_ns else 0

    def taken(self, container: Container) -> None:
        self._queue.discard(container)

    def victim(self) -> Container | None:
        return self._queue.first()

    def evicted(self, container: Container) -> None:
        self._rent = max(self._rent, self._queue.rank(container))

"""◇ Who was used longest ago goes first: the reference's policy, a plain lifetime, and OpenWhisk's own."""

from __future__ import annotations

import msgspec

from invoker.policy.container import Container
from invoker.policy.keepalive.base import KeepAlive, SpanNs
from invoker.policy.keepalive.queue import ContainerQueue
from invoker.policy.types import MINUTE_NS, SECOND_NS


class LruTtl(msgspec.Struct, frozen=True, tag="lru-ttl"):
    """Least recently used goes first; whoever is idle for `ttl_ns` goes anyway (the reference, contract section 13).

    `ttl_ns` 0: nobody goes without pressure. `tick_ns` > 0 looks only at multiples of it, as the reference's reaper
    that runs each minute.
    """

    ttl_ns: SpanNs = 15 * MINUTE_NS
    tick_ns: SpanNs = 0

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return LeastRecentlyUsed(self.ttl_ns, self.tick_ns)


class FixedTtl(msgspec.Struct, frozen=True, tag="fixed-ttl"):
    """A fixed lifetime after the last use, as the public clouds have: about 10 min (AWS), 20 min (Azure) or 60 s
    (Huawei, EuroSys 2025), as measured from outside or published.

    Idle since s is removed at s + `ttl_ns`; each use begins it anew. `ttl_ns` 0 keeps nothing: each activation that
    finds no running container starts cold, which is what the other policies are measured against. Under pressure, who
    has the least time left goes first.
    """

    ttl_ns: SpanNs = 10 * MINUTE_NS

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _FixedLifetime(self)


class OpenWhiskLru(msgspec.Struct, frozen=True, tag="openwhisk-lru"):
    """OpenWhisk's ContainerPool: least recently used under pressure, and a lifetime (Apache OpenWhisk's scheduler).

    `idle_ns` is its `idle-container` time out. With `quirks`, it surprises as the original does: that time counts only
    from the end of the pause grace (`grace_ns`, its own setting there) on, so that both add up; and the use that counts
    under pressure is the last *dispatch*, not its end, so that after a long run a container is old at once. The third
    quirk, memory that counts as free when its removal was asked for, is the policy set's accounting `reference`.
    """

    idle_ns: SpanNs = 10 * MINUTE_NS
    grace_ns: SpanNs = 10 * SECOND_NS
    quirks: bool = True

    def build(self) -> KeepAlive:
        """The policy object, with a state of its own."""
        return _LeastRecentlyDispatched(self) if self.quirks else LeastRecentlyUsed(self.idle_ns)


class LeastRecentlyUsed(KeepAlive):
    """Idle containers in the order of becoming idle, each linked to its neighbours."""

    def __init__(self, ttl_ns: int, tick_ns: int = 0) -> None:
        self._ttl_ns = ttl_ns
        self._tick_ns = tick_ns
        self._oldest: Container | None = None
        self._newest: Container | None = None

    def idle(self, container: Container, now_ns: int) -> int:
        """See `KeepAlive`."""
        newest = self._newest
        if newest is None:
            self._oldest = container
        else:
            newest.newer = container
            container.older = newest
        self._newest = container
        if not self._ttl_ns:
            return 0
        at_ns = now_ns + self._ttl_ns
        return at_ns if not self._tick_ns else -(-at_ns // self._tick_ns) * self._tick_ns

    def taken(self, container: Container) -> None:
        """See `KeepAlive`."""
        older, newer = container.older, container.newer
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        container.older = container.newer = None

    def victim(self) -> Container | None:
        """See `KeepAlive`."""
        return self._oldest


class _FixedLifetime(LeastRecentlyUsed):
    def __init__(self, spec: FixedTtl) -> None:
        super().__init__(spec.ttl_ns)

    def idle(self, container: Container, now_ns: int) -> int:
        return super().idle(container, now_ns) or max(1, now_ns)


class _LeastRecentlyDispatched(KeepAlive):
    def __init__(self, spec: OpenWhiskLru) -> None:
        self._lifetime_ns = spec.grace_ns + spec.idle_ns
        self._queue = ContainerQueue()

    def idle(self, container: Container, now_ns: int) -> int:
        self._queue.add(container, container.used_ns)
        return now_ns + self._lifetime_ns

    def taken(self, container: Container) -> None:
        self._queue.discard(container)

    def victim(self) -> Container | None:
        return self._queue.first()

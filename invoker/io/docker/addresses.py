"""◇ The addresses that containers get: each is somebody's, or free, or taken for good.

An address is given again only once its container is really gone (contract, section 12), for a packet meant for the
last tenant must not reach the next one. The same thought gives the order: the address that has been free longest comes
first. An address in doubt is simply never released.

Nothing is listed ahead, so that a subnet of sixteen million addresses costs no more than one of two hundred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from invoker.errors import PlatformFault, SettingsError

FIRST_OFFSET = 2
LAST_OFFSET = 254
"""The contract's range: `.2` to `.254` of the subnet's first /24 (section 2)."""

RESTING_ADDRESSES = 1024
"""Released addresses rest while fresh ones are left, up to this many; beyond, the longest-rested is used again. It
bounds what the pool remembers, however large the subnet."""


class AddressPool:
    """Free addresses of one IPv4 subnet; every operation is O(1).

    `first` and `last` count from the network's address; `last` None means up to the end of the subnet. The network's
    own address, its broadcast address, the gateway (the first host where None, as Docker chooses it) and `reserved` are
    never given. Raises SettingsError where the subnet can't be used, or nothing of it is left.
    """

    def __init__(
        self,
        subnet: str,
        *,
        first: int = FIRST_OFFSET,
        last: int | None = LAST_OFFSET,
        gateway: str | None = None,
        reserved: Iterable[str] = (),
    ) -> None:
        try:
            network = IPv4Network(subnet)
            kept = {int(IPv4Address(address)) for address in reserved}
            door = network.network_address + 1 if gateway is None else IPv4Address(gateway)
        except (AddressValueError, NetmaskValueError, ValueError) as error:
            raise SettingsError(f"subnet {subnet!r} for containers can't be used: {error}") from error
        start, end = int(network.network_address), int(network.broadcast_address)
        self._subnet = subnet
        self._reserved = kept | {int(door)}
        self._next = start + max(first, 1)
        self._last = end - 1 if last is None else min(start + last, end - 1)
        inside = sum(1 for address in self._reserved if self._next <= address <= self._last)
        self._size = max(self._last - self._next + 1 - inside, 0)
        self._taken: set[int] = set()
        self._rested: deque[int] = deque()
        if self._size == 0:
            raise SettingsError(f"subnet {subnet!r} has no address for a container between offsets {first} and {last}")

    def __repr__(self) -> str:
        return f"<AddressPool {self._subnet} taken={len(self._taken)} of {self._size}>"

    @property
    def size(self) -> int:
        """How many addresses there are in all."""
        return self._size

    @property
    def taken(self) -> int:
        """How many are somebody's now."""
        return len(self._taken)

    def take(self) -> str:
        """An address nobody has. Raises PlatformFault where none is left."""
        address = self._fresh() if len(self._rested) < RESTING_ADDRESSES else None
        if address is None:
            if not self._rested:
                raise PlatformFault(
                    f"no free address in {self._subnet}: all {self._size} are taken by containers; widen the "
                    "containers' address range or remove containers that could not be removed"
                )
            address = self._rested.popleft()
        self._taken.add(address)
        return str(IPv4Address(address))

    def release(self, address: str) -> None:
        """Its container is gone. Raises ValueError for an address nobody has: a defect, never to be passed over."""
        number = int(IPv4Address(address))
        if number not in self._taken:
            raise ValueError(f"address {address} is not taken")
        self._taken.remove(number)
        self._rested.append(number)

    def _fresh(self) -> int | None:
        """The next address that was never given; each reserved one is stepped over once in the pool's life."""
        while self._next in self._reserved:
            self._next += 1
        if self._next > self._last:
            return None
        address = self._next
        self._next += 1
        return address

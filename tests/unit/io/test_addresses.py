"""The pool of container addresses: what it gives, in which order, and what it never gives."""

from __future__ import annotations

import tracemalloc
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.errors import PlatformFault, SettingsError
from invoker.io.docker import addresses
from invoker.io.docker.addresses import AddressPool


def drain(pool: AddressPool) -> list[str]:
    return [pool.take() for _ in range(pool.size)]


@pytest.mark.contract("2")
def test_default_range_is_2_to_254_of_the_first_24() -> None:
    assert drain(AddressPool("172.18.0.0/16")) == [f"172.18.0.{n}" for n in range(2, 255)]


def test_range_ends_with_a_smaller_subnet() -> None:
    assert drain(AddressPool("10.1.2.16/29")) == [f"10.1.2.{n}" for n in range(18, 23)]


def test_whole_subnet_is_a_setting() -> None:
    pool = AddressPool("172.18.0.0/16", last=None)
    assert pool.size == 65_536 - 3
    given_out = drain(pool)
    assert (given_out[0], given_out[-1]) == ("172.18.0.2", "172.18.255.254")


def test_gateway_and_reserved_are_left_out() -> None:
    pool = AddressPool("10.0.0.0/29", gateway="10.0.0.4", reserved=["10.0.0.5", "10.9.9.9"], first=1)
    assert drain(pool) == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.6"]


def test_empty_pool_says_so() -> None:
    pool = AddressPool("10.0.0.0/30")
    pool.take()
    with pytest.raises(PlatformFault, match=r"no free address in 10\.0\.0\.0/30: all 1 are taken"):
        pool.take()


def test_longest_free_comes_first() -> None:
    pool = AddressPool("10.0.0.0/29")
    first, second, *rest = drain(pool)
    for address in (second, rest[0], first):
        pool.release(address)
    assert [pool.take() for _ in range(3)] == [second, rest[0], first]


def test_fresh_ones_go_before_released_ones() -> None:
    pool = AddressPool("10.0.0.0/24")
    address = pool.take()
    pool.release(address)
    assert pool.take() != address


def test_a_rest_is_bounded_so_a_huge_subnet_costs_nothing() -> None:
    tracemalloc.start()
    try:
        pool = AddressPool("10.0.0.0/8", last=None)
        for _ in range(20 * addresses.RESTING_ADDRESSES):
            pool.release(pool.take())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pool.size == 2**24 - 3
    assert peak_bytes < 1_000_000


def test_releasing_what_nobody_has_is_a_defect() -> None:
    pool = AddressPool("10.0.0.0/24")
    address = pool.take()
    pool.release(address)
    with pytest.raises(ValueError, match="is not taken"):
        pool.release(address)


@pytest.mark.parametrize(
    "subnet", ["10.0.0.0/31", "10.0.0.0/32", "10.0.0.1/24", "fd00::/64", "nonsense", "10.0.0.0/33"]
)
def test_unusable_subnet_is_refused_by_name(subnet: str) -> None:
    with pytest.raises(SettingsError, match="subnet"):
        AddressPool(subnet)


def test_repr_tells_counts() -> None:
    pool = AddressPool("10.0.0.0/24")
    pool.take()
    assert repr(pool) == "<AddressPool 10.0.0.0/24 taken=1 of 253>"


@given(
    prefix=st.integers(20, 30), last=st.none() | st.integers(2, 400), steps=st.lists(st.integers(0, 2**16), max_size=60)
)
def test_never_twice_never_outside(prefix: int, last: int | None, steps: list[int]) -> None:
    """Taking and releasing at will: every address is in the range, none is held twice, and none is lost."""
    network = ip_network(f"172.20.0.0/{prefix}")
    pool = AddressPool(str(network), last=last)
    held: list[str] = []
    for step in steps:
        if (step % 3 and pool.taken < pool.size) or not held:
            address = pool.take()
            assert address not in held
            assert ip_address(address) in network
            assert address not in {str(network[0]), str(network[1]), str(network[-1])}
            held.append(address)
        else:
            pool.release(held.pop(step % len(held)))
        assert pool.taken == len(held)

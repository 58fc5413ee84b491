"""◇ The words of the heart: ids, keys, sizes and instants.

Instants and spans are integer nanoseconds (names end in `_ns`); memory is integer MiB (names end in `_mb`,
as the contract and Docker call 1,048,576 bytes an MB). Integers keep decisions identical on every machine.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

ContainerId = NewType("ContainerId", int)
"""Counts from 1 in the order of Start; never reused in the life of a pool."""

ActivationId = NewType("ActivationId", str)
"""32 hex digits, given by the controller."""

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS


class WarmKey(NamedTuple):
    """Who may share a warm container: equal in every field, or not at all (contract, section 13.2)."""

    namespace: str  # the invoking namespace
    path: str  # the action's own namespace, with its package
    name: str
    version: str
    revision: str  # "" where the message had none
    binding: str  # "" where there is none


class PrewarmKey(NamedTuple):
    """What a container is before it knows its code: a runtime of a size."""

    kind: str
    memory_mb: int

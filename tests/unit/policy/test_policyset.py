"""The policy set `reference` has the reference system's numbers."""

from __future__ import annotations

import pytest

from invoker.policy import policyset
from invoker.policy.keepalive import LruTtl
from invoker.policy.pausing import FixedGrace
from invoker.policy.prewarm import FixedStock


@pytest.mark.contract("13")
def test_the_reference_keeps_15_minutes_looks_each_minute_and_pauses_after_150_ms() -> None:
    found = policyset.reference(16_384)
    assert (found.accounting, found.capacity_mb) == ("reference", 16_384)
    assert found.keep_alive == LruTtl(ttl_ns=15 * 60 * 10**9, tick_ns=60 * 10**9)
    assert found.pausing == FixedGrace(150 * 10**6)
    assert found.prewarm == FixedStock()

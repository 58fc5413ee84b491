"""Every keep-alive policy, with spans short enough that walks of seconds come to all of what it does."""

from __future__ import annotations

from invoker.policy.keepalive import (
    Cidre,
    FixedTtl,
    Frequency,
    GreedyDual,
    HybridHistogram,
    Landlord,
    LruTtl,
    OpenWhiskLru,
    Oracle,
    RainbowCake,
    Size,
)
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import MILLISECOND_NS, SECOND_NS, WarmKey

_HISTOGRAM = HybridHistogram(
    bin_ns=50 * MILLISECOND_NS, bins=20, cv_min_percent=10, samples_min=2, beyond_percent=60, functions_max=3
)
_FUTURE = tuple(
    (WarmKey("ns", "path", f"f{i}", "1", "r", ""), tuple(range(i + 1, 300 * SECOND_NS, (i + 1) * 70 * MILLISECOND_NS)))
    for i in range(4)  # the others never come again, as far as it knows; and what it knows is wrong anyway
)

KEEP_ALIVES: list[AnyKeepAlive] = [
    LruTtl(0),
    LruTtl(SECOND_NS),
    LruTtl(SECOND_NS, SECOND_NS),
    FixedTtl(0),
    FixedTtl(SECOND_NS),
    OpenWhiskLru(SECOND_NS, 100 * MILLISECOND_NS),
    OpenWhiskLru(SECOND_NS, quirks=False),
    GreedyDual(),
    GreedyDual(SECOND_NS),
    Frequency(),
    Size(SECOND_NS),
    Landlord(),
    Landlord(SECOND_NS),
    _HISTOGRAM,
    RainbowCake(shortest_ns=20 * MILLISECOND_NS, default_ns=200 * MILLISECOND_NS, functions_max=3),
    Cidre(),
    Cidre(SECOND_NS, wait_percent=1000),
    Oracle(_FUTURE),
    Oracle(_FUTURE, break_even_ns=SECOND_NS),
]

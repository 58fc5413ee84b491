"""◇ Keep-alive: which idle container goes first when memory is short, how long one may stay, what is foreseen.

One file a family: `recency` (who was used longest ago), `ranked` (what a function is worth: greedy-dual and its kin),
`landlord`, `histogram` (learnt idle times, with prewarming), `layers` (two layers of warmth), `oracle` (the future is
known: simulation only). `base` is the interface, `queue` and `foresight` what they share. docs/policies.md tells when
to take which.
"""

from invoker.policy.keepalive.base import KeepAlive
from invoker.policy.keepalive.histogram import HybridHistogram
from invoker.policy.keepalive.landlord import Landlord
from invoker.policy.keepalive.layers import RainbowCake
from invoker.policy.keepalive.oracle import Oracle
from invoker.policy.keepalive.ranked import Cidre, Frequency, GreedyDual, Size
from invoker.policy.keepalive.recency import FixedTtl, LruTtl, OpenWhiskLru

__all__ = [
    "Cidre",
    "FixedTtl",
    "Frequency",
    "GreedyDual",
    "HybridHistogram",
    "KeepAlive",
    "Landlord",
    "LruTtl",
    "OpenWhiskLru",
    "Oracle",
    "RainbowCake",
    "Size",
]

"""◇ Policy sets: which policies a pool runs with, as data. A decision log begins with one, to be replayable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec

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
from invoker.policy.pausing import AdaptiveGrace, FixedGrace, NeverPause
from invoker.policy.prewarm import FixedStock, ReactiveStock
from invoker.policy.queueing import EarliestDeadline, FairShare, FirstCome, ShortestJob
from invoker.policy.types import MILLISECOND_NS, MINUTE_NS, SECOND_NS

AnyKeepAlive: TypeAlias = (
    LruTtl
    | FixedTtl
    | OpenWhiskLru
    | GreedyDual
    | Frequency
    | Size
    | Landlord
    | HybridHistogram
    | RainbowCake
    | Cidre
    | Oracle
)
AnyPausing: TypeAlias = FixedGrace | AdaptiveGrace | NeverPause
AnyPrewarm: TypeAlias = FixedStock | ReactiveStock
AnyQueueing: TypeAlias = FirstCome | ShortestJob | EarliestDeadline | FairShare


class PolicySet(msgspec.Struct, frozen=True):
    """Everything that decides. Memory in MB, spans in ns, queues in activations.

    `accounting`: `charged` takes a container's memory from its Start until it is gone, and never passes the capacity;
    `reference` counts as the reference system does (contract, section 13), which can overcommit the node.
    `queue_limit`: more waiting activations than this are refused. `intake_limit`: from this many on, the queue before
    the node is not read, until they are `intake_low` or fewer (None: half of it). `queueing`: policy `charged` serves
    those who wait in its order. `wait_limit_ns`: who has waited so long with policy `charged`, or for its whole budget,
    is refused; 0: nobody is. `patience_ns`: after so long, the activation at the head of the queue goes before one that
    could use a container as it is. `surplus_ns`: how long a prewarmed container stands that the stock doesn't want.
    `starts_max`: policy `charged` has at most so many containers starting at a time; a machine starts no more a second
    when asked for more at once, and who waits here instead may meanwhile take a container that comes free.
    `brief_ns`: an activation that may expect a container of its own function within this time waits that long before
    one is started for it: a start costs the machine far more than it would spare. 0: a start is always worth it.
    """

    accounting: Literal["charged", "reference"]
    capacity_mb: int
    keep_alive: AnyKeepAlive = LruTtl()
    pausing: AnyPausing = FixedGrace()
    prewarm: AnyPrewarm = FixedStock()
    queue_limit: int = 10_000
    intake_limit: int = 16
    patience_ns: int = 2 * SECOND_NS
    surplus_ns: int = MINUTE_NS
    starts_max: int = 4
    brief_ns: int = 10 * MILLISECOND_NS
    queueing: AnyQueueing = FirstCome()
    intake_low: int | None = None
    wait_limit_ns: int = 0

    @property
    def resume_at(self) -> int:
        """With so many waiting or fewer, held intake is resumed; below `intake_limit` in any case."""
        low = self.intake_limit // 2 if self.intake_low is None else self.intake_low
        return max(0, min(low, self.intake_limit - 1))


KEEP_ALIVES: dict[str, type[AnyKeepAlive]] = {str(spec.__struct_config__.tag): spec for spec in get_args(AnyKeepAlive)}
"""The keep-alive policies by name."""


def keep_alive(name: str, parameters: Mapping[str, Any]) -> AnyKeepAlive:
    """The keep-alive policy of that name; parameters that are not given keep their defaults.

    Raises ValueError, whose text says what is wrong and what there is.
    """
    spec = KEEP_ALIVES.get(name)
    if spec is None:
        raise ValueError(f"there is no keep-alive policy {name!r}; there are {', '.join(KEEP_ALIVES)}")
    known = [field.name for field in msgspec.structs.fields(spec)]
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"{name} has no parameter {parameter!r}; it has {', '.join(known)}")
    try:
        return msgspec.convert({**parameters, "type": name}, spec)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `$.")
        told = f"{place.rstrip('`')} of {name}" if place else name
        raise ValueError(f"{told}: {words[0].lower()}{words[1:]}") from None


def default(capacity_mb: int) -> PolicySet:
    """The policy set to run with: memory is charged for as long as it is taken."""
    return PolicySet("charged", capacity_mb)


def reference(capacity_mb: int) -> PolicySet:
    """The reference system's behaviour, exactly (contract, section 13): to compare with, and for a cautious change."""
    return PolicySet(
        "reference",
        capacity_mb,
        keep_alive=LruTtl(ttl_ns=15 * MINUTE_NS, tick_ns=MINUTE_NS),
        pausing=FixedGrace(150 * MILLISECOND_NS),
        prewarm=FixedStock(),
    )

"""◇ What a controller has to know: where the invoker's neighbours are, which invokers there are, how long it waits."""

from __future__ import annotations

import msgspec

from invoker.io.couchdb.settings import CouchDbSettings
from invoker.io.kafka.settings import KafkaSettings
from invoker.policy.balancing import AnyBalancer, Sharding

MIB = 1024 * 1024


class InvokerAddress(msgspec.Struct, frozen=True):
    """One invoker: its instance number, and the base URL of its listener.

    `memory_mb` 0: it tells by its pings on the topic `health`; the reference's sends none.
    """

    instance: int
    url: str
    memory_mb: int = 0


class ControllerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One controller of a cluster.

    `name` is the suffix of its topic, `completedNAME`. `controllers` is how many share the invokers, this one
    included. `invokers` are all of the cluster, the same for all controllers: a home is found by a place in this list,
    in the order of the instance numbers. `authority` (PEM) is trusted beside the system's for their certificates, which
    have to bear `tls_server_name`; "": the name connected to.

    `head_timeout_s`: from the request until the head of the answer, which is the receipt. `blocking_wait_s`: after it a
    blocking caller gets the activation without its end. `forced_timeout_scale`: times the reference's, for tests.
    `attempts_max`: of an activation that nobody has accepted. `action_ttl_s`: how old an action's document may be.
    """

    kafka: KafkaSettings
    couch: CouchDbSettings
    invokers: tuple[InvokerAddress, ...]
    name: str = "0"
    controllers: int = 1
    balancer: AnyBalancer = Sharding()
    authority: str | None = None
    tls_server_name: str = ""
    connect_timeout_s: float = 2.0
    head_timeout_s: float = 10.0
    blocking_wait_s: float = 60.0
    ping_every_s: float = 1.0
    forced_timeout_scale: float = 1.0
    attempts_max: int = 3
    under_way_max: int = 20_000
    action_ttl_s: float = 2.0
    answer_limit_bytes: int = 8 * MIB

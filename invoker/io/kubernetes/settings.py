"""◇ How the cluster is watched: what may be chosen, with defaults for a pod."""

from __future__ import annotations

import msgspec

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
MIB = 1024 * 1024


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `ClusterWatch` needs to know.

    `url`: the API server's, without a path; plain http sends the token in the clear and is for tests. In
    `credentials_dir` lie `token` and `ca.crt`. `dns_namespace` and `dns_service` name the service that containers may
    ask for names. `open_timeout_s`: for the first complete list of everything.

    A list comes in pages of `page_objects`. A watch is asked to end after `watch_s`, made longer by chance up to twice;
    one that says nothing for `silence_s` is begun again, for a server that hangs says nothing either. After `resync_s`,
    likewise stretched, everything is listed anew. A round that ended within `steady_s` is followed by a wait of
    `backoff_first_s`, doubling to `backoff_max_s`. `settle_s`: changes within it are told as one.

    The limits: `page_limit_bytes` for a page, `event_limit_bytes` for an event, `objects_max` for a list.
    """

    url: str
    credentials_dir: str = SERVICE_ACCOUNT_DIR
    dns_namespace: str = "serverless-coredns"
    dns_service: str = "serverless-coredns"
    open_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 30.0
    watch_s: float = 240.0
    silence_s: float = 120.0
    resync_s: float = 600.0
    steady_s: float = 5.0
    backoff_first_s: float = 0.25
    backoff_max_s: float = 30.0
    settle_s: float = 0.1
    page_objects: int = 250
    page_limit_bytes: int = 32 * MIB
    event_limit_bytes: int = 4 * MIB
    objects_max: int = 20_000

"""◇ What the invoker has to know of its CouchDB, and how long it waits for it (contract, sections 8 and 19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from invoker.io.spool.settings import SpoolSettings

if TYPE_CHECKING:
    from pathlib import Path

    from invoker.config.couchdb import CouchSettings

MIB = 1024 * 1024
NS = 1_000_000_000


class CouchDbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the databases are, and the limits of talking to them.

    `prefix` stands before the names of the three databases. `ca_file`: an authority, PEM, that is trusted beside the
    system's where the URL is https. `body_limit_bytes`: the largest document or attachment that is read. A connection
    is used for at most `connection_lifetime_s`, so that a database that moved is found. `retry_limit_s`: how long a
    read is tried again on connection trouble, in all. Records are sent `flush_every_s` after the first of a batch, or
    before the batch would pass `batch_bytes`.
    """

    url: str
    username: str
    password: str
    prefix: str = ""
    ca_file: str | None = None
    body_limit_bytes: int = 64 * MIB
    connection_lifetime_s: float = 15.0
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 60.0
    retry_limit_s: float = 120.0
    flush_every_s: float = 3.0
    batch_bytes: int = 5 * MIB
    blocked_every_s: float = 300.0

    @property
    def actions_database(self) -> str:
        """Where actions are read."""
        return f"{self.prefix}whisks"

    @property
    def records_database(self) -> str:
        """Where activation records go."""
        return f"{self.prefix}activations"

    @property
    def subjects_database(self) -> str:
        """Where users are, and which namespaces are blocked."""
        return f"{self.prefix}subjects"

    def __repr__(self) -> str:
        return f"CouchDbSettings({self.url!r}, {self.username!r}, prefix={self.prefix!r})"


def database_settings(environment: CouchSettings, ca_file: Path | None) -> CouchDbSettings:
    """What the environment says of CouchDB. `ca_file` is the cluster's authority, left alone where the URL is http."""
    return CouchDbSettings(
        url=environment.couch_url,
        username=environment.couch_username,
        password=environment.couch_password.get_secret_value(),
        prefix=environment.couch_database_prefix,
        ca_file=None if ca_file is None else str(ca_file),
        body_limit_bytes=environment.couch_body_limit_bytes,
        connection_lifetime_s=environment.couch_connection_lifetime_ns / NS,
        retry_limit_s=environment.couch_retry_limit_ns / NS,
        flush_every_s=environment.records_flush_every_ns / NS,
        batch_bytes=environment.records_batch_bytes,
        blocked_every_s=environment.blocked_namespaces_every_ns / NS,
    )


def spool_settings(environment: CouchSettings) -> SpoolSettings:
    """What the environment says of the spool."""
    return SpoolSettings(
        directory=str(environment.spool_dir),
        spool_bytes=environment.spool_limit_bytes,
        rejected_bytes=environment.spool_rejected_bytes,
        sync=environment.spool_sync,
    )

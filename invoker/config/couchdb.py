"""◇ The settings that concern CouchDB, and the records on their way to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from invoker.config.values import DurationNs, Settings, SizeBytes, lower, setting, url


class CouchSettings(Settings):
    """Where actions come from and records go to."""

    couch_url: Annotated[str, BeforeValidator(url)] = setting(
        ..., "COUCH_URL", "CouchDB's base URL, scheme and port included", "https://couchdb:6984"
    )
    couch_username: Annotated[str, Field(min_length=1)] = setting(..., "COUCH_USERNAME", "CouchDB's user", "invoker")
    couch_password: Annotated[SecretStr, Field(min_length=1)] = setting(
        ..., "COUCH_PASSWORD", "CouchDB's password", "<password>", secret=True
    )
    couch_database_prefix: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_$()+-]*)?$")] = setting(
        "", "COUCH_DATABASE_PREFIX", "Stands before the databases' names: whisks, activations, subjects", "staging_"
    )
    couch_body_limit_bytes: SizeBytes = setting(
        "64 MB", "COUCH_BODY_LIMIT", "Largest document or attachment that is read; an action beyond it fails"
    )
    couch_connection_lifetime_ns: DurationNs = setting(
        "15s", "COUCH_CONNECTION_LIFETIME", "A connection to CouchDB is used no longer, so that a moved one is found"
    )
    couch_retry_limit_ns: DurationNs = setting(
        "2m", "COUCH_RETRY_LIMIT", "How long a read is tried again on connection trouble, in all"
    )
    records_flush_every_ns: DurationNs = setting(
        "3s", "RECORDS_FLUSH_EVERY", "Records are sent this long after the first of a batch"
    )
    records_batch_bytes: SizeBytes = setting(
        "5 MB", "RECORDS_BATCH_BYTES", "They are sent at once before a batch would be larger"
    )
    blocked_namespaces_every_ns: DurationNs = setting(
        "5m", "BLOCKED_NAMESPACES_EVERY", "How often the set of blocked namespaces is read"
    )
    spool_dir: Path = setting(
        "/var/lib/invoker/spool",
        "SPOOL_DIR",
        "Directory in which records wait until CouchDB has confirmed them; has to outlive the process",
    )
    spool_limit_bytes: Annotated[SizeBytes, Field(ge=1024 * 1024)] = setting(
        "1 GB", "SPOOL_BYTES", "What they may take on disk, 1 MB or more; then the oldest are dropped, and told"
    )
    spool_rejected_bytes: SizeBytes = setting(
        "64 MB", "SPOOL_REJECTED_BYTES", "What records that CouchDB refuses may take beside them (rejected.jsonl)"
    )
    spool_sync: Annotated[Literal["none", "group"], BeforeValidator(lower)] = setting(
        "none",
        "SPOOL_SYNC",
        "none: a record in the spool survives the end of the process, kill -9 included; group: a power cut as well, "
        "the disk being waited for once for all records that wait",
    )

"""◆ `loadtest prepare`: the function of the loads, put into CouchDB."""

from __future__ import annotations

import os
import sys

import msgspec

from invoker.commands.exit_codes import ExitCode


def prepare(*, memory: int = 128, timeout: int = 60_000, json: bool = False) -> int:
    """Keep the function of the loads as guest/load, and make sure that there is a guest.

    Parameters
    ----------
    memory
        MB of its containers.
    timeout
        Milliseconds that a run may take.
    json
        Print JSON.
    """
    import asyncio

    from invoker import config
    from invoker.config.cluster import ClusterSettings
    from invoker.config.couchdb import CouchSettings
    from invoker.io.couchdb.settings import database_settings
    from loadtest.catalogue import put_load

    authority = config.load_part(ClusterSettings, os.environ).cluster_ca_file
    settings = database_settings(config.load_part(CouchSettings, os.environ), authority)
    credentials, revision = asyncio.run(put_load(settings, memory_mb=memory, timeout_ms=timeout))
    if json:
        told = msgspec.json.encode({"action": "guest/load", "revision": revision, "credentials": credentials}).decode()
    else:
        told = f"guest/load is put, revision {revision}\ncredentials of guest: {credentials}"
    sys.stdout.write(f"{told}\n")
    return ExitCode.OK

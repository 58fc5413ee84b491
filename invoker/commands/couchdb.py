"""◆ `invoker couchdb`: make what the invoker needs to find in CouchDB."""

from __future__ import annotations

import asyncio
import os

import msgspec
from cyclopts import App

from invoker.commands import present
from invoker.commands.exit_codes import ExitCode
from invoker.commands.target import JsonFlag

app = App(
    name="couchdb",
    help="Make what the invoker needs to find in CouchDB.",
    help_epilogue="CouchDB is named by the environment: COUCH_URL, COUCH_USERNAME, COUCH_PASSWORD, and for TLS "
    "CLUSTER_CA_FILE (docs/settings.md). The user has to be an administrator to make databases.",
)


@app.command
def init(*, subject: str = "guest", json: JsonFlag = False) -> int:
    """Make the databases, the view of blocked namespaces, and a subject; what is there stays as it is.

    Parameters
    ----------
    subject
        A user with a namespace of the same name; his credentials are printed, for a controller's clients.
    json
        Print JSON.
    """
    from invoker import config
    from invoker.config.cluster import ClusterSettings
    from invoker.config.couchdb import CouchSettings
    from invoker.io.couchdb import admin as couch_admin
    from invoker.io.couchdb.settings import database_settings

    couch = config.load_part(CouchSettings, os.environ)
    settings = database_settings(couch, config.load_part(ClusterSettings, os.environ).cluster_ca_file)
    done = asyncio.run(couch_admin.init(settings, subject))
    if json:
        present.say(present.pretty(msgspec.json.encode(done._asdict())))
        return ExitCode.OK
    present.say(f"CouchDB at {settings.url}")
    for what in done.made:
        present.say(f"  made {what}")
    if not done.made:
        present.say("  all is there already")
    present.say(f"credentials of {done.subject}: {done.credentials}")
    return ExitCode.OK
